package hub_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// A gate is a transport that lets dials through to open addresses only: others
// hang, as where a firewall drops packets.
type gate struct {
	conn.Transport
	mu     sync.Mutex // guards what follows
	closed map[string]bool
	dials  map[string]int
}

func (g *gate) set(addr string, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed[addr] = !open
}

func (g *gate) count(addr string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dials[addr]
}

func (g *gate) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	g.mu.Lock()
	g.dials[addr.String()]++
	closed := g.closed[addr.String()]
	g.mu.Unlock()
	if closed {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return g.Transport.Dial(ctx, local, peer, addr)
}

// A route is a hub that reaches another at several addresses, mem://1 first.
type route struct {
	*couple
	gate *gate
}

func newRoute(t *testing.T, n int, cfg hub.Config) *route {
	r := &route{couple: &couple{t: t, net: mem.NewNetwork(), keys: pair(t)}}
	r.gate = &gate{Transport: r.net.Transport(), closed: map[string]bool{}, dials: map[string]int{}}
	var addrs []identity.Address
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprint("mem://", i+1))
		addrs = append(addrs, address(t, texts[i]))
	}
	cfg.Key, cfg.Transports = r.keys[0], []conn.Transport{r.gate}
	r.hubs[0] = start(t, cfg)
	r.hubs[1] = start(t, hub.Config{Key: r.keys[1], Transports: []conn.Transport{r.net.Transport()}, Listen: addrs})
	r.couple.add(1)
	r.gate.set("mem://1", false)
	r.couple.add(0, texts...)
	return r
}

// on checks where the channel is, and that it works.
func (r *route) on(when, want string) {
	r.t.Helper()
	synctest.Wait()
	if p := r.peer(0); !p.Connected || p.Remote.String() != want || p.Direction != conn.Outgoing {
		r.t.Errorf("%s: connected %t at %v, want %s", when, p.Connected, p.Remote, want)
	}
	r.send(0, when)
	r.recv(1, when)
	r.send(1, when)
	r.recv(0, when)
}

// A preferred address that does not answer makes way for the next; when it works
// again the channel moves there, without loss and in its time.
func TestMovesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moves := 0
		r := newRoute(t, 3, hub.Config{OnDisconnect: func(identity.NodeID, error) { moves++ }})
		defer r.stop()
		time.Sleep(250 * time.Millisecond) // the head start of the first
		r.on("blocked", "mem://2")
		time.Sleep(5 * time.Minute)
		r.on("blocked for long", "mem://2")
		if n := r.gate.count("mem://1"); n < 7 || n > 14 {
			t.Errorf("in 5 minutes, mem://1 was dialled %d times, want about every 30 s", n)
		}
		if n := r.gate.count("mem://3"); n != 0 {
			t.Errorf("mem://3 was dialled %d times, want none: what is in use is preferred", n)
		}
		r.gate.set("mem://1", true)
		time.Sleep(48 * time.Second) // a dial that hangs takes 10 s, and up to 37.5 s pass until the next
		r.on("open again", "mem://1")
		n := r.gate.count("mem://1")
		time.Sleep(time.Hour)
		r.on("open for long", "mem://1")
		if r.gate.count("mem://1") != n {
			t.Error("the address in use was dialled again")
		}
		if s := r.peer(0).Endpoint.Stats(); s.Connections != 2 || moves != 0 {
			t.Errorf("%d connections, %d disconnects; want 2 and none", s.Connections, moves)
		}
		r.gate.set("mem://1", false)
		r.peer(0).Endpoint.Disconnect(errors.New("blocked"))
		time.Sleep(250 * time.Millisecond)
		r.on("blocked again", "mem://2")
	})
}

// An address has its head start, and no more.
func TestStagger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const start = 3 * time.Second
		r := newRoute(t, 3, hub.Config{Stagger: start})
		defer r.stop()
		r.gate.set("mem://2", false)
		time.Sleep(start - time.Millisecond)
		if n := r.gate.count("mem://2"); n != 0 {
			t.Error("mem://2 was dialled in the head start of mem://1")
		}
		time.Sleep(start)
		if second, third := r.gate.count("mem://2"), r.gate.count("mem://3"); second != 1 || third != 0 {
			t.Errorf("after two head starts: %d dials of mem://2, %d of mem://3; want 1 and none", second, third)
		}
		time.Sleep(time.Millisecond)
		r.on("after two head starts", "mem://3")
	})
}

func TestDoesNotMoveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoute(t, 2, hub.Config{MoveBack: -1})
		defer r.stop()
		time.Sleep(time.Second)
		r.gate.set("mem://1", true)
		time.Sleep(time.Hour)
		r.on("for ever", "mem://2")
	})
}

// A dial that hangs is given up when the peer has connected meanwhile.
func TestDialMakesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connected := 0
		r := newRoute(t, 1, hub.Config{
			Listen:    []identity.Address{address(t, "mem://0")},
			OnConnect: func(identity.NodeID) { connected++ },
		})
		defer r.stop()
		time.Sleep(time.Second)
		if err := r.hubs[1].SetAddresses(r.id(0), []identity.Address{address(t, "mem://0")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := r.peer(0); !p.Connected || p.Direction != conn.Incoming || connected != 1 || r.gate.count("mem://1") != 1 {
			t.Errorf("connected %t, %v; %d calls of OnConnect, %d dials", p.Connected, p.Direction, connected, r.gate.count("mem://1"))
		}
	})
}

// A connection that falls silent under traffic is given up, and what is dialled
// first then is another address.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoute(t, 2, hub.Config{})
		defer r.stop()
		r.gate.set("mem://1", true)
		time.Sleep(time.Minute)
		r.on("at first", "mem://1")
		began := time.Now()
		r.net.Stall(r.id(0), r.id(1))
		r.send(0, "x")
		for r.peer(0).Connected {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took < time.Second || took > 2*time.Second+10*time.Millisecond {
			t.Errorf("given up after %v, want 1 to 2 s", took)
		}
		r.net.Heal(r.id(0), r.id(1))
		r.recv(1, "x")
		r.on("silent", "mem://2")
		time.Sleep(38 * time.Second)
		r.on("moved back", "mem://1")
	})
}
