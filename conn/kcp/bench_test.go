package kcp_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	raw "github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/identity"
)

const (
	roundBytes = 2 << 20
	writeBytes = 16 << 10
)

// BenchmarkRatio sends one way, by turns over a Conn and over kcp-go alone with
// the same settings and neither encryption nor an end, and reports the rate of
// the Conn and its ratio to the other.
func BenchmarkRatio(b *testing.B) {
	c := kcp.Config{IgnoreLoss: true}
	w, r := connPair(b, c)
	rawW, rawR := rawPair(b)
	var theirs, ours time.Duration
	carry(b, rawW, rawR) // both are warm
	carry(b, w, r)
	b.ResetTimer()
	for range b.N {
		theirs += carry(b, rawW, rawR)
		ours += carry(b, w, r)
	}
	b.ReportMetric(float64(b.N)*roundBytes/1e6/ours.Seconds(), "conn-MB/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-raw")
}

func carry(b *testing.B, w io.Writer, r io.Reader) time.Duration {
	start := time.Now()
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := io.CopyN(io.Discard, r, roundBytes); err != nil {
			b.Error(err)
		}
	})
	p := make([]byte, writeBytes)
	for range roundBytes / writeBytes {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	work.Wait()
	return time.Since(start)
}

func connPair(b *testing.B, c kcp.Config) (x, y conn.Conn) {
	key, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	local, tr := conn.Local{Key: key}, kcp.NewWith(c)
	b.Cleanup(func() { tr.Close() })
	l, err := tr.Listen(b.Context(), local, addr("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	if x, err = tr.Dial(b.Context(), local, key.ID(), l.Addr()); err != nil {
		b.Fatal(err)
	}
	if y, err = l.Accept(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close(nil); y.Close(nil) })
	return x, y
}

func rawPair(b *testing.B) (x, y net.Conn) {
	l, err := raw.ListenWithOptions("127.0.0.1:0", nil, 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	tune := func(u *raw.UDPSession) {
		u.SetNoDelay(1, 10, 2, 1)
		u.SetWindowSize(1024, 1024)
		u.SetMtu(1400)
		u.SetACKNoDelay(true)
	}
	u, err := raw.DialWithOptions(l.Addr().String(), nil, 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	tune(u)
	b.Cleanup(func() { u.Close() })
	if _, err := u.Write([]byte("x")); err != nil { // nobody sees it before
		b.Fatal(err)
	}
	v, err := l.AcceptKCP()
	if err != nil {
		b.Fatal(err)
	}
	tune(v)
	b.Cleanup(func() { v.Close() })
	if _, err := io.ReadFull(v, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	return u, v
}
