package race

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// ErrSlower is why an attempt was cancelled while it was still under way:
// another one has won, or it had to make room. It is the cause of the
// attempt's context, and what [Config.Lost] is told of it.
var ErrSlower = errors.New("race: another address answered first, or was due")

// errNone is the error of a race without runners.
var errNone = errors.New("race: no address to dial; give at least one")

// errEnded is of an attempt whose goroutine was ended from within.
var errEnded = errors.New("race: the dial ended its goroutine")

// A Config says how a race is run. The zero value is ready for use.
type Config struct {
	// Stagger is the head start of an address: how long after it the next one
	// is dialled, unless it has failed before; then the next one goes at once.
	// Negative: until it has failed, so that addresses are dialled in turn.
	// Default 250 ms.
	Stagger time.Duration

	// MaxAtOnce bounds the attempts that run at once. Where one more is due,
	// the oldest of them is given up, so that addresses that do not answer
	// keep out none, however many there are; the last MaxAtOnce ones have as
	// long as ctx. Default 8.
	MaxAtOnce int

	// Go starts the goroutine of an attempt. Set it to count them: Dial then
	// returns as soon as the race is decided, and attempts that have lost
	// come home by themselves. Default: Go of the environment, and Dial
	// returns when the last attempt has come home.
	Go func(f func())

	// Lost is told of each attempt that has had its chance and lost it: the
	// dial failed, or a later address has won, or the race ended by its
	// deadline. Attempts that were cancelled without fault (an earlier address
	// has won, the caller has cancelled) are left out. It is called on the
	// goroutine of Dial, with the index of the address. Default: nobody.
	Lost func(i int, err error)
}

const (
	defaultStagger   = 250 * time.Millisecond
	defaultMaxAtOnce = 8
)

// Dial dials addresses in the order given, each beside those before it, and
// returns what the first to succeed has made, and the index of its address.
// The others are cancelled; what they make in spite of that is handed to
// discard, on their goroutines. If all fail, or ctx ends first, the error joins
// those of all addresses that were dialled, in their order, each with the
// address.
//
// dial must return soon after its context has ended. A panic in it counts as
// its failure.
func Dial[A, T any](ctx context.Context, e env.Env, cfg Config, addrs []A, dial func(context.Context, A) (T, error), discard func(T)) (T, int, error) {
	var none T
	if len(addrs) == 0 {
		return none, -1, errNone
	}
	if ctx.Err() != nil {
		return none, -1, fmt.Errorf("race: %w", context.Cause(ctx))
	}
	r := &running[T]{env: e, cfg: cfg, discard: discard, winner: -1, changed: make(chan struct{}, 1)}
	if r.cfg.Stagger == 0 {
		r.cfg.Stagger = defaultStagger
	}
	if r.cfg.MaxAtOnce <= 0 {
		r.cfg.MaxAtOnce = defaultMaxAtOnce
	}
	if r.cfg.Go == nil {
		r.cfg.Go = e.Go
	}
	r.run(ctx, len(addrs), func(i int) func(context.Context) (T, error) {
		return func(ctx context.Context) (T, error) { return dial(ctx, addrs[i]) }
	})
	if cfg.Go == nil {
		r.wait()
	}
	if r.winner >= 0 {
		return r.won, r.winner, nil
	}
	var errs []error
	for i, a := range r.attempts {
		errs = append(errs, fmt.Errorf("%v: %w", addrs[i], a.err))
	}
	return none, -1, errors.Join(errs...)
}

// running is a race under way. The goroutine of Dial starts attempts and draws
// the conclusions; those of attempts report to it.
//
//	attempts:   0 1 2 3 . .      started in order; err is set once they have lost
//	                  ^ next
type running[T any] struct {
	env     env.Env
	cfg     Config
	discard func(T)
	changed chan struct{} // one token: look again

	mu       sync.Mutex // guards what follows
	attempts []*attempt
	atWork   int   // goroutines that have not come home
	failed   []int // attempts that Dial has not yet looked at
	over     bool  // whoever succeeds now is too late
	winner   int   // -1: nobody
	won      T
}

type attempt struct {
	cancel context.CancelCauseFunc
	err    error // why it has lost; nil: it runs, or has won
}

// run is the race: it returns when somebody has won, all have lost, or ctx has
// ended. Nobody can win afterwards.
func (r *running[T]) run(ctx context.Context, n int, dial func(int) func(context.Context) (T, error)) {
	var tick chan struct{} // closed when the next one is due
	var timer env.Timer
	start := func() {
		if timer != nil {
			timer.Stop()
		}
		timer, tick = nil, nil
		i := len(r.attempts)
		if i == n {
			return
		}
		r.makeRoom()
		r.start(ctx, dial(i))
		if due := make(chan struct{}); i+1 < n && r.cfg.Stagger > 0 {
			tick = due
			timer = r.env.AfterFunc(r.cfg.Stagger, func() { close(due) })
		}
	}
	start()
	for {
		woken := r.env.Wait(r.changed, tick, ctx.Done())
		failed, won := r.look()
		if won || ctx.Err() != nil {
			break
		}
		for range failed {
			start()
		}
		if woken == 1 && len(failed) == 0 {
			start()
		}
		if r.lostAll(n) {
			break
		}
	}
	if timer != nil {
		timer.Stop()
	}
	r.conclude(ctx)
}

// start begins the next attempt.
func (r *running[T]) start(parent context.Context, dial func(context.Context) (T, error)) {
	ctx, cancel := context.WithCancelCause(parent)
	a := &attempt{cancel: cancel}
	r.mu.Lock()
	i := len(r.attempts)
	r.attempts = append(r.attempts, a)
	r.atWork++
	r.mu.Unlock()
	r.cfg.Go(func() {
		var c T
		err := errEnded
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("race: the dial panicked: %v\n%s", v, debug.Stack())
			}
			given := parent.Err() != nil // up by the caller: no fault of the address
			cancel(nil)
			r.ended(i, c, err, given)
		}()
		c, err = dial(ctx)
	})
}

// ended notes how an attempt ended, on its goroutine. What failed after the race
// was given up is left to conclude.
func (r *running[T]) ended(i int, c T, err error, given bool) {
	r.mu.Lock()
	late := r.over || r.attempts[i].err != nil
	switch {
	case late, err != nil && given:
	case err != nil:
		r.attempts[i].err = err
		r.failed = append(r.failed, i)
	default:
		r.winner, r.won, r.over = i, c, true
	}
	r.mu.Unlock()
	if late && err == nil {
		r.discard(c)
	}
	r.mu.Lock()
	r.atWork--
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// look returns the attempts that have failed since the last look, after
// telling Lost of them, and whether somebody has won.
func (r *running[T]) look() (failed []int, won bool) {
	r.mu.Lock()
	failed, r.failed = r.failed, nil
	won = r.winner >= 0
	r.mu.Unlock()
	for _, i := range failed {
		r.lost(i)
	}
	return failed, won
}

// lost tells Lost of an attempt whose err is set.
func (r *running[T]) lost(i int) {
	if r.cfg.Lost != nil {
		r.cfg.Lost(i, r.attempts[i].err)
	}
}

// makeRoom gives up the oldest attempt if there are as many as may be.
func (r *running[T]) makeRoom() {
	r.mu.Lock()
	oldest, n := -1, 0
	for i, a := range r.attempts {
		if a.err == nil {
			if n++; oldest < 0 {
				oldest = i
			}
		}
	}
	full := n >= r.cfg.MaxAtOnce && r.winner < 0
	if full {
		r.attempts[oldest].err = ErrSlower
	}
	r.mu.Unlock()
	if full {
		r.attempts[oldest].cancel(ErrSlower)
		r.lost(oldest)
	}
}

// lostAll reports whether all n have lost.
func (r *running[T]) lostAll(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.attempts {
		if a.err == nil {
			return false
		}
	}
	return len(r.attempts) == n
}

// conclude ends the race: those that still run have lost.
func (r *running[T]) conclude(ctx context.Context) {
	r.mu.Lock()
	r.over = true
	cause := ErrSlower
	if r.winner < 0 {
		cause = context.Cause(ctx) // nil only if nobody runs any more
	}
	var late, blamed []int
	for i, a := range r.attempts {
		if a.err == nil && i != r.winner {
			a.err = cause
			late = append(late, i)
		}
	}
	blamed = append(blamed, r.failed...)
	r.failed = nil
	r.mu.Unlock()
	for _, i := range late {
		r.attempts[i].cancel(cause)
		if i < r.winner || r.winner < 0 && env.Err(ctx) == context.DeadlineExceeded {
			blamed = append(blamed, i)
		}
	}
	for _, i := range blamed {
		r.lost(i)
	}
}

// wait waits until all goroutines have come home.
func (r *running[T]) wait() {
	for {
		r.mu.Lock()
		n := r.atWork
		r.mu.Unlock()
		if n == 0 {
			return
		}
		r.env.Wait(r.changed, nil, nil)
	}
}
