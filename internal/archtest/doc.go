// Package archtest holds the house rules that a program can check: imports go
// down the floors of CONTRIBUTING.md, the public surface and the dependencies
// stay within their budgets, files stay short, everything public is documented,
// and tests do not sleep. It has tests only:
//
//	go test ./internal/archtest
//
// It reads sources and needs none of them to compile. A new package needs a
// line in the table of floors, here and in CONTRIBUTING.md.
package archtest
