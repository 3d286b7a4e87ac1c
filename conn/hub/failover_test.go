package hub_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/faultproxy"
)

// Over real sockets, under traffic in both directions: UDP is blocked and the
// channel goes on over TCP; UDP works again and it moves back to QUIC; nothing is
// lost. That it takes less than three seconds is checked on virtual time, in
// TestSilence and TestMovesBack; here it is logged.
func TestFailover(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	keys := pair(t)
	b := start(t, hub.Config{Key: keys[1], Transports: []conn.Transport{quic.New(), tcp.New()},
		Listen: []identity.Address{address(t, "quic://127.0.0.1:0"), address(t, "tcp://127.0.0.1:0")}})
	defer stop(b)
	relay := faultproxy.UDP(t, b.Addrs()[0].Host, 1)
	byQUIC, byTCP := address(t, "quic://"+relay.Addr()), b.Addrs()[1]
	a := start(t, hub.Config{Key: keys[0], Transports: []conn.Transport{quic.New(), tcp.New()}, MoveBack: 200 * time.Millisecond})
	defer stop(a)
	if _, err := b.Add(at(keys[0])); err != nil {
		t.Fatal(err)
	}
	relay.Blackhole() // from the beginning
	began := time.Now()
	if _, err := a.Add(at(keys[1], byQUIC, byTCP)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- echo(ctx, b) }()
	talking, hush := context.WithCancel(ctx)
	go func() { done <- talk(talking, a, keys[1].ID()) }()

	await := func(what string, remote identity.Address) {
		t.Helper()
		for p, _ := a.Peer(keys[1].ID()); !p.Connected || p.Remote != remote; p, _ = a.Peer(keys[1].ID()) {
			if ctx.Err() != nil {
				t.Fatalf("%s: connected %t to %v, want %v; last error: %v", what, p.Connected, p.Remote, remote, p.Err)
			}
			tick, stop := context.WithTimeout(ctx, time.Millisecond)
			<-tick.Done()
			stop()
		}
		t.Logf("%s: %v after %v", what, remote, time.Since(began).Round(time.Millisecond))
		began = time.Now()
	}
	await("UDP is blocked from the beginning", byTCP)
	relay.Heal()
	await("UDP works", byQUIC)
	relay.Blackhole()
	began = time.Now()
	await("UDP is blocked", byTCP)
	relay.Heal()
	await("UDP works again", byQUIC)
	hush()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	p, _ := a.Peer(keys[1].ID())
	if s := p.Endpoint.Stats(); s.Restarts != 0 || s.Connections < 4 || s.Sent < 100 {
		t.Errorf("one endpoint was to be on four connections at least: %+v", s)
	} else {
		t.Logf("%d messages, %d connections, %d sent again", s.Sent, s.Connections, s.Resent)
	}
}

// echo sends all messages back, until one that is empty.
func echo(ctx context.Context, h *hub.Hub) error {
	for {
		from, p, err := h.Recv(ctx)
		if err != nil {
			return fmt.Errorf("echo: %w", err)
		}
		last := len(p) == 0
		if err := h.Send(ctx, from, p); err != nil || last {
			return err
		}
	}
}

// talk sends numbers until until ends, then an empty message, and checks what
// comes back.
func talk(until context.Context, h *hub.Hub, to identity.NodeID) error {
	ctx := context.WithoutCancel(until)
	sent := make(chan error, 1)
	go func() {
		for number := uint64(0); until.Err() == nil; number++ {
			if err := h.Send(ctx, to, binary.BigEndian.AppendUint64(nil, number)); err != nil {
				sent <- err
				return
			}
			tick, stop := context.WithTimeout(until, time.Millisecond)
			<-tick.Done()
			stop()
		}
		sent <- h.Send(ctx, to, nil)
	}()
	for want := uint64(0); ; want++ {
		_, p, err := h.Recv(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("talk: %w", err)
		case len(p) == 0:
			return <-sent
		case binary.BigEndian.Uint64(p) != want:
			return fmt.Errorf("talk: received %d, want %d", binary.BigEndian.Uint64(p), want)
		}
	}
}
