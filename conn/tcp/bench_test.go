package tcp_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkOneWay sends one way in writes of one size over Conns, beside what is
// beneath them: plain connections TCP, secured ones crypto/tls.
func BenchmarkOneWay(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		for _, size := range []int{1, 16, 128, 256, 4096, 32 << 10, 256 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("plain/conns=%d/size=%d", conns, size), func(b *testing.B) {
				e := newEnvOf(b, tcp.NewPlain(tcp.Config{}))
				yardstick.Compare(b, size, yardstick.Lanes(yardstick.TCP(b, conns)), e.lanes(b, conns))
			})
			b.Run(fmt.Sprintf("tls/conns=%d/size=%d", conns, size), func(b *testing.B) {
				yardstick.Compare(b, size, rawLanes(b, conns), newEnv(b).lanes(b, conns))
			})
		}
	}
}

// BenchmarkConnect compares setting up and closing connections.
func BenchmarkConnect(b *testing.B) {
	b.Run("tls", func(b *testing.B) {
		config := rawConfig(b)
		l, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		for b.Loop() {
			x, y := rawConnect(b, l, config)
			x.Close()
			y.Close()
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

// BenchmarkIdleMemory reports the heap and stacks that an idle connection
// costs, for both its ends, after it has carried 1 MiB each way.
func BenchmarkIdleMemory(b *testing.B) {
	const count = 200
	measure := func(b *testing.B, connect func() (io.ReadWriter, io.ReadWriter)) {
		for b.Loop() {
			before := yardstick.Memory()
			var keep []io.ReadWriter
			var readers sync.WaitGroup
			for range count {
				x, y := connect()
				yardstick.Carry(b, yardstick.Lane{W: x, R: y}, 1<<20, 1)
				yardstick.Carry(b, yardstick.Lane{W: y, R: x}, 1<<20, 1)
				for _, c := range []io.ReadWriter{x, y} {
					keep = append(keep, c)
					readers.Go(func() { _, _ = c.Read(make([]byte, 1)) }) // ends when closed
				}
			}
			b.ReportMetric(float64(yardstick.Memory()-before)/count/1024, "KiB/connection")
			for _, c := range keep {
				switch c := c.(type) {
				case net.Conn:
					c.Close()
				case conn.Conn:
					c.Close(nil)
				}
			}
			readers.Wait()
		}
	}
	b.Run("tls", func(b *testing.B) {
		config := rawConfig(b)
		l, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		measure(b, func() (io.ReadWriter, io.ReadWriter) { x, y := rawConnect(b, l, config); return x, y })
	})
	b.Run("conn", func(b *testing.B) {
		e := newEnv(b)
		measure(b, func() (io.ReadWriter, io.ReadWriter) { x, y := e.connect(b); return x, y })
	})
}

func rawConfig(b *testing.B) *tls.Config {
	key, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	config, err := secure.Config(key, identity.NodeID{})
	if err != nil {
		b.Fatal(err)
	}
	return config
}

// rawLanes returns lanes of crypto/tls, with the keys of nodes.
func rawLanes(b *testing.B, n int) (lanes []yardstick.Lane) {
	config := rawConfig(b)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for range n {
		x, y := rawConnect(b, l, config)
		b.Cleanup(func() { x.Close(); y.Close() })
		lanes = append(lanes, yardstick.Lane{W: x, R: y})
	}
	return lanes
}

func rawConnect(b *testing.B, l net.Listener, config *tls.Config) (x, y net.Conn) {
	var work sync.WaitGroup
	work.Go(func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).Handshake()
		}
		if err != nil {
			b.Error(err)
		}
		y = c
	})
	x, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		b.Fatal(err)
	}
	work.Wait()
	return x, y
}

// An env is a transport that listens.
type env struct {
	tr     *tcp.Transport
	local  conn.Local
	listen conn.Listener
}

func newEnv(b testing.TB) *env { return newEnvOf(b, tcp.New()) }

func newEnvOf(b testing.TB, tr *tcp.Transport) *env {
	key, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	e := &env{tr: tr, local: conn.Local{Key: key}}
	e.listen, err = tr.Listen(context.Background(), e.local, identity.Address{Scheme: tr.Schemes()[0], Host: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.tr.Close() })
	return e
}

func (e *env) connect(b testing.TB) (x, y conn.Conn) {
	x, err := e.tr.Dial(context.Background(), e.local, e.local.Key.ID(), e.listen.Addr())
	if err != nil {
		b.Fatal(err)
	}
	y, err = e.listen.Accept(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	return x, y
}

// lanes returns connections, one way.
func (e *env) lanes(b testing.TB, n int) (lanes []yardstick.Lane) {
	for range n {
		x, y := e.connect(b)
		b.Cleanup(func() { x.Close(nil); y.Close(nil) })
		lanes = append(lanes, yardstick.Lane{W: x, R: y})
	}
	return lanes
}
