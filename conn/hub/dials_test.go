package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// Two nodes dial each other at the same moment, a thousand times: each time one
// connection is left, the same at both ends, and no message is lost.
func TestSimultaneousDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds = 1000
		network, keys := mem.NewNetwork(), pair(t)
		c := &couple{t: t, net: network, keys: keys}
		var dials [2]*tally
		for i := range c.hubs {
			dials[i] = &tally{Transport: network.Transport()}
			c.hubs[i] = start(t, hub.Config{Key: keys[i], Transports: []conn.Transport{dials[i]}, Listen: []identity.Address{address(t, names[i])}})
		}
		defer c.stop()
		c.add(0, names[1])
		c.add(1, names[0])
		time.Sleep(time.Second)
		both := 0
		for round := range rounds {
			dials[0].waits()
			dials[1].waits()
			hub.Eager(c.hubs[1], c.id(0))
			c.cut() // both ends see it, and the connection to come is not cut
			c.send(0, fmt.Sprint(round))
			c.send(1, fmt.Sprint(round))
			c.recv(0, fmt.Sprint(round))
			c.recv(1, fmt.Sprint(round))
			synctest.Wait()
			if len(dials[0].times) > 0 && len(dials[1].times) > 0 {
				both++
			}
			a, b := c.peer(0).Endpoint.Conn(), c.peer(1).Endpoint.Conn()
			if a == nil || b == nil || a.LocalAddr() != b.RemoteAddr() || a.RemoteAddr() != b.LocalAddr() {
				t.Fatalf("round %d: the ends are on different connections: %v, %v", round, a, b)
			}
			time.Sleep(2 * time.Second) // both know that it was of use
			if again := c.peer(0).Endpoint.Conn(); again != a {
				t.Fatalf("round %d: the connection has changed since", round)
			}
		}
		if both < rounds*3/4 {
			t.Errorf("in %d of %d rounds both have dialled, want nearly all", both, rounds)
		}
	})
}

// Connections of strangers are told why they are refused, some at a time, and are
// closed; they keep no member out.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t, hub.Config{}, hub.Config{MaxHandshakes: 4})
		defer c.stop()
		c.add(1)
		stranger := c.net.Transport()
		defer stranger.Close()
		var conns []conn.Conn
		for range 2 * hub.MaxRefusing {
			s, err := stranger.Dial(t.Context(), conn.Local{Key: key(t, 9)}, c.id(1), address(t, names[1]))
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, s)
			synctest.Wait()
		}
		if n := hub.Refusing(c.hubs[1]); n != hub.MaxRefusing {
			t.Errorf("%d of %d connections are being told why they are refused, want %d", n, len(conns), hub.MaxRefusing)
		}
		c.add(0, names[1])
		synctest.Wait()
		if !c.peer(0).Connected {
			t.Errorf("the member is not connected: %v", c.peer(0).Err)
		}
		time.Sleep(time.Minute)
		for i, s := range conns {
			if _, err := s.Write([]byte("x")); err == nil {
				t.Fatalf("connection %d is open", i)
			}
		}
	})
}

// Members that connect and say nothing: the oldest are given up.
func TestSilentHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4
		c := newCouple(t, hub.Config{}, hub.Config{MaxHandshakes: most})
		defer c.stop()
		c.add(1)
		silent := c.net.Transport()
		defer silent.Close()
		for range 3 * most {
			if _, err := silent.Dial(t.Context(), conn.Local{Key: c.keys[0]}, c.id(1), address(t, names[1])); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := hub.Openings(c.hubs[1]); n > most {
				t.Fatalf("%d connections are being established, want at most %d", n, most)
			}
		}
		c.add(0, names[1])
		synctest.Wait()
		if !c.peer(0).Connected {
			t.Errorf("the member is not connected: %v", c.peer(0).Err)
		}
		time.Sleep(time.Minute)
		if n := hub.Openings(c.hubs[1]); n != 0 {
			t.Errorf("%d connections are being established after a minute", n)
		}
	})
}
