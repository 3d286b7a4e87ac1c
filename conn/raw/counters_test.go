package raw_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// What fails before a connection is there is counted where it failed, and there
// only.
func TestFailuresAreCountedWhereTheyHappen(t *testing.T) {
	type counted struct{ connect, handshake, panics, opened uint64 }
	refuse := func(context.Context, net.Conn, conn.Direction) (net.Conn, error) { return nil, errBad }
	dialPipe := func(context.Context) (net.Conn, error) { here, _ := net.Pipe(); return here, nil }
	for _, tt := range []struct {
		name   string
		v      any
		dial   func(context.Context) (net.Conn, error) // nil: it comes in
		cancel bool
		want   counted
	}{
		{"dial fails", &hooks{}, func(context.Context) (net.Conn, error) { return nil, errBad }, false, counted{connect: 1}},
		{"dial is cancelled", &hooks{}, func(ctx context.Context) (net.Conn, error) { return stall(ctx, nil, 0) }, true, counted{connect: 1}},
		{"dial panics", &hooks{}, func(context.Context) (net.Conn, error) { panic(poison) }, false, counted{panics: 1}},
		{"handshake fails", &hooks{handshake: refuse}, dialPipe, false, counted{handshake: 1}},
		{"handshake is cancelled", &hooks{handshake: stall}, dialPipe, true, counted{handshake: 1}},
		{"handshake panics", &hooks{handshake: func(context.Context, net.Conn, conn.Direction) (net.Conn, error) { panic(poison) }}, dialPipe, false, counted{panics: 1}},
		{"codec panics", noCodec{}, dialPipe, false, counted{panics: 1}},
		{"incoming: handshake fails", &hooks{handshake: refuse}, nil, false, counted{handshake: 1}},
		{"incoming: codec panics", noCodec{}, nil, false, counted{panics: 1}},
		{"incoming: codec panics after the handshake", struct {
			raw.Handshaker
			raw.DecoderMaker
		}{&hooks{}, noCodec{}}, nil, false, counted{panics: 1}},
		{"nothing fails", &hooks{}, dialPipe, false, counted{opened: 1}},
		{"incoming: nothing fails", &hooks{}, nil, false, counted{opened: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.v, raw.Config{}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				if tt.dial == nil {
					defer open(t, l).Close()
				} else {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					go func() { _, _ = n.ConnectUsing(ctx, tt.dial) }()
					synctest.Wait()
					if tt.cancel {
						cancel()
					}
				}
				synctest.Wait()
				s := n.Stats()
				if got := (counted{s.ConnectErrors, s.HandshakeErrors, s.Panics, s.Opened}); got != tt.want {
					t.Errorf("counted %+v, want %+v", got, tt.want)
				}
				if incoming := tt.dial == nil && s.Opened == 1; (s.Accepted == 1) != incoming {
					t.Errorf("%d accepted of %d, want those that came in", s.Accepted, s.Opened)
				}
				if n.NumConnecting() != 0 {
					t.Errorf("%d connecting", n.NumConnecting())
				}
			})
		})
	}
}

// noCodec cannot make a decoder.
type noCodec struct{}

func (noCodec) NewDecoder(raw.Info) raw.Decoder { panic(poison) }

// What waits on a connection is told, exactly.
func TestQueuesAreTold(t *testing.T) {
	var goOn chan struct{}
	h := &hooks{message: func(context.Context, *raw.Conn, []byte) { <-goOn }}
	bubble(t, h, raw.Config{InQueue: 8}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		goOn = make(chan struct{}) // of the bubble
		there := open(t, l)
		c := only(t, n)
		look := func(what string, want raw.Queues) {
			t.Helper()
			synctest.Wait()
			if got := c.Info().Queues; got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		look("idle", raw.Queues{})
		for range 5 { // one is being written
			if err := c.Send(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for range 4 { // for one OnMessage is called
			if _, err := there.Write(frame("x")); err != nil {
				t.Fatal(err)
			}
		}
		look("full", raw.Queues{InQueue: 3, OutMessages: 4, OutBytes: 40})
		goOn <- struct{}{}
		look("one message later", raw.Queues{InQueue: 2, OutMessages: 4, OutBytes: 40})
		for range 5 {
			_, _ = there.Read(make([]byte, 64))
		}
		close(goOn)
		look("emptied", raw.Queues{})
		there.Close()
		<-c.Done()
		look("ended", raw.Queues{})
	})
}
