package faultproxy

import (
	"math/rand/v2"
	"sync"
	"time"
)

// A Plan says what a storm is made of. The zero value is ten cuts.
type Plan struct {
	Cuts   int     // default 10
	Faults []Fault // which, each as likely as it stands here often; default Close, Reset, HalfUp, HalfDown
	// MinBytes and MaxBytes bound the bytes that pass between two strokes, in
	// the direction of the second. Default 1 to 64 KiB.
	MinBytes, MaxBytes int64
	// MinTime and MaxTime, if set, bound the time between two strokes, in place
	// of bytes.
	MinTime, MaxTime time.Duration
	Hole             time.Duration // how long a Blackhole lasts; default 300 ms
	Then             Fault         // what befalls connections at its end; see Proxy.Blackhole
}

// A Stroke is one fault of a storm, and when it strikes: Bytes in Direction
// after the stroke before it or, where that is 0, After that stroke.
type Stroke struct {
	Fault     Fault
	Direction Direction
	Bytes     int64
	After     time.Duration
	For       time.Duration // of a Blackhole
	Then      Fault         // of a Blackhole
}

// Strokes makes the choices of a plan: the same ones for the same state of rng.
func (p Plan) Strokes(rng *rand.Rand) []Stroke {
	if p.Cuts <= 0 {
		p.Cuts = 10
	}
	if len(p.Faults) == 0 {
		p.Faults = []Fault{Close, Reset, HalfUp, HalfDown}
	}
	p.MinBytes = max(p.MinBytes, 1)
	if p.MaxBytes <= 0 {
		p.MaxBytes = 64 << 10
	}
	p.MaxBytes = max(p.MaxBytes, p.MinBytes)
	if p.Hole <= 0 {
		p.Hole = 300 * time.Millisecond
	}
	strokes := make([]Stroke, p.Cuts)
	for i := range strokes {
		s := &strokes[i]
		s.Fault = p.Faults[rng.IntN(len(p.Faults))]
		s.Direction = Direction(rng.IntN(2))
		if p.MaxTime > 0 {
			s.After = p.MinTime + time.Duration(rng.Int64N(int64(max(p.MaxTime-p.MinTime, 0))+1))
		} else {
			s.Bytes = p.MinBytes + rng.Int64N(p.MaxBytes-p.MinBytes+1)
		}
		if s.Fault == Blackhole {
			s.For, s.Then = p.Hole, p.Then
		}
	}
	return strokes
}

// A Storm is a series of strokes under way. Make it with [Proxy.Storm].
type Storm struct {
	proxy   *Proxy
	strokes []Stroke
	done    chan struct{}

	mu      sync.Mutex // guards what follows; before proxy.mu
	applied int
	stopped bool
	pending *trap
}

// Storm lets strokes befall the proxy, one after the other. A stroke that counts
// bytes befalls the connection that carries the last of them, behind that
// byte; one that counts time, and a Blackhole, all connections.
func (p *Proxy) Storm(strokes []Stroke) *Storm {
	s := &Storm{proxy: p, strokes: strokes, done: make(chan struct{})}
	s.next()
	return s
}

// next waits for the next stroke.
func (s *Storm) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	if s.applied == len(s.strokes) {
		s.stopped = true
		close(s.done)
		return
	}
	stroke := s.strokes[s.applied]
	if stroke.Bytes > 0 {
		s.pending = &trap{dir: stroke.Direction, left: stroke.Bytes, strike: func(c *Conn) { s.strike(stroke, c) }}
		s.proxy.set(s.pending)
	} else {
		s.proxy.after(stroke.After, func() { s.strike(stroke, nil) })
	}
}

func (s *Storm) strike(stroke Stroke, c *Conn) {
	s.mu.Lock()
	stopped := s.stopped
	if !stopped {
		s.applied++
	}
	s.mu.Unlock()
	switch {
	case stopped:
		return
	case stroke.Fault == Blackhole:
		s.proxy.Blackhole(stroke.For, stroke.Then)
	case c != nil:
		c.Break(stroke.Fault)
	default:
		s.proxy.Break(stroke.Fault)
	}
	s.next()
}

// Done returns a channel that closes when the last stroke has struck, or at
// Stop.
func (s *Storm) Done() <-chan struct{} { return s.done }

// Applied returns how many strokes have struck.
func (s *Storm) Applied() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// Stop ends the storm: no further stroke strikes. A Blackhole lasts its time.
func (s *Storm) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.stopped = true
	if s.pending != nil {
		s.proxy.unset(s.pending)
	}
	close(s.done)
}
