package rpc_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// FuzzTake: whatever a remote sends is taken, ends no call that it may not end,
// and leaves both sides working.
func FuzzTake(f *testing.F) {
	f.Add(uint16(rpc.KindRequest), append(rpc.AppendRequest(nil, 1, time.Second, "sum"), 0x82, 0xa1, 'A', 1, 0xa1, 'B', 2))
	f.Add(uint16(rpc.KindRequest), rpc.AppendRequest(nil, 1, time.Second, "echo inline"))
	f.Add(uint16(rpc.KindRequest), rpc.AppendRequest(nil, 1, 0, ""))
	f.Add(uint16(rpc.KindAnswer), append(rpc.AppendAnswer(nil, 1, rpc.Remote), "text"...))
	f.Add(uint16(rpc.KindCancel), rpc.AppendCancel(nil, 1))
	f.Add(uint16(1), []byte("hello"))
	w := newWorld(f)
	n := serveNever(&w.server[w.carol].Server)
	server := &rpc.Server{}
	sum.HandleWith(server, rpc.Options{Inline: true}, add)
	server.HandleRaw("echo inline", rpc.Options{Inline: true}, echo)
	a := w.bob.serve(71, server).agent
	waiting := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(func() { cancel(); <-waiting })
	go func() {
		_, err := server.CallRaw(ctx, router.ToNode(w.carol.id).At(70), "never", nil)
		waiting <- err
	}()
	<-n.started
	f.Fuzz(func(t *testing.T, kind uint16, payload []byte) {
		before := bytes.Clone(payload)
		m := &conn.Message{Service: 71, Kind: conn.Kind(kind), FromService: 90, From: w.alice.id, Conn: w.toBob.peer.id, Hops: 1, Payload: payload}
		if taken, own := server.Take(a, m), conn.Kind(kind) >= rpc.KindRequest && conn.Kind(kind) <= rpc.KindCancel; taken != own {
			t.Errorf("kind %#x is taken: %v, want %v", kind, taken, own)
		}
		if !bytes.Equal(payload, before) {
			t.Error("Take has changed the payload")
		}
		if st := server.Stats(); st.Pending != 1 || st.Serving != 0 {
			t.Errorf("server counts %+v", st)
		}
	})
}
