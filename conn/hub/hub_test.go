package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// Who dials: the lower ID if it has addresses, else the other.
func TestWhoDials(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lower  []string // addresses that the lower has of the higher
		higher []string
		by     int
	}{
		{"both can", []string{"mem://b"}, []string{"mem://a"}, 0},
		{"the lower can", []string{"mem://b"}, nil, 0},
		{"the higher can", nil, []string{"mem://a"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCouple(t)
				defer c.stop()
				c.add(0, tt.lower...)
				c.add(1, tt.higher...)
				for round := range 3 {
					time.Sleep(5 * time.Second)
					for i := range c.hubs {
						want := conn.Incoming
						if i == tt.by {
							want = conn.Outgoing
						}
						if p := c.peer(i); !p.Connected || p.Direction != want {
							t.Errorf("round %d: node %d: connected %t, %v; want %v", round, i, p.Connected, p.Direction, want)
						}
					}
					if n := c.peer(0).Endpoint.Stats().Connections; n != uint64(round)+1 {
						t.Errorf("round %d: there were %d connections", round, n)
					}
					c.peer(round % 2).Endpoint.Disconnect(errors.New("cut"))
				}
			})
		})
	}
}

// A connection that breaks is renewed at once: no time passes.
func TestRenewsAtOnce(t *testing.T) {
	for by, add := range []func(c *couple){
		func(c *couple) { c.add(0, names[1]); c.add(1) },
		func(c *couple) { c.add(0); c.add(1, names[0]) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCouple(t)
			defer c.stop()
			add(c)
			for i := range 6 {
				time.Sleep(2 * time.Second)
				began := time.Now()
				c.peer(i % 2).Endpoint.Disconnect(errors.New("cut"))
				synctest.Wait()
				if p := c.peer(0); !p.Connected || !p.Since.Equal(began) {
					t.Errorf("node %d dials: after a cut: connected %t, since %v", by, p.Connected, p.Since.Sub(began))
				}
				c.send(0, "x")
				c.recv(1, "x")
			}
		})
	}
}

// Connections that work and break at once are renewed under back-off.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *couple
		c = newCouple(t, hub.Config{}, hub.Config{OnConnect: func(id identity.NodeID) {
			go c.peer(1).Endpoint.Disconnect(errors.New("again"))
		}})
		defer c.stop()
		c.add(1)
		c.add(0, names[1])
		time.Sleep(time.Minute)
		if n := c.peer(0).Endpoint.Stats().Connections; n < 5 || n > 20 {
			t.Errorf("%d connections in a minute, want about 10", n)
		}
	})
}

func TestMembersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t)
		defer c.stop()
		refused := func(when, reason string) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			var ce *conn.CloseError
			if p := c.peer(0); p.Connected || !errors.As(p.Err, &ce) || ce.Code != conn.CodeRejected || !strings.Contains(ce.Reason, reason) || p.Failures < 10 || !p.Retry.After(time.Now()) {
				t.Errorf("%s: %+v, error %v; want to be refused with %q", when, p, p.Err, reason)
			}
		}
		c.add(0, names[1])
		refused("before it is added", "not a member")
		c.send(0, "1")
		c.add(1)
		c.recv(1, "1")
		c.send(1, "2")
		c.recv(0, "2")

		c.send(0, "never seen")
		synctest.Wait()
		if err := c.hubs[1].Remove(c.id(0)); err != nil {
			t.Fatal(err)
		}
		refused("removed", "barred")
		if err := c.hubs[1].Send(t.Context(), c.id(0), nil); !errors.Is(err, hub.ErrNotMember) {
			t.Errorf("Send to a removed node: %v", err)
		}
		if _, ok := c.hubs[1].Peer(c.id(0)); ok || len(c.hubs[1].Peers()) != 0 {
			t.Error("a removed node is still a member")
		}
		if err := c.hubs[1].Remove(c.id(0)); !errors.Is(err, hub.ErrNotMember) {
			t.Errorf("Remove, again: %v", err)
		}

		c.send(0, "3")
		c.add(1)
		c.recv(1, "3") // was not sent before: it is for the new life
		var restart *endpoint.RestartError
		if from, _, err := c.hubs[0].Recv(t.Context()); from != c.id(1) || !errors.As(err, &restart) || fmt.Sprintf("%s", restart.Unknown) != "[never seen]" {
			t.Errorf("Recv after it was added again: %v", err)
		}
	})
}

// The member's address changes: the hub finds it at the new one, and a channel
// that is on the old one moves.
func TestSetAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t)
		defer c.stop()
		extra := c.net.Transport()
		stop(c.hubs[1])
		c.hubs[1] = start(t, hub.Config{Key: c.keys[1], Transports: []conn.Transport{extra}, Listen: []identity.Address{address(t, "mem://b1"), address(t, "mem://b2")}})
		c.add(1)
		c.add(0, "mem://nowhere")
		time.Sleep(time.Hour)
		set := func(a string) {
			t.Helper()
			if err := c.hubs[0].SetAddresses(c.id(1), []identity.Address{address(t, a)}); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			synctest.Wait()
			if p := c.peer(0); !p.Connected || p.Remote.String() != a || p.Since.After(began) {
				t.Errorf("connected %t to %v %v after the address has changed to %s", p.Connected, p.Remote, p.Since.Sub(began), a)
			}
		}
		set("mem://b1")
		time.Sleep(time.Second)
		set("mem://b2")
		if n := c.peer(1).Endpoint.Stats().Connections; n != 2 {
			t.Errorf("there were %d connections, want 2", n)
		}
		if err := c.hubs[0].SetAddresses(c.id(1), []identity.Address{address(t, "tcp://127.0.0.1:1")}); err == nil || !strings.Contains(err.Error(), "no transport for tcp://") {
			t.Errorf("SetAddresses with a scheme without transport: %v", err)
		}
		if err := c.hubs[0].SetAddresses(c.id(0), nil); !errors.Is(err, hub.ErrNotMember) {
			t.Errorf("SetAddresses of a stranger: %v", err)
		}
	})
}

// Authorize is asked at every connection, at both ends, and may change its mind.
func TestAuthorize(t *testing.T) {
	for side, name := range []string{"outgoing", "incoming"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex // guards deny and asked
				var deny error
				asked := 0
				then := func(err error) (so int) {
					mu.Lock()
					defer mu.Unlock()
					deny = err
					return asked
				}
				var configs [2]hub.Config
				var c *couple
				configs[side].Authorize = func(_ context.Context, p conn.Peer) error {
					mu.Lock()
					defer mu.Unlock()
					asked++
					if want := []conn.Direction{conn.Outgoing, conn.Incoming}[side]; p.Node != c.id(1-side) || p.Direction != want || p.Remote.IsZero() {
						t.Errorf("asked about %+v", p)
					}
					if asked == 7 {
						panic("in Authorize")
					}
					return deny
				}
				c = newCouple(t, configs[:]...)
				defer c.stop()
				then(errors.New("not today"))
				c.add(1)
				c.add(0, names[1])
				time.Sleep(time.Hour)
				so := then(nil)
				if p := c.peer(0); p.Connected || p.Err == nil || !strings.Contains(p.Err.Error(), "not today") || so < 100 {
					t.Errorf("denied: connected %t, %v; asked %d times", p.Connected, p.Err, so)
				}
				time.Sleep(time.Minute)
				c.send(0, "x")
				c.recv(1, "x")
				so = then(nil)
				time.Sleep(time.Minute)
				c.peer(0).Endpoint.Disconnect(errors.New("cut"))
				time.Sleep(time.Minute)
				if n := then(errors.New("not any more")) - so; !c.peer(0).Connected || n != 1 {
					t.Errorf("renewed: connected %t; asked %d times, want once", c.peer(0).Connected, n)
				}
				c.cut()
				time.Sleep(time.Minute)
				if p := c.peer(0); p.Connected {
					t.Error("renewed in spite of the denial")
				}
			})
		})
	}
}

// The peer is another process with the same key: Recv says so, and which messages
// have an unknown fate.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t)
		defer c.stop()
		c.add(0, names[1])
		c.add(1, names[0])
		for i := range 6 {
			c.send(0, fmt.Sprint(i))
		}
		c.recv(1, "0")
		c.recv(1, "1")
		c.send(1, "last words")
		time.Sleep(time.Second)
		stop(c.hubs[1])
		time.Sleep(time.Second)
		c.send(0, "for the new life")
		time.Sleep(time.Minute)
		c.start(1, hub.Config{})
		c.add(1)
		c.recv(1, "for the new life")
		c.send(1, "hello")
		c.recv(0, "last words")
		var restart *endpoint.RestartError
		if from, _, err := c.hubs[0].Recv(t.Context()); from != c.id(1) || !errors.As(err, &restart) || fmt.Sprintf("%s", restart.Unknown) != "[2 3 4 5]" {
			t.Errorf("Recv = %v %v, want a restart with 2 to 5", err, restart)
		}
		c.recv(0, "hello")
	})
}

// An endpoint that is closed leaves both hubs; what came before it is received
// first, and what comes after it is added again comes afterwards.
func TestEndpointsThatEndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t)
		defer c.stop()
		c.add(0, names[1])
		c.add(1)
		for i := range 50 { // more than come in one turn
			c.send(0, fmt.Sprint(i))
		}
		if err := c.peer(0).Endpoint.Close(t.Context(), &conn.CloseError{Code: conn.CodeClosed, Reason: "enough"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for i, h := range c.hubs {
			if len(h.Peers()) != 0 {
				t.Errorf("hub %d has members", i)
			}
		}
		c.add(1)
		c.add(0, names[1])
		c.send(0, "of the new one")
		time.Sleep(time.Second)
		for i := range 50 {
			c.recv(1, fmt.Sprint(i))
		}
		var ce *conn.CloseError
		if from, _, err := c.hubs[1].Recv(t.Context()); from != c.id(0) || !errors.As(err, &ce) || !ce.Remote || ce.Reason != "enough" {
			t.Errorf("Recv = %v", err)
		}
		c.recv(1, "of the new one")
	})
}

func TestRenewWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t, hub.Config{RenewWithin: 10 * time.Second})
		defer c.stop()
		c.add(0, names[1])
		time.Sleep(time.Hour) // to connect at first may take any time
		c.add(1)
		time.Sleep(time.Minute)
		c.cut()
		time.Sleep(time.Minute)
		c.send(0, "x")
		c.recv(1, "x")
		began := time.Now()
		c.net.Cut(c.id(0), c.id(1))
		from, _, err := c.hubs[0].Recv(t.Context())
		if from != c.id(1) || !errors.Is(err, conn.CodeUnreachable) || !errors.Is(err, mem.ErrCut) || time.Since(began) != 10*time.Second {
			t.Errorf("Recv = %v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if err := c.hubs[0].Send(t.Context(), c.id(1), nil); !errors.Is(err, hub.ErrNotMember) {
			t.Errorf("Send = %v", err)
		}
	})
}

// A dial that hangs does not outlast the time in which a connection is to be
// renewed.
func TestRenewWithinBoundsDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoute(t, 1, hub.Config{RenewWithin: 3 * time.Second, DialTime: time.Minute})
		defer r.stop()
		r.gate.set("mem://1", true)
		time.Sleep(2 * time.Minute)
		r.on("at first", "mem://1")
		r.gate.set("mem://1", false)
		began := time.Now()
		r.peer(0).Endpoint.Disconnect(errors.New("cut"))
		if from, _, err := r.hubs[0].Recv(t.Context()); from != r.id(1) || !errors.Is(err, conn.CodeUnreachable) || time.Since(began) != 3*time.Second {
			t.Errorf("Recv = %v after %v, want the end after 3 s", err, time.Since(began))
		}
	})
}

func TestBadConfig(t *testing.T) {
	network := mem.NewNetwork()
	good := func() hub.Config {
		return hub.Config{Key: key(t, 1), Transports: []conn.Transport{network.Transport()}}
	}
	for want, spoil := range map[string]func(*hub.Config){
		"Key":        func(c *hub.Config) { c.Key = identity.PrivateKey{} },
		"Transports": func(c *hub.Config) { c.Transports = nil },
		"has a nil":  func(c *hub.Config) { c.Transports = append(c.Transports, nil) },
		"Listen":     func(c *hub.Config) { c.Listen = []identity.Address{address(t, "tcp://127.0.0.1:0")} },
		"callbacks":  func(c *hub.Config) { c.Endpoint.Receive = func([]byte) {} },
		"hub.Config.Journal": func(c *hub.Config) {
			c.Endpoint.Journal = struct{ endpoint.Journal }{}
		},
		"MaxMessage":    func(c *hub.Config) { c.Endpoint.MaxMessage = -1 },
		"DialTime":      func(c *hub.Config) { c.DialTime = -1 },
		"Stagger":       func(c *hub.Config) { c.Stagger = -1 },
		"RenewWithin":   func(c *hub.Config) { c.RenewWithin = -1 },
		"DrainTime":     func(c *hub.Config) { c.DrainTime = -1 },
		"MaxHandshakes": func(c *hub.Config) { c.MaxHandshakes = -1 },
	} {
		cfg := good()
		spoil(&cfg)
		if _, err := hub.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want an error about %s", err, want)
		}
	}
	h, err := hub.New(good())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(h)
	for want, p := range map[string]identity.PeerAddress{
		"of its own hub": at(key(t, 1)), "no ID": {}, "no transport": at(key(t, 2), address(t, "tcp://127.0.0.1:1")),
		"at most 32": at(key(t, 2), make([]identity.Address, 33)...),
	} {
		if _, err := h.Add(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Add = %v, want an error with %q", err, want)
		}
	}
	if err := h.Send(t.Context(), key(t, 2).ID(), nil); !errors.Is(err, hub.ErrNotMember) {
		t.Errorf("Send = %v", err)
	}
}
