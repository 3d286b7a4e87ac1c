package bench

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A hub accepts the connections of the yardstick: crypto/tls over TCP, or
// quic-go with one stream. Both ends prove their identities as nodes do. It
// answers the first frame of a connection, which is empty, then hands the
// stream to a function.
type hub struct {
	transport string
	id        identity.NodeID
	addr      net.Addr
	serve     func(io.ReadWriter)
	running   sync.WaitGroup
}

// A spoke dials a hub: from a key of its own, and over QUIC from a socket that
// it has had before, as a node has.
type spoke struct {
	hub  *hub
	key  identity.PrivateKey
	quic *quicgo.Transport
}

// hello is an empty frame.
const hello = "\x00\x00\x00\x00\x01\x00\x00\x00\x00"

func newKey(b testing.TB) identity.PrivateKey {
	k, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	return k
}

// newHub returns a hub that lives until the benchmark ends.
func newHub(b testing.TB, transport string, serve func(io.ReadWriter)) *hub {
	b.Helper()
	key := newKey(b)
	h := &hub{transport: transport, id: key.ID(), serve: serve}
	b.Cleanup(h.running.Wait)
	config, err := secure.Config(key, identity.NodeID{})
	if err != nil {
		b.Fatal(err)
	}
	if transport == "quic" {
		_, l := listenQUIC(b, key)
		h.addr = l.Addr()
		h.running.Go(func() { h.acceptQUIC(l) })
		return h
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	h.addr = l.Addr()
	h.running.Go(func() { h.acceptTLS(l, config) })
	return h
}

// listenQUIC returns a socket that listens, and serves dials too.
func listenQUIC(b testing.TB, key identity.PrivateKey) (*quicgo.Transport, *quicgo.Listener) {
	b.Helper()
	config, err := secure.Config(key, identity.NodeID{})
	if err != nil {
		b.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	t := &quicgo.Transport{Conn: udp}
	l, err := t.Listen(config, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		l.Close()
		t.Close()
		udp.Close()
	})
	return t, l
}

func (h *hub) acceptTLS(l net.Listener, config *tls.Config) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h.running.Go(func() {
			defer c.Close()
			t := tls.Server(c, config)
			if t.Handshake() == nil {
				h.answer(t)
			}
		})
	}
}

func (h *hub) acceptQUIC(l *quicgo.Listener) {
	ctx := context.Background()
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			return
		}
		h.running.Go(func() {
			defer c.CloseWithError(0, "")
			if s, err := c.AcceptStream(ctx); err == nil {
				h.answer(s)
			}
		})
	}
}

func (h *hub) answer(s io.ReadWriter) {
	var frame [len(hello)]byte
	if _, err := io.ReadFull(s, frame[:]); err != nil {
		return
	}
	if _, err := s.Write(frame[:]); err == nil {
		h.serve(s)
	}
}

func (h *hub) spoke(b testing.TB) *spoke {
	b.Helper()
	s := &spoke{hub: h, key: newKey(b)}
	if h.transport == "quic" {
		s.quic, _ = listenQUIC(b, s.key)
	}
	return s
}

// dial shakes hands with the hub: the connection is open as far as this end
// knows, and has yet to be used.
func (s *spoke) dial(ctx context.Context) (stream io.ReadWriter, end func(), err error) {
	config, err := secure.Config(s.key, s.hub.id)
	if err != nil {
		return nil, nil, err
	}
	if s.quic != nil {
		c, err := s.quic.Dial(ctx, s.hub.addr, config, nil)
		if err != nil {
			return nil, nil, err
		}
		end = func() { c.CloseWithError(0, "") }
		stream, err = c.OpenStreamSync(ctx)
		return stream, end, err
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.hub.addr.String())
	if err != nil {
		return nil, nil, err
	}
	t := tls.Client(c, config)
	return t, func() { t.Close() }, t.HandshakeContext(ctx)
}

// greet sends the first frame and waits for its answer: now both ends know that
// the connection is open.
func greet(s io.ReadWriter) error {
	if _, err := io.WriteString(s, hello); err != nil {
		return err
	}
	var frame [len(hello)]byte
	_, err := io.ReadFull(s, frame[:])
	return err
}

// open dials and greets.
func (s *spoke) open(b testing.TB) (stream io.ReadWriter, end func()) {
	b.Helper()
	stream, end, err := s.dial(b.Context())
	if err == nil {
		err = greet(stream)
	}
	if err != nil {
		b.Fatal(err)
	}
	return stream, end
}
