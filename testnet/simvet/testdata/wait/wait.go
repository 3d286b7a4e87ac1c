// Package wait waits.
package wait

import (
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

type B struct {
	mu      sync.Mutex
	group   sync.WaitGroup
	cond    *sync.Cond
	errs    errgroup.Group
	weights *semaphore.Weighted
	plain   chan int
	roomy   chan int
	small   chan int
	mixed   chan int
	given   chan int
}

const none, some = 0, 2

func New(given chan int, n int) *B {
	b := &B{plain: make(chan int), roomy: make(chan int, some), small: make(chan int, none), given: given}
	b.mixed = make(chan int, n)
	b.cond = sync.NewCond(&b.mu)
	return b
}

func (b *B) reset() { b.mixed = make(chan int) }

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	b.mu.Lock()
	b.cond.Wait() // want `^sync.Cond.Wait waits, and the simulator's loop with it: go on in OnEvent`
	b.cond.Signal()
	b.mu.Unlock()
	b.group.Add(1)
	b.group.Done()
	b.group.Wait()                        // want `sync.WaitGroup.Wait waits`
	_ = b.errs.Wait()                     // want `errgroup.Group.Wait waits`
	_ = b.weights.Acquire(a.Context(), 1) // want `semaphore.Weighted.Acquire waits`
	if b.weights.TryAcquire(1) {
		b.weights.Release(1)
	}
	b.plain <- 1 // want `sending to a channel waits`
	b.small <- 1 // want `sending to a channel waits`
	b.mixed <- 1 // want `sending to a channel waits`
	b.given <- 1 // want `sending to a channel waits`
	b.roomy <- 1 // has room
	local := make(chan int, 1)
	local <- 1
	<-b.roomy                    // want `receiving from a channel waits`
	if _, ok := <-b.plain; !ok { // want `receiving from a channel waits`
		return
	}
	for range b.plain { // want `range over a channel waits`
	}
	close(b.plain)
	select { // want `select without default waits`
	case b.plain <- 1:
	case n, ok := <-b.plain:
		_, _ = n, ok
	case <-a.Context().Done():
	}
	select {
	case b.plain <- <-b.small: // want `receiving from a channel waits`
	case n := <-b.plain:
		b.plain <- n // want `sending to a channel waits`
	case (<-b.plain):
	default:
		<-b.plain // want `receiving from a channel waits`
	}
}
