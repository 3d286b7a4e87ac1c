// Package browser has what the transports of browsers need of JavaScript alike:
// exceptions as errors, bytes to and fro, and addresses that say nothing. Except
// for GOOS=js it is empty.
package browser
