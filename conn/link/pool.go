package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrEmpty is the error of sending to a [Pool] without members.
var ErrEmpty = errors.New("link: the pool is empty")

// A MemberError tells that a member of a [Pool] has failed and is no member any
// more. The pool goes on. errors.Is(err, io.EOF) is one that the other side has
// closed in order.
type MemberError struct {
	Link Info
	Err  error
}

func (e *MemberError) Error() string { return fmt.Sprintf("link: pool: %s left: %v", e.Link, e.Err) }

// Unwrap returns why it failed.
func (e *MemberError) Unwrap() error { return e.Err }

// A Pool sends and receives on many links as on one: messages go to its members
// in turn, and come from them in turn. Methods may be called from any
// goroutine.
//
//	Send ─> next member in turn          member ─┐
//	                                     member ─┼─> Recv, one message of each in turn
//	                                     member ─┘
//
// A member that fails is closed and leaves. That surfaces once, as a
// [*MemberError]: of the Send that found it out, else of a Recv. For a pool that
// nobody receives from, the newest are kept: as many as it may have members.
type Pool[In, Out any] struct {
	max  int
	came chan arrival[In]
	ctx  context.Context // ends with the pool
	stop context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows
	members []*Link[In, Out]
	next    int           // whose turn it is
	changed chan struct{} // closed when somebody comes or leaves; nil: nobody waits
	closed  bool
	left    []arrival[In] // what members that have left had still to hand over, at most max

	more chan struct{} // one token: there is something in left
}

type arrival[In any] struct {
	v   In
	err error
}

// defaultMembers is how many members a pool may have that was given no bound.
const defaultMembers = 1024

// NewPool returns a pool of at most max links, 0 meaning 1024.
func NewPool[In, Out any](max int) *Pool[In, Out] {
	if max <= 0 {
		max = defaultMembers
	}
	p := &Pool[In, Out]{max: max, came: make(chan arrival[In]), more: make(chan struct{}, 1)}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	return p
}

// Add makes l a member: the pool receives from it and closes it. It waits
// until there is a place, for ctx at most; if it fails, l is the caller's.
func (p *Pool[In, Out]) Add(ctx context.Context, l *Link[In, Out]) error {
	if err := p.await(ctx, func() bool { return len(p.members) < p.max }); err != nil {
		return err // await has returned without the lock
	}
	p.members = append(p.members, l)
	p.work.Add(1)
	p.tell()
	p.mu.Unlock()
	go p.receive(l)
	return nil
}

// Feed adds what next returns, a method Accept or a call of Dial, as long as
// there are places, and waits for one when there are none: so a pool that is
// fed by dialling replaces its dead members. It returns the error of next, of
// ctx, or ErrClosed.
func (p *Pool[In, Out]) Feed(ctx context.Context, next func(context.Context) (*Link[In, Out], error)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(p.ctx, func() { stop(ErrClosed) })()
	for {
		if err := p.await(ctx, func() bool { return len(p.members) < p.max }); err != nil {
			return err
		}
		p.mu.Unlock()
		var l *Link[In, Out]
		if err := guard(func() (err error) { l, err = next(ctx); return err }); err != nil {
			return err
		}
		if err := p.Add(ctx, l); err != nil {
			_ = l.Close() // nobody has used it
			return err
		}
	}
}

// Len tells how many members there are.
func (p *Pool[In, Out]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.members)
}

// Send sends v to the next member in turn. It waits for a member, and for room
// at that member, until ctx ends: where there was none the error is an ErrEmpty
// and the cause. After a *MemberError the message may not have been sent, and
// sending again takes the next member.
func (p *Pool[In, Out]) Send(ctx context.Context, v Out) error {
	for {
		if err := p.await(ctx, func() bool { return len(p.members) > 0 }); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("%w: %w", ErrEmpty, err)
			}
			return err
		}
		l := p.turn()
		p.mu.Unlock()
		again, err := p.check(l, l.Send(ctx, v))
		if !again {
			return err
		}
	}
}

// TrySend sends v to the next member in turn that has room, and reports false
// if none has. Without members the error is ErrEmpty.
func (p *Pool[In, Out]) TrySend(v Out) (bool, error) {
	p.mu.Lock()
	n := len(p.members)
	p.mu.Unlock()
	if n == 0 {
		return false, ErrEmpty
	}
	for range n {
		p.mu.Lock()
		if len(p.members) == 0 {
			p.mu.Unlock()
			break
		}
		l := p.turn()
		p.mu.Unlock()
		ok, err := l.TrySend(v)
		if again, err := p.check(l, err); ok || err != nil && !again {
			return ok, err
		}
	}
	return false, nil
}

// Recv waits for the next message of any member, or for a member to fail (a
// *MemberError), until ctx ends. It waits for members too, where there are
// none.
func (p *Pool[In, Out]) Recv(ctx context.Context) (v In, err error) {
	for p.ctx.Err() == nil {
		if a, ok := p.leftover(); ok {
			return a.v, a.err
		}
		select {
		case a := <-p.came:
			return a.v, a.err
		case <-p.more:
		case <-p.ctx.Done():
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
	return v, ErrClosed
}

// TryRecv returns a message that a member has ready, and false without an error
// if none has.
func (p *Pool[In, Out]) TryRecv() (v In, ok bool, err error) {
	if p.ctx.Err() != nil {
		return v, false, ErrClosed
	}
	if a, ok := p.leftover(); ok {
		return a.v, a.err == nil, a.err
	}
	select {
	case a := <-p.came:
		return a.v, a.err == nil, a.err
	default:
		return v, false, nil
	}
}

// Close closes all members, beside each other, and returns when nothing of the
// pool is left running.
func (p *Pool[In, Out]) Close() error {
	p.mu.Lock()
	p.closed = true
	members := p.members
	p.members = nil
	p.tell()
	p.mu.Unlock()
	p.stop(ErrClosed)
	errs := make([]error, len(members))
	var work sync.WaitGroup
	for i, l := range members {
		work.Go(func() { errs[i] = l.Close() })
	}
	work.Wait()
	p.work.Wait()
	return errors.Join(errs...)
}

// receive hands on what comes from a member: the next message is taken when
// somebody has taken the last one, and those who wait to hand over are served
// in turn. It does not outlive the member.
func (p *Pool[In, Out]) receive(l *Link[In, Out]) {
	defer p.work.Done()
	for ended := false; ; {
		v, err := l.Recv(p.ctx)
		if p.ctx.Err() != nil {
			return
		}
		if err != nil && !p.eject(l) {
			return // who has ejected it has told
		}
		if err != nil {
			_ = l.Close()
			p.leave(arrival[In]{err: &MemberError{l.Info(), err}})
			return
		}
		if !ended {
			select {
			case p.came <- arrival[In]{v: v}:
				continue
			case <-p.ctx.Done():
				return
			case <-l.Done():
				ended = true // and so all that is left goes one way, in order
			}
		}
		p.leave(arrival[In]{v: v})
	}
}

// leave keeps what a member that leaves has to hand over.
func (p *Pool[In, Out]) leave(a arrival[In]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.left) == p.max {
		p.left = append(p.left[:0], p.left[1:]...)
	}
	p.left = append(p.left, a)
	p.remind()
}

// leftover returns the oldest of what members have left.
func (p *Pool[In, Out]) leftover() (a arrival[In], ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.left) == 0 {
		p.left = nil
		return a, false
	}
	a, p.left[0] = p.left[0], a
	p.left = p.left[1:]
	p.remind()
	return a, true
}

// remind lets one of those who receive look into left. p.mu is held.
func (p *Pool[In, Out]) remind() {
	if len(p.left) > 0 {
		select {
		case p.more <- struct{}{}:
		default: // somebody will
		}
	}
}

// check makes of an error that has ended a member one of the pool. again: it
// has surfaced already, so try another.
func (p *Pool[In, Out]) check(l *Link[In, Out], err error) (again bool, _ error) {
	if err == nil || l.Err() == nil && l.writer.Err() == nil {
		return false, err // of the codec, or of the caller's ctx
	}
	if !p.eject(l) {
		return true, nil
	}
	_ = l.Close() // ends its receive too
	return false, &MemberError{l.Info(), err}
}

// eject takes a member out, and reports false if it was none any more.
func (p *Pool[In, Out]) eject(l *Link[In, Out]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, m := range p.members {
		if m == l {
			p.members = append(p.members[:i], p.members[i+1:]...)
			if p.next > i {
				p.next--
			}
			p.tell()
			return true
		}
	}
	return false
}

// turn returns whose turn it is. p.mu is held.
func (p *Pool[In, Out]) turn() *Link[In, Out] {
	if p.next >= len(p.members) {
		p.next = 0
	}
	l := p.members[p.next]
	p.next++
	return l
}

// tell wakes those who wait for the members to change. p.mu is held.
func (p *Pool[In, Out]) tell() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// await waits until ok, and returns with p.mu held, or with an error and
// without.
func (p *Pool[In, Out]) await(ctx context.Context, ok func() bool) error {
	p.mu.Lock()
	for {
		switch {
		case p.closed:
			p.mu.Unlock()
			return ErrClosed
		case ok():
			return nil
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p.mu.Lock()
	}
}
