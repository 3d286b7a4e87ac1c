//go:build !js

package ws_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
)

// BenchmarkBulk moves bytes one way, from the side that dialled, over a Conn and
// over coder/websocket with nothing else, in turns. "of-raw" is the rate of the
// Conn in parts of the other's: the cost of TLS is in it, except with wss, where
// the yardstick has the outer TLS, too.
func BenchmarkBulk(b *testing.B) {
	for _, scheme := range []string{"ws", "wss"} {
		for _, size := range []int{64, 4 << 10, 32 << 10, 256 << 10} {
			b.Run(scheme+"/"+strconv.Itoa(size), func(b *testing.B) {
				rawOut, rawIn := rawPair(b, scheme)
				out, in := connPair(b, scheme)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				var raw, own time.Duration
				for left := b.N; left > 0; {
					n := min(left, max(1, (4<<20)/size))
					raw += carryBytes(b, rawOut, rawIn, size, n)
					own += carryBytes(b, out, in, size, n)
					left -= n
				}
				b.ReportMetric(raw.Seconds()/own.Seconds(), "of-raw")
				b.ReportMetric(float64(b.N)*float64(size)/own.Seconds()/1e6, "conn-MB/s")
			})
		}
	}
}

// BenchmarkRoundTrip sends 128 bytes there and back over both.
func BenchmarkRoundTrip(b *testing.B) {
	for _, scheme := range []string{"ws", "wss"} {
		b.Run(scheme, func(b *testing.B) {
			rawOut, rawIn := rawPair(b, scheme)
			out, in := connPair(b, scheme)
			b.ResetTimer()
			var raw, own time.Duration
			for left := b.N; left > 0; {
				n := min(left, 100)
				raw += pingPong(b, rawOut, rawIn, n)
				own += pingPong(b, out, in, n)
				left -= n
			}
			b.ReportMetric(own.Seconds()/raw.Seconds(), "x-raw")
			b.ReportMetric(own.Seconds()/float64(b.N)*1e6, "conn-µs")
		})
	}
}

// A rawStream is coder/websocket's Conn as a byte stream, message by message, at
// no cost.
type rawStream struct {
	ws *websocket.Conn
	r  io.Reader
}

func (s *rawStream) Write(p []byte) (int, error) {
	return len(p), s.ws.Write(context.Background(), websocket.MessageBinary, p)
}

func (s *rawStream) Read(p []byte) (n int, err error) {
	for {
		if s.r == nil {
			if _, s.r, err = s.ws.Reader(context.Background()); err != nil {
				return 0, err
			}
		}
		if n, err = s.r.Read(p); err == io.EOF {
			s.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func carryBytes(b *testing.B, w io.Writer, r io.Reader, size, count int) time.Duration {
	var work sync.WaitGroup
	start := time.Now()
	work.Go(func() {
		p := make([]byte, 256<<10)
		for left := size * count; left > 0; {
			n, err := r.Read(p[:min(len(p), left)])
			if left -= n; err != nil {
				b.Error(err)
				return
			}
		}
	})
	p := make([]byte, size)
	for range count {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	work.Wait()
	return time.Since(start)
}

func pingPong(b *testing.B, x, y io.ReadWriter, count int) time.Duration {
	var work sync.WaitGroup
	start := time.Now()
	work.Go(func() {
		p := make([]byte, 128)
		for range count {
			if _, err := io.ReadFull(y, p); err != nil {
				b.Error(err)
				return
			}
			if _, err := y.Write(p); err != nil {
				b.Error(err)
				return
			}
		}
	})
	p := make([]byte, 128)
	for range count {
		if _, err := x.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(x, p); err != nil {
			b.Fatal(err)
		}
	}
	work.Wait()
	return time.Since(start)
}

// BenchmarkIdleMemory reports the heap and stacks that an idle connection costs,
// for both its ends, after it has carried 1 MiB.
func BenchmarkIdleMemory(b *testing.B) {
	const count = 100
	measure := func(b *testing.B, connect func() (out, in io.ReadWriter)) {
		for b.Loop() {
			before := memory()
			var keep []io.ReadWriter
			for range count {
				out, in := connect()
				carryBytes(b, out, in, 64<<10, 16)
				keep = append(keep, out, in)
			}
			b.ReportMetric(float64(memory()-before)/count/1024, "KiB/connection")
			runtime.KeepAlive(keep)
		}
	}
	b.Run("raw", func(b *testing.B) {
		connect := rawEnv(b, "ws")
		measure(b, func() (out, in io.ReadWriter) { x, y := connect(); return x, y })
	})
	b.Run("conn", func(b *testing.B) {
		connect := connEnv(b, "ws")
		measure(b, func() (out, in io.ReadWriter) { x, y := connect(); return x, y })
	})
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

func connPair(b *testing.B, scheme string) (out, in conn.Conn) { return connEnv(b, scheme)() }

// connEnv listens and returns what connects.
func connEnv(b *testing.B, scheme string) (connect func() (out, in conn.Conn)) {
	ctx := context.Background()
	certificate, roots := authority(b)
	local := conn.Local{Key: newKey(b)}
	tr := ws.NewWith(ws.Config{DialTLS: &tls.Config{RootCAs: roots}, ListenTLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	b.Cleanup(func() { tr.Close() })
	l, err := tr.Listen(ctx, local, identity.Address{Scheme: scheme, Host: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	return func() (out, in conn.Conn) {
		if out, err = tr.Dial(ctx, local, local.Key.ID(), l.Addr()); err != nil {
			b.Fatal(err)
		}
		if in, err = l.Accept(ctx); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { out.Close(nil); in.Close(nil) })
		return out, in
	}
}

func rawPair(b *testing.B, scheme string) (out, in *rawStream) { return rawEnv(b, scheme)() }

// rawEnv is connEnv for coder/websocket.
func rawEnv(b *testing.B, scheme string) (connect func() (out, in *rawStream)) {
	certificate, roots := authority(b)
	accepted := make(chan *websocket.Conn, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := websocket.Accept(w, r, nil); err == nil {
			accepted <- c
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	if scheme == "wss" {
		server.StartTLS()
	} else {
		server.Start()
	}
	b.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: (&net.Dialer{}).DialContext}}
	return func() (out, in *rawStream) {
		c, _, err := websocket.Dial(context.Background(), server.URL, &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			b.Fatal(err)
		}
		other := <-accepted
		b.Cleanup(func() { _ = c.CloseNow(); _ = other.CloseNow() })
		c.SetReadLimit(-1)
		other.SetReadLimit(-1)
		return &rawStream{ws: c}, &rawStream{ws: other}
	}
}
