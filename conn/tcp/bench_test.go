package tcp_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// BenchmarkBulk compares one direction of a Conn with crypto/tls alone.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{64, 64 << 10, 256 << 10} {
		name := strconv.Itoa(size)
		b.Run(name+"/tls", func(b *testing.B) {
			x, y := rawPair(b)
			bulk(b, x, y, size)
		})
		b.Run(name+"/conn", func(b *testing.B) {
			x, y := connPair(b)
			bulk(b, x, y, size)
		})
	}
}

func bulk(b *testing.B, w io.Writer, r io.Reader, size int) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var work sync.WaitGroup
	work.Go(func() {
		p := make([]byte, 256<<10)
		for left := size * b.N; left > 0; {
			n, err := r.Read(p)
			if left -= n; err != nil {
				b.Error(err)
				return
			}
		}
	})
	p := make([]byte, size)
	b.ResetTimer()
	for range b.N {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	work.Wait()
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
			before := memory()
			var keep []io.ReadWriter
			var readers sync.WaitGroup
			for range count {
				x, y := connect()
				carry(b, x, y)
				carry(b, y, x)
				for _, c := range []io.ReadWriter{x, y} {
					keep = append(keep, c)
					readers.Go(func() { _, _ = c.Read(make([]byte, 1)) }) // ends when closed
				}
			}
			b.ReportMetric(float64(memory()-before)/count/1024, "KiB/connection")
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

func carry(b *testing.B, w io.Writer, r io.Reader) {
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			b.Error(err)
		}
	})
	if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
		b.Error(err)
	}
	work.Wait()
}

// memory returns the heap and stacks in use.
func memory() uint64 {
	for range 3 { // pools empty in two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
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

func rawPair(b *testing.B) (x, y net.Conn) {
	config := rawConfig(b)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	x, y = rawConnect(b, l, config)
	b.Cleanup(func() { x.Close(); y.Close() })
	return x, y
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

func newEnv(b testing.TB) *env {
	key, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	e := &env{tr: tcp.New(), local: conn.Local{Key: key}}
	e.listen, err = e.tr.Listen(context.Background(), e.local, addr("127.0.0.1:0"))
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

func connPair(b *testing.B) (x, y conn.Conn) {
	x, y = newEnv(b).connect(b)
	b.Cleanup(func() { x.Close(nil); y.Close(nil) })
	return x, y
}
