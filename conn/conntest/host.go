package conntest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

var hostTests = []test{
	{"one host's flood", "an honest handshake outlives a flood from one host: of too many at a time, the oldest of the host that has most of them gives way", testHostFlood},
}

// Hosts of the loopback network, as the listener sees them.
var (
	honestHost = netip.MustParseAddr("127.0.0.1")
	floodHost  = netip.MustParseAddr("127.0.0.2")
)

func testHostFlood(t *testing.T, e *env) {
	if e.Sockets == "" || e.Stalled == nil {
		t.Skip("Pair.Sockets or Pair.Stalled is not set")
	}
	if pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(floodHost, 0))); err != nil {
		t.Skipf("the system has no %s: %v", floodHost, err)
	} else {
		pc.Close()
	}
	const most, flood = 16, 3 * 16
	e.remote.MaxHandshakes = most
	l := e.listen(t)

	honest := newPass(t, e.Sockets, l.Addr(), honestHost)
	honest.hold()
	dialled := make(chan error, 1)
	go func() {
		c, err := e.Dialer.Dial(e.context(t), e.local, e.remote.Key.ID(), honest.at)
		if err == nil {
			e.keep(t, c)
		}
		dialled <- err
	}()
	honest.await(t, "the listener has not answered the honest dial", func(p *pass) bool { return p.answered > 0 })

	others := newPass(t, e.Sockets, l.Addr(), floodHost)
	var work sync.WaitGroup
	for range flood {
		work.Go(func() { e.Stalled(t, others.at) })
	}
	work.Wait()
	others.await(t, "the flood has not come through", func(p *pass) bool { return p.flows >= flood })
	honest.release()
	if err := <-dialled; err != nil {
		t.Fatalf("the dial that began before the flood: %v", err)
	}
	e.accept(t, l)
}

// A pass is a gate between those who dial and a listener: it passes on all that
// they send, each from a socket of its own at one host, and what comes back,
// unless that is held.
type pass struct {
	at   identity.Address // to dial
	onto identity.Address
	host netip.Addr
	stop func() // closes the socket that listens

	mu       sync.Mutex // guards what follows
	open     chan struct{}
	changed  chan struct{} // closed with each change
	flows    int           // that have sent something to the listener
	answered int           // of them, by the listener, if held or not
	ends     []net.Conn
	closed   bool
	work     sync.WaitGroup
}

func newPass(t *testing.T, network string, onto identity.Address, host netip.Addr) *pass {
	t.Helper()
	p := &pass{at: onto, onto: onto, host: host, open: make(chan struct{}), changed: make(chan struct{})}
	close(p.open)
	switch network {
	case "tcp":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.at.Host, p.stop = l.Addr().String(), func() { l.Close() }
		p.work.Go(func() { p.takeTCP(l) })
	case "udp":
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		p.at.Host, p.stop = pc.LocalAddr().String(), func() { pc.Close() }
		p.work.Go(func() { p.takeUDP(pc) })
	default:
		t.Fatalf(`Pair.Sockets is %q, want "tcp" or "udp"`, network)
	}
	t.Cleanup(p.close)
	return p
}

func (p *pass) close() {
	p.stop()
	p.release()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.ends {
		c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
}

// hold keeps back what comes from the listener, until release.
func (p *pass) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

func (p *pass) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// note changes what is counted.
func (p *pass) note(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until is holds.
func (p *pass) await(t *testing.T, otherwise string, is func(*pass) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		p.mu.Lock()
		done, changed := is(p), p.changed
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal(otherwise)
		}
	}
}

// onward connects to the listener from the host, or returns nil at the end.
func (p *pass) onward(network string) net.Conn {
	d := net.Dialer{Timeout: limit}
	if network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.host, 0))
	} else {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.host, 0))
	}
	c, err := d.Dial(network, p.onto.Host)
	if err != nil || !p.keep(c) {
		return nil
	}
	return c
}

// keep has close end c, or does so at once.
func (p *pass) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.ends = append(p.ends, c)
	return true
}

// back passes on what comes from the listener, until it ends.
func (p *pass) back(from net.Conn, pass func([]byte) error) {
	buf := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := from.Read(buf)
		if n > 0 && first {
			p.note(func() { p.answered++ })
		}
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		<-open
		if err != nil || pass(buf[:n]) != nil {
			return
		}
	}
}

func (p *pass) takeTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			return
		}
		out := p.onward("tcp")
		if out == nil {
			c.Close()
			continue
		}
		p.note(func() { p.flows++ })
		p.work.Go(func() {
			_, _ = io.Copy(out, c) // either end may go at any time
			out.Close()
		})
		p.work.Go(func() {
			p.back(out, func(b []byte) error { _, err := c.Write(b); return err })
			c.Close()
		})
	}
}

func (p *pass) takeUDP(pc *net.UDPConn) {
	flows := map[netip.AddrPort]net.Conn{}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		out := flows[from]
		if out == nil {
			if out = p.onward("udp"); out == nil {
				continue
			}
			flows[from] = out
			p.note(func() { p.flows++ })
			p.work.Go(func() {
				p.back(out, func(b []byte) error { _, err := pc.WriteToUDPAddrPort(b, from); return err })
			})
		}
		_, _ = out.Write(buf[:n]) // it may get lost, as on any way
	}
}
