//go:build !js

package ws_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/coder/websocket"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkOneWay sends one way in writes of one size, from the side that dialled,
// over a Conn, beside coder/websocket with nothing else. The cost of TLS is in it,
// except with wss, where the yardstick has the outer TLS, too.
func BenchmarkOneWay(b *testing.B) {
	for _, scheme := range []string{"ws", "wss"} {
		for _, size := range []int{64, 4 << 10, 32 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("%s/size=%d", scheme, size), func(b *testing.B) {
				rawOut, rawIn := rawPair(b, scheme)
				out, in := connPair(b, scheme)
				yardstick.Compare(b, size, []yardstick.Lane{{W: rawOut, R: rawIn}}, []yardstick.Lane{{W: out, R: in}})
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
			yardstick.RoundTrips(b, yardstick.PingPong(b, rawOut, rawIn, 128), yardstick.PingPong(b, out, in, 128))
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

// BenchmarkIdleMemory reports the heap and stacks that an idle connection costs,
// for both its ends, after it has carried 1 MiB.
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
	b.Run("raw", func(b *testing.B) {
		connect := rawEnv(b, "ws")
		measure(b, func() (out, in io.ReadWriter) { x, y := connect(); return x, y })
	})
	b.Run("conn", func(b *testing.B) {
		connect := connEnv(b, "ws")
		measure(b, func() (out, in io.ReadWriter) { x, y := connect(); return x, y })
	})
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
