//go:build !js

package webtransport

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// BenchmarkBulk moves bytes one way over a Conn, and over a stream of
// webtransport-go with nothing else, in turns. "of-raw" is the rate of the Conn
// in parts of the other's: what the second layer of TLS costs is in it.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 32 << 10, 256 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			rawOut, rawIn := rawPair(b)
			out, in := connPair(b)
			carry(b, rawOut, rawIn, 64<<10, 64) // windows grow
			carry(b, out, in, 64<<10, 64)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			var raw, own time.Duration
			for left := b.N; left > 0; {
				n := min(left, max(1, (4<<20)/size))
				raw += carry(b, rawOut, rawIn, size, n)
				own += carry(b, out, in, size, n)
				left -= n
			}
			b.ReportMetric(raw.Seconds()/own.Seconds(), "of-raw")
			b.ReportMetric(float64(b.N)*float64(size)/own.Seconds()/1e6, "conn-MB/s")
		})
	}
}

// BenchmarkRoundTrip sends 128 bytes there and back over both.
func BenchmarkRoundTrip(b *testing.B) {
	rawOut, rawIn := rawPair(b)
	out, in := connPair(b)
	var raw, own time.Duration
	for left := b.N; left > 0; {
		n := min(left, 100)
		raw += pingPong(b, rawOut, rawIn, n)
		own += pingPong(b, out, in, n)
		left -= n
	}
	b.ReportMetric(own.Seconds()/raw.Seconds(), "x-raw")
	b.ReportMetric(own.Seconds()/float64(b.N)*1e6, "conn-µs")
}

func carry(b *testing.B, w io.Writer, r io.Reader, size, count int) time.Duration {
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
// for both its ends, after it has carried 1 MiB; most of it is quic-go's.
func BenchmarkIdleMemory(b *testing.B) {
	const count = 100
	measure := func(b *testing.B, connect func() (out, in io.ReadWriter)) {
		for b.Loop() {
			before := memory()
			var keep []io.ReadWriter
			for range count {
				out, in := connect()
				carry(b, out, in, 64<<10, 16)
				keep = append(keep, out, in)
			}
			b.ReportMetric(float64(memory()-before)/count/1024, "KiB/connection")
			runtime.KeepAlive(keep)
		}
	}
	b.Run("conn", func(b *testing.B) {
		connect := connEnv(b)
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

func connPair(b *testing.B) (out, in conn.Conn) { return connEnv(b)() }

// connEnv listens and returns what connects.
func connEnv(b *testing.B) (connect func() (out, in conn.Conn)) {
	ctx := context.Background()
	local := conn.Local{Key: newKey(b)}
	tr := New()
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
		return out, in
	}
}

func rawPair(b *testing.B) (out, in *wt.Stream) {
	ctx := context.Background()
	certificates := &renewal{key: newKey(b)}
	own, err := certificates.current(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	l, err := quic.ListenAddrEarly("127.0.0.1:0", http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{*own}}), quicConfig(10*time.Second))
	if err != nil {
		b.Fatal(err)
	}
	server := &wt.Server{H3: &http3.Server{}}
	accepted := make(chan *wt.Session, 1)
	server.H3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := server.Upgrade(w, r); err == nil {
			accepted <- ws
		}
	})
	var work sync.WaitGroup
	work.Go(func() {
		if qc, err := l.Accept(ctx); err == nil {
			_ = server.ServeQUICConn(qc)
		}
	})
	client := wt.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, QUICConfig: quicConfig(10 * time.Second)}
	_, ws, err := client.Dial(ctx, "https://"+l.Addr().String()+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = ws.CloseWithError(0, "")
		work.Wait()
		l.Close()
	})
	if out, err = ws.OpenStreamSync(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := out.Write([]byte("x")); err != nil {
		b.Fatal(err)
	}
	other := <-accepted
	if in, err = other.AcceptStream(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	return out, in
}
