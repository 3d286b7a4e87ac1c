package quicgo

import (
	"context"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/internal/origin"
)

// Greetings counts the incoming connections of a listener of which quic-go has
// not seen a whole ClientHello. The zero value is ready for use.
//
//	quic.Transport.ConnContext ─> Await ─┬─> Listener.Accept ─> Said
//	                                     └─> the connection ends
//
// They cannot be ended for others. So a host that has proven its address may have
// as many so as there are places left, and no more: one takes half of what forged
// addresses leave, two take a third each, and there is always a place for the next
// (Choudhury and Hahne, "Dynamic queue length thresholds", 1998). Others do not
// count for a host: anybody can forge its address.
type Greetings struct {
	mu     sync.Mutex // guards what follows
	silent int
	proven map[netip.Prefix]int // hosts
}

// saidKey is the context key of the function that Said calls.
type saidKey struct{}

// Await counts a new connection, whose context is ctx, until [Said] is called with
// the context that it returns, or ctx ends. It returns false if there is no place
// for it, of limit in all.
func (g *Greetings) Await(ctx context.Context, from *quic.ClientInfo, limit int) (context.Context, bool) {
	var host netip.Prefix
	if from.AddrVerified {
		host = origin.Host(origin.IP(from.RemoteAddr))
	}
	if !g.take(host, limit) {
		return nil, false
	}
	stop := context.AfterFunc(ctx, func() { g.leave(host) })
	said := func() {
		if stop() {
			g.leave(host)
		}
	}
	return context.WithValue(ctx, saidKey{}, said), true
}

// take counts a connection from a host, which is not valid if it is not proven.
func (g *Greetings) take(host netip.Prefix, limit int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := limit - g.silent
	if left <= 0 || g.proven[host] >= left {
		return false
	}
	if host.IsValid() {
		if g.proven == nil {
			g.proven = map[netip.Prefix]int{}
		}
		g.proven[host]++
	}
	g.silent++
	return true
}

func (g *Greetings) leave(host netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent--
	if n := g.proven[host]; n > 1 {
		g.proven[host] = n - 1
	} else {
		delete(g.proven, host)
	}
}

// Silent returns how many there are.
func (g *Greetings) Silent() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.silent
}

// Said tells that the connection with the context ctx has said hello. If it was
// not counted, nothing happens.
func Said(ctx context.Context) {
	if said, ok := ctx.Value(saidKey{}).(func()); ok {
		said()
	}
}
