package durable

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// A pair is two channels and the network between them.
type pair struct {
	t    *testing.T
	net  *mem.Network
	keys [2]conn.Local
	from *mem.Transport
	l    conn.Listener
	ends [2]*end
}

// An end is a channel, and what has come out of it.
type end struct {
	*Channel
	got      []uint64
	restarts [][]uint64 // unknown messages
	mu       sync.Mutex // guards lost
	lost     []error
	reasons  []string
	hold     bool
}

func newEnd(change func(*Config)) *end {
	e := &end{}
	cfg := Config{
		Env: env.Real{}, Buffer: 64 << 10, Window: 16 << 10, MaxMessage: 8 << 10,
		AckDelay: 20 * time.Millisecond, Probe: 5 * time.Second, Patience: 2 * time.Second,
		Deliver: func(p []byte, _ bool) bool {
			e.got = append(e.got, binary.BigEndian.Uint64(p))
			return e.hold
		},
		Restarted: func(unknown [][]byte) {
			numbers := []uint64{}
			for _, p := range unknown {
				numbers = append(numbers, binary.BigEndian.Uint64(p))
			}
			e.restarts = append(e.restarts, numbers)
		},
		Lost: func(err error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.lost = append(e.lost, err)
		},
		Ended: func(reason []byte) { e.reasons = append(e.reasons, string(reason)) },
	}
	if change != nil {
		change(&cfg)
	}
	e.Channel = New(cfg)
	return e
}

func newPair(t *testing.T, change func(*Config)) *pair {
	p := &pair{t: t, net: mem.NewNetwork()}
	for i := range p.keys {
		seed := make([]byte, 32)
		seed[0] = byte(i + 1)
		key, err := identity.PrivateKeyFromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		p.keys[i] = conn.Local{Key: key}
		p.ends[i] = newEnd(change)
	}
	p.from = p.net.Transport()
	var err error
	if p.l, err = p.net.Transport().Listen(t.Context(), p.keys[1], identity.Address{Scheme: "mem", Host: "b"}); err != nil {
		t.Fatal(err)
	}
	return p
}

// connect gives the two ends a new carrier.
func (p *pair) connect() (a, b conn.Conn) {
	p.t.Helper()
	a, err := p.from.Dial(p.t.Context(), p.keys[0], identity.NodeID{}, p.l.Addr())
	if err != nil {
		p.t.Fatal(err)
	}
	if b, err = p.l.Accept(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	offers := [2]Offer{p.ends[0].Offer(), p.ends[1].Offer()}
	if err := p.ends[0].Attach(a, offers[1], 0, nil); err != nil {
		p.t.Fatal(err)
	}
	frame := make([]byte, AttachFrame)
	if _, err := io.ReadFull(b, frame); err != nil {
		p.t.Fatal(err)
	}
	number, err := ParseAttach(frame)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.ends[1].Attach(b, offers[0], number, nil); err != nil {
		p.t.Fatal(err)
	}
	return a, b
}

func (p *pair) cut() {
	p.net.Cut(p.keys[0].Key.ID(), p.keys[1].Key.ID())
	p.net.Heal(p.keys[0].Key.ID(), p.keys[1].Key.ID())
}

func (p *pair) end() {
	for _, e := range p.ends {
		e.End(io.EOF)
	}
}

func message(n uint64, size int) []byte {
	b := make([]byte, max(8, size))
	binary.BigEndian.PutUint64(b, n)
	return b
}

// wantInOrder checks that 1 to n have come, each once and in order.
func (e *end) wantInOrder(t *testing.T, n int) {
	t.Helper()
	if len(e.got) != n {
		t.Errorf("%d messages have come, want %d", len(e.got), n)
	}
	for i, got := range e.got {
		if got != uint64(i+1) {
			t.Fatalf("message %d came in place %d", got, i+1)
		}
	}
}

// Messages go both ways while the connection is cut again and again, at any
// byte; each arrives once and in order.
func TestExactlyOnceThroughCuts(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			random := rand.New(rand.NewPCG(seed, 1))
			const n = 3000
			for i := range p.ends {
				sizes := rand.New(rand.NewPCG(seed, uint64(i)+2))
				go func() {
					for m := range uint64(n) {
						if err := p.ends[i].Send(t.Context(), message(m+1, sizes.IntN(600)), false); err != nil {
							t.Error(err)
							return
						}
					}
				}()
			}
			for range 40 {
				p.connect()
				for range random.IntN(200) {
					time.Sleep(time.Microsecond) // lets everybody go on until they wait
				}
				p.cut()
				synctest.Wait()
			}
			p.connect()
			synctest.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			for i, e := range p.ends {
				e.wantInOrder(t, n)
				c := e.Counts()
				if c.Waiting != 0 || c.WaitingBytes != 0 || c.Sent != n || c.Received != n || c.Unknown != 0 || c.Carriers != 41 {
					t.Errorf("end %d: %+v", i, c)
				}
				if c.ResentBytes > 41*16<<10 {
					t.Errorf("end %d sent %d bytes again, more than a window for each cut", i, c.ResentBytes)
				}
				if len(e.lost) != 40 {
					t.Errorf("end %d: %d carriers lost, want 40: %v", i, len(e.lost), e.lost)
				}
			}
			p.end()
		})
	}
}

// The channel moves between carriers that both work; nothing is lost with the
// one that is left.
func TestMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		const n = 5000
		go func() {
			for m := range uint64(n) {
				if err := p.ends[0].Send(t.Context(), message(m+1, 100), false); err != nil {
					t.Error(err)
				}
			}
		}()
		for range 20 {
			p.connect()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		p.ends[1].wantInOrder(t, n)
		if lost := p.ends[0].lost; len(lost) != 0 {
			t.Errorf("carriers were lost that were replaced: %v", lost)
		}
		p.end()
	})
}

// A peer that starts anew: exactly what was under way is reported; what waited
// is sent to its new life.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.connect()
		p.ends[1].hold = true
		for m := range uint64(5) {
			p.ends[0].Send(t.Context(), message(m+1, 0), false)
		}
		synctest.Wait()
		p.ends[1].Consumed(2, 16, false)
		time.Sleep(time.Second)
		p.cut()
		synctest.Wait()
		for m := range uint64(3) {
			p.ends[0].Send(t.Context(), message(m+6, 0), false)
		}
		p.ends[1].End(io.EOF)
		p.ends[1] = newEnd(nil)
		p.connect()
		synctest.Wait()
		if r := p.ends[0].restarts; len(r) != 1 || len(r[0]) != 3 || r[0][0] != 3 || r[0][2] != 5 {
			t.Errorf("of unknown fate are %v, want [[3 4 5]]", r)
		}
		if got := p.ends[1].got; len(got) != 3 || got[0] != 6 {
			t.Errorf("the new life got %v, want [6 7 8]", got)
		}
		if r := p.ends[1].restarts; r != nil {
			t.Errorf("the new life was told of a restart: %v", r)
		}
		if c := p.ends[0].Counts(); c.Restarts != 1 || c.Unknown != 3 {
			t.Errorf("%+v", c)
		}
		p.end()
	})
}

// A window that is full holds the sender back, and nothing else.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.connect()
		p.ends[1].hold = true
		sent := 0
		for ; ; sent++ {
			if err := p.ends[0].TrySend(message(uint64(sent+1), 996), false); err != nil {
				if !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				break
			}
		}
		synctest.Wait()
		if sent != 65 { // 64 KiB of 1000 bytes each
			t.Errorf("%d messages were taken in, want 65", sent)
		}
		if n := len(p.ends[1].got); n != 16 { // 16 KiB
			t.Errorf("%d messages have come, want the 16 of a window", n)
		}
		for m := range uint64(100) { // the other direction goes on
			p.ends[1].Send(t.Context(), message(m+1, 0), false)
		}
		synctest.Wait()
		p.ends[0].wantInOrder(t, 100)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.ends[0].Send(ctx, message(0, 996), false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send = %v, want its deadline", err)
		}
		for consumed := 0; consumed < sent; {
			synctest.Wait()
			n := len(p.ends[1].got) - consumed
			p.ends[1].Consumed(n, 996*n, false)
			consumed += n
			time.Sleep(50 * time.Millisecond)
		}
		p.ends[1].wantInOrder(t, sent)
		if c := p.ends[0].Counts(); c.Waiting != 0 {
			t.Errorf("%+v", c)
		}
		p.end()
	})
}

// A carrier that falls silent is given up: soon where something is under way,
// and later where nothing is.
func TestSilence(t *testing.T) {
	for _, busy := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			p.connect()
			time.Sleep(time.Minute) // the probes of idle carriers are answered
			if c := p.ends[0].Counts(); c.Silences != 0 {
				t.Fatalf("an idle carrier was given up: %+v", c)
			}
			p.net.Stall(p.keys[0].Key.ID(), p.keys[1].Key.ID())
			start := time.Now()
			most := 8 * time.Second
			if busy {
				p.ends[0].Send(t.Context(), message(1, 0), false)
				most = 3 * time.Second
			}
			for p.ends[0].On() != nil {
				time.Sleep(100 * time.Millisecond)
			}
			if d := time.Since(start); d > most || d < 2*time.Second {
				t.Errorf("busy %t: given up after %v, want at most %v", busy, d, most)
			}
			p.end()
		})
	}
}

// Idle ends are quiet: a probe now and then is all.
func TestIdleIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		a, _ := p.connect()
		p.ends[0].Send(t.Context(), message(1, 0), false)
		time.Sleep(10 * time.Second)
		before := a.Stats().BytesSent
		time.Sleep(time.Hour)
		if n := a.Stats().BytesSent - before; n > 3600/5*2*4 {
			t.Errorf("%d bytes were sent in an idle hour", n)
		}
		p.end()
	})
}

// Closing sends what was sent before, then the reason, through cuts too.
func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		for m := range uint64(10) {
			p.ends[0].Send(t.Context(), message(m+1, 0), false)
		}
		p.ends[0].Finish([]byte("bye"))
		if err := p.ends[0].TrySend(message(1, 0), false); err == nil {
			t.Error("a message was taken in after Finish")
		}
		p.connect()
		synctest.Wait()
		p.ends[1].wantInOrder(t, 10)
		if r := p.ends[1].reasons; len(r) != 1 || r[0] != "bye" {
			t.Errorf("the other end was told %q", r)
		}
		<-p.ends[0].Done()
		<-p.ends[1].Done()
		if r := p.ends[0].reasons; len(r) != 1 || r[0] != "" {
			t.Errorf("the closing end was told %q", r)
		}
	})
}

// Await ends when the other end has consumed a message, without delay.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.connect()
		start := time.Now()
		if err := p.ends[0].Send(t.Context(), message(1, 0), true); err != nil {
			t.Fatal(err)
		}
		n, _ := p.ends[0].Last()
		if err := p.ends[0].Await(t.Context(), n, Epoch{}); err != nil || time.Since(start) != 0 {
			t.Errorf("Await = %v after %v", err, time.Since(start))
		}
		p.end()
		if err := p.ends[0].Await(t.Context(), 5, Epoch{}); !errors.Is(err, io.EOF) {
			t.Errorf("Await after the end = %v", err)
		}
	})
}
