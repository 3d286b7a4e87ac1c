package kcp_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	raw "github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkOneWay sends one way in writes of one size over a Conn, beside kcp-go
// alone with the same settings and neither encryption nor an end.
func BenchmarkOneWay(b *testing.B) {
	for _, size := range []int{256, 16 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			w, r := connPair(b, kcp.Config{IgnoreLoss: true})
			rawW, rawR := rawPair(b)
			yardstick.Compare(b, size, []yardstick.Lane{{W: rawW, R: rawR}}, []yardstick.Lane{{W: w, R: r}})
		})
	}
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
