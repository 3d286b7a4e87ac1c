//go:build unix

package raw_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkCapacity has 9000 live connections in one process, which takes 18000
// descriptors: the limit of the process has to allow 18500. Each echoes a message
// at last. Run it with -benchtime 1x.
func BenchmarkCapacity(b *testing.B) {
	const conns = 9000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < 2*conns+500 {
		b.Skipf("%d descriptors at most (%v), this takes %d", limit.Max, err, 2*conns+500)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	m := &meter{ended: make(chan struct{}, 1)}
	m.want.Store(conns)
	before := yardstick.Memory()
	a, addr := listen(b, &echoing{}, raw.Config{MaxConns: -1, MaxPerPrefix: -1})
	client := start(b, m, raw.Config{MaxConns: -1, MaxPerPrefix: -1})
	began := time.Now()
	for range conns {
		connect(b, client, addr)
	}
	until(b, "all are there", func() bool { return a.NumConnected() == conns })
	b.ReportMetric(conns/time.Since(began).Seconds(), "conns/s")
	b.ReportMetric(float64(yardstick.Memory()-before)/(2*conns), "B/end")
	if failed := client.Broadcast([]byte("are you there?")); failed != nil {
		b.Errorf("%d sends failed", len(failed))
	}
	wait(b, m.ended, "all answers")
	b.ReportMetric(0, "ns/op")
}
