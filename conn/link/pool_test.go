package link_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

type notePool = link.Pool[note, note]

// pooled returns a pool of n links and their other ends.
func pooled(t *testing.T, n int) (*notePool, []*noteLink) {
	p := link.NewPool[note, note](0)
	t.Cleanup(func() { _ = p.Close() })
	var others []*noteLink
	for range n {
		x, y := linkPair(t, noteConfig{})
		must(t, p.Add(noContext, x))
		others = append(others, y)
	}
	return p, others
}

// Messages go to the members in turn and come from them in turn.
func TestPoolIsFair(t *testing.T) {
	const members, messages = 3, 100
	p, others := pooled(t, members)
	for i := range messages {
		must(t, p.Send(noContext, note{Number: i}))
	}
	for i, y := range others {
		got := 0
		for want := i; want < messages; want += members {
			v, err := y.Recv(noContext)
			must(t, err)
			if v.Number != want {
				t.Fatalf("member %d got message %d, want %d", i, v.Number, want)
			}
			got++
		}
		if got < messages/members || got > messages/members+1 {
			t.Errorf("member %d got %d of %d messages", i, got, messages)
		}
		for range messages {
			must(t, y.Send(noContext, note{Number: i}))
		}
		must(t, y.Flush(noContext))
	}
	var from [members]int
	for range messages * members {
		v, err := p.Recv(noContext)
		must(t, err)
		from[v.Number]++
	}
	if from != [members]int{messages, messages, messages} {
		t.Errorf("received %v", from)
	}
}

// A dead member leaves, its error surfaces once, and the others go on.
func TestPoolEjects(t *testing.T) {
	p, others := pooled(t, 3)
	must(t, others[1].Close())
	var member *link.MemberError
	if _, err := p.Recv(noContext); !errors.As(err, &member) || member.Err != io.EOF {
		t.Errorf("Recv: %v, want a MemberError of io.EOF", err)
	}
	if n := p.Len(); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	for i := range 4 {
		must(t, p.Send(noContext, note{Number: i}))
	}
	for i, y := range []*noteLink{others[0], others[2]} {
		for n := range 2 {
			if v, err := y.Recv(noContext); err != nil || v.Number != 2*n+i {
				t.Errorf("member %d: %+v, %v", i, v, err)
			}
		}
		must(t, y.Close())
		if _, err := p.Recv(noContext); !errors.Is(err, io.EOF) {
			t.Errorf("Recv: %v, want io.EOF of the member", err)
		}
	}
	if ok, err := p.TrySend(note{}); ok || err != link.ErrEmpty {
		t.Errorf("TrySend: %v, %v, want ErrEmpty", ok, err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(noContext)
	cancel(why)
	if err := p.Send(ctx, note{}); !errors.Is(err, link.ErrEmpty) || !errors.Is(err, why) {
		t.Errorf("Send: %v, want ErrEmpty and the cause", err)
	}
	if _, ok, err := p.TryRecv(); ok || err != nil {
		t.Errorf("TryRecv: %v, %v", ok, err)
	}
}

// Who leaves takes nobody's turn away.
func TestPoolKeepsTurns(t *testing.T) {
	p, others := pooled(t, 3)
	must(t, p.Send(noContext, note{Number: 0}))
	if _, err := others[0].Recv(noContext); err != nil { // what is closed unread resets the connection
		t.Error(err)
	}
	must(t, others[0].Close())
	if _, err := p.Recv(noContext); !errors.Is(err, io.EOF) {
		t.Errorf("Recv: %v, want io.EOF of the member", err)
	}
	for i, y := range others[1:] {
		must(t, p.Send(noContext, note{Number: i}))
		if v, err := y.Recv(noContext); err != nil || v.Number != i {
			t.Errorf("member %d: %+v, %v", i, v, err)
		}
	}
}

// The Send that finds a member dead says so, and the next takes another.
func TestPoolSendSurfaces(t *testing.T) {
	p := link.NewPool[note, note](0)
	defer p.Close()
	dead, _ := linkPair(t, noteConfig{})
	alive, other := linkPair(t, noteConfig{})
	must(t, p.Add(noContext, dead))
	must(t, p.Add(noContext, alive))
	why := errors.New("why")
	dead.Abort(why)
	// Whoever finds it first: the receiving side, then Recv tells, or Send.
	var member *link.MemberError
	err := p.Send(noContext, note{})
	if err == nil {
		_, err = p.Recv(noContext)
	}
	if !errors.As(err, &member) || member.Err != why || member.Link != dead.Info() {
		t.Errorf("%v, want a MemberError of the one that was aborted", err)
	}
	must(t, p.Send(noContext, note{Text: "after"}))
	for v, err := range other.All(noContext) {
		must(t, err)
		if v.Text == "after" {
			break
		}
	}
	if p.Len() != 1 {
		t.Errorf("%d members, want 1", p.Len())
	}
}

// A pool is fed by a listener, and by dialling, which replaces who leaves;
// senders and receivers wait for members.
func TestPoolIsFed(t *testing.T) {
	s := listen(t, noteConfig{})
	servers, clients := link.NewPool[note, note](0), link.NewPool[note, note](2)
	ctx, stop := context.WithCancelCause(noContext)
	why := errors.New("why")
	var work, fed sync.WaitGroup
	fed.Go(func() {
		if err := servers.Feed(ctx, s.Accept); err != why {
			t.Errorf("Feed: %v, want the cause of ctx", err)
		}
	})
	work.Go(func() {
		for v, err := servers.Recv(ctx); ; v, err = servers.Recv(ctx) {
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = servers.Send(ctx, v)
			}
			if m := (*link.MemberError)(nil); err != nil && !errors.As(err, &m) {
				t.Error(err)
				return
			}
		}
	})
	dialled := make(chan *noteLink, 10)
	work.Go(func() {
		err := clients.Feed(noContext, func(ctx context.Context) (*noteLink, error) {
			l, err := link.Dial(ctx, "tcp", s.Addr(), noteConfig{})
			if err == nil {
				dialled <- l
			}
			return l, err
		})
		if !errors.Is(err, link.ErrClosed) {
			t.Errorf("Feed: %v, want ErrClosed", err)
		}
	})
	must(t, clients.Send(noContext, note{1, "waits for a member"}))
	if v, err := clients.Recv(noContext); err != nil || v.Number != 1 {
		t.Errorf("received %+v, %v", v, err)
	}
	first, _ := <-dialled, <-dialled
	first.Abort(io.ErrUnexpectedEOF)
	<-dialled // in its place
	stop(why)
	fed.Wait()
	must(t, servers.Close())
	_ = clients.Close() // members may have seen the end already
	work.Wait()
	if err := clients.Send(noContext, note{}); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
}

// Members that die leave nothing behind in a pool that nobody receives from,
// whether they have said something before or not.
func TestPoolForgetsTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := link.NewPool[note, note](2)
		defer p.Close()
		before := runtime.NumGoroutine()
		for i := range 100 {
			x, y := pipePair(t, noteConfig{})
			must(t, p.Add(noContext, x))
			if i%2 == 0 { // whose death nobody notices but Send
				must(t, y.Send(noContext, note{}))
				synctest.Wait()
			}
			_ = y.Close()
			for p.Len() > 0 {
				_, _ = p.TrySend(note{}) // says so when it finds out
				synctest.Wait()
			}
		}
		if after := runtime.NumGoroutine(); after > before+10 { // some come and go outside of the bubble
			t.Errorf("%d goroutines, %d before", after, before)
		}
	})
}

// A death surfaces once, however many Sends find out at the same time, and the
// others take another member.
func TestPoolTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			p := link.NewPool[note, note](0)
			x, _ := pipePair(t, noteConfig{MaxPending: 1})
			must(t, p.Add(noContext, x))
			for range 2 { // one is being written, one waits
				must(t, p.Send(noContext, note{}))
				synctest.Wait()
			}
			const senders = 3
			ended := make(chan error, senders)
			for range senders {
				go func() { ended <- p.Send(noContext, note{}) }()
			}
			synctest.Wait()
			x.Abort(io.ErrUnexpectedEOF)
			synctest.Wait()
			alive, other := pipePair(t, noteConfig{})
			go func() {
				for range other.All(noContext) {
				}
			}()
			must(t, p.Add(noContext, alive))
			told := 0
			for range senders {
				var m *link.MemberError
				if err := <-ended; errors.As(err, &m) {
					told++
				} else {
					must(t, err)
				}
			}
			if _, _, err := p.TryRecv(); err != nil {
				told++
			}
			if told != 1 {
				t.Fatalf("told %d times, want once", told)
			}
			must(t, p.Close())
			_ = other.Close()
		}
	})
}

// What a member has said before Send found it dead is still received; of the
// deaths that nobody wants to know of, the newest are kept.
func TestPoolKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := link.NewPool[note, note](2)
		defer p.Close()
		x, y := pipePair(t, noteConfig{})
		must(t, p.Add(noContext, x))
		must(t, y.Send(noContext, note{Text: "last"}))
		synctest.Wait()
		_ = y.Close()
		for p.Len() > 0 {
			_, _ = p.TrySend(note{})
			synctest.Wait()
		}
		if v, err := p.Recv(noContext); err != nil || v.Text != "last" {
			t.Errorf("received %+v, %v", v, err)
		}
		var infos []link.Info
		for range 5 {
			x, y := pipePair(t, noteConfig{})
			must(t, p.Add(noContext, x))
			_ = y.Close()
			infos = append(infos, x.Info())
			synctest.Wait()
		}
		for _, want := range infos[3:] {
			_, err := p.Recv(noContext)
			if m := (*link.MemberError)(nil); !errors.As(err, &m) || m.Link != want {
				t.Errorf("Recv: %v, want that %s left", err, want)
			}
		}
		if v, ok, err := p.TryRecv(); ok || err != nil {
			t.Errorf("received %+v, %v beyond what is kept", v, err)
		}
	})
}

// A pool has no more than its number of members: Add waits for a place.
func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := link.NewPool[note, note](2)
		var others []*noteLink
		for range 2 {
			x, y := pipePair(t, noteConfig{})
			must(t, p.Add(noContext, x))
			others = append(others, y)
		}
		third, _ := pipePair(t, noteConfig{})
		ctx, stop := context.WithTimeout(noContext, time.Second)
		defer stop()
		if err := p.Add(ctx, third); !errors.Is(err, context.DeadlineExceeded) || third.Err() != nil || p.Len() != 2 {
			t.Errorf("a third of two: %v, %d members", err, p.Len())
		}
		added := make(chan error)
		go func() { added <- p.Add(noContext, third) }()
		synctest.Wait()
		_ = others[0].Close()
		if err := <-added; err != nil || p.Len() != 2 {
			t.Errorf("where one has left: %v, %d members", err, p.Len())
		}
		must(t, p.Close())
		if _, err := p.Recv(noContext); !errors.Is(err, link.ErrClosed) {
			t.Errorf("Recv after Close: %v", err)
		}
	})
}

// A panic in what feeds a pool is its error.
func TestFeedPanics(t *testing.T) {
	p := link.NewPool[note, note](0)
	defer p.Close()
	wantPanic(t, p.Feed(noContext, func(context.Context) (*noteLink, error) { panic("boom") }))
}
