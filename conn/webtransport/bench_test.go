//go:build !js

package webtransport

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkOneWay sends one way in writes of one size over a Conn, beside a stream
// of webtransport-go with nothing else: what the second layer of TLS costs is in it.
func BenchmarkOneWay(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 32 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			rawOut, rawIn := rawPair(b)
			out, in := connPair(b)
			yardstick.Compare(b, size, []yardstick.Lane{{W: rawOut, R: rawIn}}, []yardstick.Lane{{W: out, R: in}})
		})
	}
}

// BenchmarkRoundTrip sends 128 bytes there and back over both.
func BenchmarkRoundTrip(b *testing.B) {
	rawOut, rawIn := rawPair(b)
	out, in := connPair(b)
	yardstick.RoundTrips(b, yardstick.PingPong(b, rawOut, rawIn, 128), yardstick.PingPong(b, out, in, 128))
}

// BenchmarkIdleMemory reports the heap and stacks that an idle connection costs,
// for both its ends, after it has carried 1 MiB; most of it is quic-go's.
func BenchmarkIdleMemory(b *testing.B) {
	const count = 100
	measure := func(b *testing.B, connect func() (out, in io.ReadWriter)) {
		for b.Loop() {
			before := yardstick.Memory()
			var keep []io.ReadWriter
			for range count {
				out, in := connect()
				yardstick.Carry(b, yardstick.Lane{W: out, R: in}, 64<<10, 16)
				keep = append(keep, out, in)
			}
			b.ReportMetric(float64(yardstick.Memory()-before)/count/1024, "KiB/connection")
			runtime.KeepAlive(keep)
		}
	}
	b.Run("conn", func(b *testing.B) {
		connect := connEnv(b)
		measure(b, func() (out, in io.ReadWriter) { x, y := connect(); return x, y })
	})
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
