// Package bench measures plexus against its yardstick in the same run: raw TLS,
// or raw quic-go, on one long-lived stream, with a nine-byte header and
// flush-on-idle batching. Where there is nothing to compare with, as for events,
// idle nodes or a service that stalls, it measures plexus alone. It has nothing
// but benchmarks:
//
//	go test ./internal/bench -bench . -count 5
//
// Compare within one run only, and by ratio: machines differ, and drift. What
// counts memory needs one iteration: -bench Idle -benchtime 1x.
package bench
