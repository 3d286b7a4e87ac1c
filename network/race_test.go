package network_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
)

// blocked is a transport whose packets are lost: dials take as long as they may.
type blocked struct{ dials int }

func (*blocked) Schemes() []string { return []string{"blocked"} }
func (*blocked) Close() error      { return nil }
func (*blocked) Listen(context.Context, conn.Local, identity.Address) (conn.Listener, error) {
	return nil, errors.ErrUnsupported
}

func (b *blocked) Dial(ctx context.Context, _ conn.Local, _ identity.NodeID, _ identity.Address) (conn.Conn, error) {
	b.dials++
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// The addresses of a peer are raced: one that does not answer costs a quarter of
// a second, and the next time nothing.
func TestAddressesAreRaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		silent := &blocked{}
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa, func(c *network.Config) { c.Transports = append(c.Transports, silent) }), b.with(2, pb)
		peer := nb.peer()
		peer.Addresses = append([]identity.Address{{Scheme: "blocked", Host: "nowhere:1"}}, peer.Addresses...)
		for i, want := range []time.Duration{250 * time.Millisecond, 0} {
			start := time.Now()
			info, err := na.Connect(soon(t), peer)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("connection %d took %v, want %v", i+1, took, want)
			}
			if err := pa.a.Close(info.ID, nil); err != nil {
				t.Fatal(err)
			}
			get(t, pa.lost, "OnDisconnect of a")
			get(t, pb.lost, "OnDisconnect of b")
		}
		if silent.dials != 1 {
			t.Errorf("the silent address was dialled %d times, want once", silent.dials)
		}
		time.Sleep(time.Minute) // it returns to its place
		if _, err := na.Connect(soon(t), peer); err != nil {
			t.Fatal(err)
		}
		if silent.dials != 2 {
			t.Errorf("the silent address was dialled %d times, want twice", silent.dials)
		}
	})
}
