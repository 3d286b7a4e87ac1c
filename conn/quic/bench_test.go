package quic_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkOneWay sends one way in writes of one size over Conns, beside streams of
// quic-go alone: as they are ("gro"), and with the batching of quic-go ("same").
func BenchmarkOneWay(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		for _, size := range []int{1, 16, 128, 256, 4096, 16 << 10, 32 << 10, 256 << 10, 1 << 20} {
			for _, c := range []struct {
				name   string
				config quic.Config
			}{{"gro", quic.Config{}}, {"same", quic.Config{NoGRO: true}}} {
				b.Run(fmt.Sprintf("%s/conns=%d/size=%d", c.name, conns, size), func(b *testing.B) {
					bare, env := newRaw(b), newEnvWith(b, c.config)
					var raw, ours []yardstick.Lane
					for range conns {
						out, in := bare.stream(b)
						raw = append(raw, yardstick.Lane{W: out, R: in})
						x, y := env.connect(b)
						ours = append(ours, yardstick.Lane{W: x, R: y})
					}
					yardstick.Compare(b, size, raw, ours)
				})
			}
		}
	}
}

// BenchmarkConnect compares setting up and closing connections.
func BenchmarkConnect(b *testing.B) {
	b.Run("quic-go", func(b *testing.B) {
		r := newRaw(b)
		for b.Loop() {
			x, y := r.connect(b)
			x.CloseWithError(0, "")
			y.CloseWithError(0, "")
		}
	})
	b.Run("conn", func(b *testing.B) {
		e := newEnv(b)
		for b.Loop() {
			x, y := e.connect(b)
			x.Close(nil)
			y.Close(nil)
		}
	})
}

// A raw is quic-go alone: two sockets, one listening.
type raw struct {
	dialer *quicgo.Transport
	listen *quicgo.Listener
	config *tls.Config
}

func newRaw(b testing.TB) *raw {
	key, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	r := &raw{}
	if r.config, err = secure.Config(key, identity.NodeID{}); err != nil {
		b.Fatal(err)
	}
	var trs [2]*quicgo.Transport
	for i := range trs {
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		trs[i] = &quicgo.Transport{Conn: udp}
		b.Cleanup(func() { trs[i].Close(); udp.Close() })
	}
	r.dialer = trs[0]
	if r.listen, err = trs[1].Listen(r.config, nil); err != nil {
		b.Fatal(err)
	}
	return r
}

// stream returns both ends of a stream of a new connection.
func (r *raw) stream(b testing.TB) (*quicgo.SendStream, *quicgo.ReceiveStream) {
	x, y := r.connect(b)
	out, err := x.OpenUniStream()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := out.Write([]byte("x")); err != nil {
		b.Fatal(err)
	}
	in, err := y.AcceptUniStream(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	return out, in
}

func (r *raw) connect(b testing.TB) (x, y *quicgo.Conn) {
	x, err := r.dialer.Dial(context.Background(), r.listen.Addr(), r.config, nil)
	if err != nil {
		b.Fatal(err)
	}
	y, err = r.listen.Accept(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	return x, y
}

// An env is two transports, one listening.
type env struct {
	dialer, listener *quic.Transport
	local            conn.Local
	listen           conn.Listener
}

func newEnv(t testing.TB) *env { return newEnvWith(t, quic.Config{}) }

func newEnvWith(t testing.TB, config quic.Config) *env {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	e := &env{local: conn.Local{Key: key}}
	for _, tr := range []**quic.Transport{&e.dialer, &e.listener} {
		*tr = quic.NewWith(config)
	}
	t.Cleanup(func() { e.dialer.Close(); e.listener.Close() })
	e.listen, err = e.listener.Listen(context.Background(), e.local, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *env) connect(t testing.TB) (x, y conn.Conn) {
	x, err := e.dialer.Dial(context.Background(), e.local, e.local.Key.ID(), e.listen.Addr())
	if err != nil {
		t.Fatal(err)
	}
	y, err = e.listen.Accept(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return x, y
}
