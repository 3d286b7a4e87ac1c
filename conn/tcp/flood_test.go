package tcp

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A paused socket takes no answer before it may, and tells that one is there.
type paused struct {
	net.Conn
	answered chan struct{}
	proceed  chan struct{}
	once     sync.Once
}

func (p *paused) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	p.once.Do(func() { close(p.answered) })
	<-p.proceed
	return n, err
}

// A pausedDial is a dial whose handshake the listener has begun.
type pausedDial struct {
	socket *paused
	err    chan error
}

// dialPaused dials l and pauses, after saying header.
func dialPaused(t *testing.T, l conn.Listener, local conn.Local, header string) *pausedDial {
	t.Helper()
	d := &pausedDial{socket: &paused{answered: make(chan struct{}), proceed: make(chan struct{})}, err: make(chan error, 1)}
	tr := NewWith(Config{Dial: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
		if d.socket.Conn, err = new(net.Dialer).DialContext(ctx, network, address); err == nil {
			_, err = io.WriteString(d.socket, header)
		}
		return d.socket, err
	}})
	t.Cleanup(func() { tr.Close() })
	go func() {
		c, err := tr.Dial(context.Background(), local, local.Key.ID(), l.Addr())
		if err == nil {
			c.Close(nil)
		}
		d.err <- err
	}()
	select {
	case <-d.socket.answered:
	case err := <-d.err:
		t.Fatalf("the dial ended before it was answered: %v", err)
	}
	return d
}

// finish lets the dial go on and returns how it ends for the listener, too: in TLS
// 1.3, who dials is done first.
func (d *pausedDial) finish(l conn.Listener) error {
	close(d.socket.proceed)
	if err := <-d.err; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakes)
	defer cancel()
	c, err := l.Accept(ctx)
	if err == nil {
		c.Close(nil)
	}
	return err
}

// flood opens sockets to l from a host, each of which says header and no more,
// until more have come than the limit, and as many of them had to go.
func flood(t *testing.T, l conn.Listener, from netip.Addr, limit int, header string) {
	t.Helper()
	tooMany := limit / 4
	gone := make(chan error, limit+tooMany)
	var work sync.WaitGroup
	t.Cleanup(work.Wait)
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	for range limit + tooMany {
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, header); err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			_, err := c.Read(make([]byte, 1))
			gone <- err
		})
	}
	for range tooMany {
		if err := <-gone; err == nil {
			t.Fatal("something came to who says nothing")
		}
	}
}

// As many stalled handshakes as there may be, and more, from one host: the one
// that another host has begun before succeeds.
func TestOneHostKeepsNobodyOut(t *testing.T) {
	other := netip.MustParseAddr("127.0.0.2")
	if probe, err := net.Listen("tcp", netip.AddrPortFrom(other, 0).String()); err != nil {
		t.Skipf("the system has no %s: %v", other, err)
	} else {
		probe.Close()
	}
	tr := New()
	defer tr.Close()
	l, local := listenLocal(t, tr, handshakes)
	honest := dialPaused(t, l, local, "")
	flood(t, l, other, local.WithDefaults().MaxHandshakes, "")
	if err := honest.finish(l); err != nil {
		t.Errorf("the handshake that began before the flood: %v", err)
	}
}

// Behind a balancer, hosts are those that it tells, not its own.
func TestOneHostBehindABalancerKeepsNobodyOut(t *testing.T) {
	const limit = 16
	balancer := netip.MustParseAddr("127.0.0.1")
	tr := NewWith(Config{Proxies: []netip.Prefix{netip.PrefixFrom(balancer, 32)}})
	defer tr.Close()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key, MaxHandshakes: limit}
	l, err := tr.Listen(t.Context(), local, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	honest := dialPaused(t, l, local, "PROXY TCP4 198.51.100.1 192.0.2.1 1 443\r\n")
	flood(t, l, balancer, limit, "PROXY TCP4 198.51.100.2 192.0.2.1 1 443\r\n")
	if err := honest.finish(l); err != nil {
		t.Errorf("the handshake that began before the flood: %v", err)
	}
}
