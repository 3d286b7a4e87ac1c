# check is what has to pass before a change is merged.

FUZZTIME ?= 30s

.PHONY: check test race fuzz bench cover

check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo "golangci-lint is not installed: skipped"; fi
	GOOS=js GOARCH=wasm go build ./network/... ./rpc/... ./behaviors/... ./router/... ./conn/mem/...
	go test ./...

test:
	go test ./...

race:
	go test -race ./...

# Every fuzz target for FUZZTIME, one after another.
fuzz:
	@set -e; for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			echo "$$p $$f"; go test $$p -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME); \
		done; \
	done

# Compare within one run only, and by ratio.
bench:
	go test ./internal/bench -run '^$$' -bench . -count 5

cover:
	go test -coverprofile cover.out -coverpkg ./... ./...
	go tool cover -func cover.out | tail -1
