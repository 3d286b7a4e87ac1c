package quicgo

import (
	"context"
	"sync/atomic"
)

// Greetings counts the incoming connections of a listener of which quic-go has
// not seen a whole ClientHello. The zero value is ready for use.
//
//	quic.Transport.ConnContext ─> Await ─┬─> Listener.Accept ─> Said
//	                                     └─> the connection ends
type Greetings struct{ silent atomic.Int64 }

// saidKey is the context key of the function that Said calls.
type saidKey struct{}

// Await counts a new connection, whose context is ctx, until [Said] is called with
// the context that it returns, or ctx ends. If limit are counted already, it
// returns false.
func (g *Greetings) Await(ctx context.Context, limit int) (context.Context, bool) {
	if g.silent.Add(1) > int64(limit) {
		g.silent.Add(-1)
		return nil, false
	}
	stop := context.AfterFunc(ctx, func() { g.silent.Add(-1) })
	said := func() {
		if stop() {
			g.silent.Add(-1)
		}
	}
	return context.WithValue(ctx, saidKey{}, said), true
}

// Silent returns how many there are.
func (g *Greetings) Silent() int { return int(g.silent.Load()) }

// Said tells that the connection with the context ctx has said hello. If it was
// not counted, nothing happens.
func Said(ctx context.Context) {
	if said, ok := ctx.Value(saidKey{}).(func()); ok {
		said()
	}
}
