package link_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/link"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// Links run over authenticated connections too: over TLS on TCP, and in memory,
// where the cause of an end reaches the other side.
func TestOverConn(t *testing.T) {
	for name, tr := range map[string]struct {
		server, client conn.Transport
		addr           identity.Address
	}{
		"tcp": {tcp.New(), tcp.New(), identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"}},
		"mem": func() (m struct {
			server, client conn.Transport
			addr           identity.Address
		}) {
			n := mem.NewNetwork()
			m.server, m.client, m.addr = n.Transport(), n.Transport(), identity.Address{Scheme: "mem", Host: "server"}
			return m
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			defer tr.server.Close()
			defer tr.client.Close()
			serverKey, err := identity.Generate()
			must(t, err)
			clientKey, err := identity.Generate()
			must(t, err)
			inner, err := tr.server.Listen(noContext, conn.Local{Key: serverKey}, tr.addr)
			must(t, err)
			s, err := link.ListenConn(inner, bytesConfig{})
			must(t, err)
			defer s.Close()
			dial := func(ctx context.Context) (link.Stream, error) {
				return tr.client.Dial(ctx, conn.Local{Key: clientKey}, serverKey.ID(), inner.Addr())
			}
			connect := func() (x, y *link.Link[[]byte, []byte]) {
				x, err := link.Connect(noContext, dial, bytesConfig{})
				must(t, err)
				y, err = s.Accept(noContext)
				must(t, err)
				return x, y
			}
			x, y := connect()
			exchange(t, x, y, []byte("a"), make([]byte, 100<<10))
			if x.Info().Remote != inner.Addr().String() {
				t.Errorf("%+v, want the remote address %s", x.Info(), inner.Addr())
			}
			must(t, x.Close())
			if _, err := y.Recv(noContext); err != io.EOF {
				t.Errorf("after Close: %v, want io.EOF", err)
			}
			must(t, y.Close())
			if name != "mem" { // close reasons do not cross
				return
			}
			x, y = connect()
			x.Abort(&conn.CloseError{Code: conn.CodeLimit, Reason: "enough"})
			if _, err := y.Recv(noContext); !errors.Is(err, conn.CodeLimit) {
				t.Errorf("after Abort: %v, want its cause", err)
			}
			_ = y.Close()
			_ = x.Close()
		})
	}
}
