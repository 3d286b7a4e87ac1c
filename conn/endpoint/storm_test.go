package endpoint_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"hash"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/internal/faultproxy"
)

// How large a storm is. In full it has 1000000 messages and 200 cuts.
var (
	stormMessages = flag.Int("storm", 20000, "messages in each direction of a storm")
	stormCuts     = flag.Int("cuts", 20, "how often connections are cut in a storm")
)

// impatient is how endpoints are in storms: a black hole is noticed soon.
func impatient() endpoint.Config {
	return endpoint.Config{MaxMessage: 64 << 10, Buffer: 512 << 10, Window: 128 << 10, Probe: 50 * time.Millisecond, Patience: 100 * time.Millisecond}
}

// A ride is two endpoints at the ends of a road. While keep runs, the first of
// them dials again whenever it has no connection.
type ride struct {
	*road
	t    *testing.T
	ends [2]*endpoint.Endpoint

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	lost  chan struct{} // a token: look whether there is a connection
	more  chan struct{} // tokens: make one more
}

// again has one more connection made beside that which there is.
func (r *ride) again() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// newRide sets off. receive: of the second end; nil: it has Recv.
func newRide(t *testing.T, transport string, seed uint64, cfg endpoint.Config, receive func([]byte)) *ride {
	return newRideWith(t, transport, seed, cfg, func(cfg *endpoint.Config) { cfg.Receive = receive })
}

// newRideWith is newRide with another configuration of the second end.
func newRideWith(t *testing.T, transport string, seed uint64, cfg endpoint.Config, second func(*endpoint.Config)) *ride {
	r := &ride{road: newRoad(t, transport, seed), t: t, lost: make(chan struct{}, 1), more: make(chan struct{}, 16)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	for i := range r.ends {
		cfg := cfg
		if i == 0 {
			cfg.OnDisconnect = func(error) {
				select {
				case r.lost <- struct{}{}:
				default:
				}
			}
		} else {
			second(&cfg)
		}
		var err error
		if r.ends[i], err = endpoint.New(r.ctx, r.keys[i].ID(), r.keys[1-i].ID(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	r.tasks.Go(r.accept)
	return r
}

func (r *ride) accept() {
	for {
		c, err := r.l.Accept(r.ctx)
		if r.ctx.Err() != nil {
			return
		}
		if err == nil {
			r.tasks.Go(func() { _ = r.ends[1].Carry(r.ctx, c) }) // the other end dials again
		}
	}
}

// keep keeps the first end connected.
func (r *ride) keep() {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-r.lost:
		case <-again.C:
		case <-r.more:
			r.tasks.Go(func() { _ = r.connect() })
			continue
		case <-r.ctx.Done():
			return
		}
		if r.ends[0].Conn() == nil && r.connect() != nil {
			again.Reset(2 * time.Millisecond)
		}
	}
}

func (r *ride) connect() error {
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	c, err := r.dial(ctx)
	if err == nil {
		err = r.ends[0].Carry(ctx, c)
	}
	return err
}

// finish ends all in good order.
func (r *ride) finish() {
	r.t.Helper()
	limited, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	if err := r.ends[0].Close(limited, nil); err != nil {
		r.t.Error(err)
	}
	r.finishBroken()
}

// finishBroken ends all at once.
func (r *ride) finishBroken() {
	r.stop()
	for _, e := range r.ends {
		_ = e.Close(r.ctx, nil) // at once
	}
	r.tasks.Wait()
	r.road.end(r.t)
}

// A letterer makes the messages of one direction, the same for the same seed.
type letterer struct {
	rng *rand.Rand
	sum hash.Hash
	buf []byte
}

func newLetterer(seed uint64, direction int) *letterer {
	l := &letterer{rng: rand.New(rand.NewPCG(seed, uint64(direction))), sum: sha256.New(), buf: make([]byte, 64<<10)}
	for i := range l.buf {
		l.buf[i] = byte(l.rng.Uint32())
	}
	return l
}

// next returns message n: most are small, one in a thousand is large.
func (l *letterer) next(n uint64) []byte {
	size := l.rng.IntN(512)
	switch one := l.rng.IntN(1000); {
	case one == 0:
		size = l.rng.IntN(len(l.buf))
	case one < 10:
		size = l.rng.IntN(4 << 10)
	}
	p := l.buf[:max(size, 8)]
	binary.BigEndian.PutUint64(p, n)
	l.sum.Write(p)
	return p
}

// A checker sees whether messages come in order, each once.
type checker struct {
	t    *testing.T
	last uint64
	sum  hash.Hash
	want uint64
	done chan struct{} // closed behind the last
	at   map[uint64]int
	cuts chan<- int // told of the numbers in at
}

func (c *checker) take(p []byte) {
	n := uint64(0)
	if len(p) >= 8 {
		n = binary.BigEndian.Uint64(p)
	}
	if n != c.last+1 {
		c.t.Errorf("message %d has come after %d", n, c.last)
	}
	c.last = n
	c.sum.Write(p)
	if cut, ok := c.at[n]; ok {
		c.cuts <- cut
	}
	if n == c.want {
		close(c.done)
	}
}

// Messages go both ways over real sockets, through all that can break
// connections, at any byte: each arrives once, in order and whole.
func TestStorm(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { storm(t, transport, *stormMessages, *stormCuts) })
	}
}

func storm(t *testing.T, transport string, messages, cuts int) {
	before := goleak.IgnoreCurrent()
	began := time.Now()
	const seed = 7
	strokes := make(chan int, cuts)
	var from [2]*letterer
	var to [2]*checker
	for i := range from {
		from[i] = newLetterer(seed, i)
		to[i] = &checker{t: t, sum: sha256.New(), want: uint64(messages), done: make(chan struct{}), at: map[uint64]int{}, cuts: strokes}
	}
	for k := range cuts {
		to[k%2].at[uint64((k+1)*messages/(cuts+1))] = k
	}
	r := newRide(t, transport, seed, impatient(), to[1].take)
	r.tasks.Go(r.keep)
	for i := range r.ends {
		r.tasks.Go(func() {
			for n := range uint64(messages) {
				if err := r.ends[i].Send(r.ctx, from[i].next(n+1)); err != nil {
					t.Errorf("Send: %v", err)
					return
				}
			}
		})
	}
	r.tasks.Go(func() {
		for range messages {
			p, err := r.ends[0].Recv(r.ctx)
			if err != nil {
				t.Errorf("Recv: %v", err)
				return
			}
			to[0].take(p)
		}
	})
	later := r.strike(strokes, cuts, rand.New(rand.NewPCG(seed, 9)))
	for i := range to {
		select {
		case <-to[i].done:
		case <-time.After(10 * time.Minute):
			t.Fatalf("end %d has got %d messages of %d: %+v, %+v", i, to[i].last, messages, r.ends[0].Stats(), r.ends[1].Stats())
		}
	}
	if n := r.struck(); n != later {
		t.Errorf("%d cuts at a byte have struck, want %d", n, later)
	}
	for _, e := range r.ends {
		if err := e.Flush(r.ctx); err != nil {
			t.Error(err)
		}
	}
	stats := [2]endpoint.Stats{r.ends[0].Stats(), r.ends[1].Stats()}
	for i, s := range stats {
		if !bytes.Equal(from[i].sum.Sum(nil), to[1-i].sum.Sum(nil)) {
			t.Errorf("what end %d has sent is not what the other got", i)
		}
		n := uint64(messages)
		if s.Sent != n || s.Received != n || s.Unknown != 0 || s.Restarts != 0 || s.Waiting != 0 || s.BytesWaiting != 0 {
			t.Errorf("end %d: %+v", i, s)
		}
		if most := s.Connections * uint64(impatient().Window); s.BytesResent > most {
			t.Errorf("end %d: %d bytes were sent again, more than a window for each of %d connections", i, s.BytesResent, s.Connections)
		}
		if int(s.Connections) < cuts/2 {
			t.Errorf("end %d was on %d connections: %d cuts have no bite", i, s.Connections, cuts)
		}
	}
	if stats[0].Resent+stats[1].Resent == 0 {
		t.Error("nothing was sent again: the cuts have no bite")
	}
	r.finish()
	goleak.VerifyNone(t, before)
	t.Logf("%s: 2 x %d messages, %d cuts, %d connections, in %v: lost 0, sent again %d (%d bytes), dropped as repeated %d, silences %d", transport, messages, cuts,
		stats[0].Connections, time.Since(began).Round(time.Millisecond), stats[0].Resent+stats[1].Resent, stats[0].BytesResent+stats[1].BytesResent,
		stats[0].Repeated+stats[1].Repeated, stats[0].Silences+stats[1].Silences)
}

// strike has strokes fall when the messages that call for them have come. It
// returns how many of them strike at a byte.
func (r *ride) strike(calls <-chan int, cuts int, rng *rand.Rand) (later int) {
	for k := range cuts {
		if r.strokes[k%len(r.strokes)].later {
			later++
		}
	}
	r.tasks.Go(func() {
		for {
			select {
			case k := <-calls:
				s := r.strokes[k%len(r.strokes)]
				if s.ride != nil {
					s.ride(r, rng)
				} else {
					s.do(rng, faultproxy.Direction(1-k%2)) // where messages still go
				}
			case <-r.ctx.Done():
				return
			}
		}
	})
	return later
}
