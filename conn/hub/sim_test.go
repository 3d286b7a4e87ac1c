package hub_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/sim"
)

// A letter is what the nodes of a simulation send: who, in which life, to whom,
// and which of those it is.
type letter struct {
	from, life, to int
	number         uint64
}

func (l letter) bytes() []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(l.from), byte(l.life), byte(l.to)}, l.number)
}

func parseLetter(p []byte) letter {
	return letter{int(p[0]), int(p[1]), int(p[2]), binary.BigEndian.Uint64(p[3:])}
}

// A village is hubs on the hosts of a simulator, that write to each other.
type village struct {
	w       *sim.World
	keys    []identity.PrivateKey
	hosts   []*sim.Host
	hubs    []*hub.Hub
	lives   []int
	at      map[identity.NodeID]int
	sent    map[letter]bool
	got     map[letter]int    // times
	unknown map[letter]bool   // of unknown fate
	next    map[[4]int]uint64 // from, life, to, life
	unsure  int
	quiet   bool // nothing more is sent
	errs    []error
}

func newVillage(t testing.TB, seed uint64, n int) *village {
	way := &sim.Path{Latency: func(r *rand.Rand) time.Duration { return time.Duration(1+r.IntN(40)) * time.Millisecond }, Loss: 0.01, Rate: 1e7}
	v := &village{w: sim.New(seed, time.Hour, func(*sim.Host, *sim.Host) *sim.Path { return way }), at: map[identity.NodeID]int{},
		sent: map[letter]bool{}, got: map[letter]int{}, unknown: map[letter]bool{}, next: map[[4]int]uint64{}}
	for i := range n {
		v.keys = append(v.keys, key(t, byte(i+1)))
		v.at[v.keys[i].ID()] = i
		v.hosts = append(v.hosts, v.w.NewHost())
	}
	v.hubs, v.lives = make([]*hub.Hub, n), make([]int, n)
	for i := range n {
		v.start(i)
	}
	return v
}

func (v *village) fail(format string, a ...any) {
	if len(v.errs) < 10 {
		v.errs = append(v.errs, fmt.Errorf("at %v: "+format, append([]any{v.w.Now()}, a...)...))
	}
}

func (v *village) addr(i int) identity.Address {
	return identity.Address{Scheme: sim.Scheme, Host: v.hosts[i].Name}
}

// start starts the hub of a node, and what it sends and receives.
func (v *village) start(i int) {
	h, err := hub.New(hub.Config{Key: v.keys[i], Transports: []conn.Transport{v.hosts[i].Transport()}, Listen: []identity.Address{v.addr(i)}})
	if err == nil {
		err = h.Start(context.Background())
	}
	if err != nil {
		v.fail("start: %v", err)
		return
	}
	v.hubs[i] = h
	for j, k := range v.keys {
		if i == j {
			continue
		}
		var addrs []identity.Address
		if (i+j)%3 != 0 || i < j { // some nodes do not know the other's
			addrs = []identity.Address{v.addr(j)}
		}
		if _, err := h.Add(identity.PeerAddress{ID: k.ID(), Addresses: addrs}); err != nil {
			v.fail("add: %v", err)
		}
	}
	life := v.lives[i]
	v.hosts[i].Go(func() { v.write(h, i, life) })
	v.hosts[i].Go(func() { v.read(h, i, life) })
}

// write sends letters to all others.
func (v *village) write(h *hub.Hub, i, life int) {
	rng := rand.New(v.hosts[i].Source())
	for number := uint64(1); !v.quiet; number++ {
		for j, k := range v.keys {
			if i == j {
				continue
			}
			l := letter{i, life, j, number}
			v.sent[l] = true
			if err := h.Send(context.Background(), k.ID(), l.bytes()); err != nil {
				v.fail("%d sends to %d: %v", i, j, err)
			}
		}
		ctx, cancel := env.WithTimeout(v.hosts[i], context.Background(), time.Duration(rng.IntN(100))*time.Millisecond)
		v.hosts[i].Wait(ctx.Done(), nil, nil)
		cancel()
	}
}

// read receives letters, and checks what can be checked at once.
func (v *village) read(h *hub.Hub, i, life int) {
	for {
		from, p, err := h.Recv(context.Background())
		var restart *endpoint.RestartError
		if errors.As(err, &restart) {
			for _, u := range restart.Unknown {
				v.unknown[parseLetter(u)] = true
			}
			continue
		}
		if err != nil {
			if !errors.Is(err, conn.ErrClosed) {
				v.fail("%d receives: %v", i, err)
			}
			return
		}
		l := parseLetter(p)
		way := [4]int{l.from, l.life, i, life}
		if want := v.next[way]; v.at[from] != l.from || l.to != i || want != 0 && l.number != want {
			v.fail("node %d received %+v from %d, want number %d", i, l, v.at[from], want)
		}
		v.next[way] = l.number + 1
		if v.got[l]++; v.got[l] > 1 {
			v.fail("node %d received %+v again", i, l)
		}
	}
}

// trouble lets faults befall the village.
func (v *village) trouble(t testing.TB, strokes int) {
	r := v.w.Rand
	for range strokes {
		v.sleep(t, time.Duration(r.IntN(1000))*time.Millisecond)
		i, j := r.IntN(len(v.hosts)), r.IntN(len(v.hosts)-1)
		if j >= i {
			j++
		}
		a, b := v.hosts[i], v.hosts[j]
		switch r.IntN(8) {
		case 0:
			v.w.Block(a, b)
			v.sleep(t, time.Duration(r.IntN(8000))*time.Millisecond)
			v.w.Unblock(a, b)
		case 1:
			a.Pause()
			v.sleep(t, time.Duration(r.IntN(5000))*time.Millisecond)
			a.Resume()
		case 2:
			a.Crash()
			v.sleep(t, time.Duration(r.IntN(3000))*time.Millisecond)
			a.Restart()
			v.lives[i]++
			v.start(i)
		default:
			v.w.Cut(a, b)
		}
	}
}

func (v *village) sleep(t testing.TB, d time.Duration) {
	t.Helper()
	if err := v.w.Sleep(d); err != nil {
		t.Fatal(err)
	}
}

// settle checks that every letter has arrived, but for those of which its sender
// or its receiver has died, or knows that the fate is unknown.
func (v *village) settle() (certain int) {
	for l := range v.sent {
		switch {
		case l.life != v.lives[l.from]:
		case v.got[l] == 1:
			certain++
		case !v.unknown[l]:
			v.fail("%+v has not arrived, and its sender does not know", l)
		default:
			v.unsure++
		}
	}
	return certain
}

var seeds = flag.Uint64("seeds", 4, "how many seeds TestSimulated runs")

// Hubs in a simulated world of cuts, silence, pauses and crashes: nothing is lost
// or repeated between the living, what is uncertain is told, and a seed decides
// all that happens.
func TestSimulated(t *testing.T) {
	run := func(seed uint64) (hash uint64, certain, unsure int) {
		v := newVillage(t, seed, 4)
		defer v.w.Close()
		v.trouble(t, 40)
		v.quiet = true
		v.sleep(t, time.Minute)
		certain = v.settle()
		for i, h := range v.hubs {
			for _, p := range h.Peers() {
				if s := p.Endpoint.Stats(); !p.Connected || s.Waiting > 0 || s.Untaken > 0 {
					v.fail("node %d and %d: connected %t, %d wait, %d are not taken", i, v.at[p.ID], p.Connected, s.Waiting, s.Untaken)
				}
			}
		}
		for i, h := range v.hubs {
			if !v.w.Do(func() {
				if err := h.Close(context.Background()); err != nil {
					v.fail("node %d: close: %v", i, err)
				}
			}) {
				v.fail("node %d: Close has not returned", i)
			}
		}
		for _, err := range v.errs {
			t.Errorf("seed %d: %v", seed, err)
		}
		return v.w.Hash(), certain, v.unsure
	}
	all, unsure := 0, 0
	for seed := range *seeds {
		hash, certain, u := run(seed)
		all, unsure = all+certain, unsure+u
		if seed < 2 {
			if again, _, _ := run(seed); again != hash {
				t.Errorf("seed %d: two runs differ: %x, %x", seed, hash, again)
			}
		}
	}
	if all < int(*seeds)*1000 || unsure == 0 {
		t.Errorf("%d letters arrived, %d of unknown fate did not: the test does not bite", all, unsure)
	}
	t.Logf("%d seeds: %d letters arrived, %d of unknown fate did not", *seeds, all, unsure)
}
