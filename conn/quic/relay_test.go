package quic_test

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

// A relay is a NAT on the loopback: what comes to it from an address goes on to
// the target from a port of its own, and back.
type relay struct {
	in   *net.UDPConn
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows
	target  *net.UDPAddr
	out     map[netip.AddrPort]*net.UDPConn
	blocked func(from netip.AddrPort) bool
}

func newRelay(t *testing.T, to identity.Address) *relay {
	target, err := net.ResolveUDPAddr("udp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{in: listenLoopback(t), target: target, out: map[netip.AddrPort]*net.UDPConn{}}
	r.work.Go(r.forward)
	t.Cleanup(func() {
		r.in.Close()
		r.mu.Lock()
		for _, c := range r.out {
			c.Close()
		}
		r.mu.Unlock()
		r.work.Wait()
	})
	return r
}

func listenLoopback(t *testing.T) *net.UDPConn {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	return udp
}

func (r *relay) addr() identity.Address { return addr(r.in.LocalAddr().String()) }

// block drops what comes from addresses for which it returns true, and what goes
// to them.
func (r *relay) block(blocked func(from netip.AddrPort) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = blocked
}

// rebind has the relay use other ports towards the target, and returns how many.
func (r *relay) rebind() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.out)
	for from, c := range r.out {
		c.Close()
		delete(r.out, from)
	}
	return n
}

func (r *relay) forward() {
	p := make([]byte, 64<<10)
	for {
		n, from, err := r.in.ReadFromUDPAddrPort(p)
		if err != nil {
			return
		}
		if out, target := r.outFor(from); out != nil {
			_, _ = out.WriteToUDP(p[:n], target) // or it is lost
		}
	}
}

// aim sends what comes later to another target.
func (r *relay) aim(t *testing.T, to identity.Address) {
	target, err := net.ResolveUDPAddr("udp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// outFor returns the socket for packets from an address, nil to drop them, and
// where they go.
func (r *relay) outFor(from netip.AddrPort) (*net.UDPConn, *net.UDPAddr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blocked != nil && r.blocked(from) {
		return nil, nil
	}
	out, ok := r.out[from]
	if !ok {
		var err error
		if out, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return nil, nil
		}
		r.out[from] = out
		r.work.Go(func() { r.back(out, from) })
	}
	return out, r.target
}

func (r *relay) back(out *net.UDPConn, to netip.AddrPort) {
	p := make([]byte, 64<<10)
	for {
		n, err := out.Read(p)
		if err != nil {
			return
		}
		r.mu.Lock()
		drop := r.blocked != nil && r.blocked(to)
		r.mu.Unlock()
		if !drop {
			_, _ = r.in.WriteToUDPAddrPort(p[:n], to)
		}
	}
}
