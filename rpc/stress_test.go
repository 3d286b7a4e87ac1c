package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// A chaos makes calls that are cancelled, time out, and lose their connections.
type chaos struct {
	*world
	t                       *testing.T
	answered, failed, ended atomic.Int64
	pending                 sync.WaitGroup // calls of Go
}

// check takes how a call has ended.
func (c *chaos) check(req, res []byte, err error) {
	c.ended.Add(1)
	if err != nil {
		c.failed.Add(1)
		if e := (*rpc.Error)(nil); !errors.As(err, &e) {
			c.t.Errorf("error %v is no *rpc.Error", err)
		}
		return
	}
	c.answered.Add(1)
	if !bytes.Equal(req, res) {
		c.t.Errorf("the answer to %q is %q", req, res)
	}
}

// call makes one call in one of many ways.
func (c *chaos) call(r *rand.Rand, req []byte) {
	method := []string{"slow", "echo", "echo inline", "echo turn"}[r.IntN(4)]
	to := router.ToNode(c.bob.id).At(70)
	switch e := c.alice.endTo(c.bob.id); r.IntN(3) {
	case 0:
		to = router.ToService(70)
	case 1:
		if e != nil {
			to = router.ToConn(e.id).At(70)
		}
	}
	within := time.Duration(r.IntN(5000)+1) * time.Microsecond
	if r.IntN(4) == 0 {
		m := rpc.NewMethod[[]byte, []byte](method).Within(within)
		c.pending.Add(1)
		err := m.Go(c.client[c.alice], to, req, func(res []byte, err error) { c.check(req, res, err); c.pending.Done() })
		if err != nil {
			c.check(req, nil, err)
			c.pending.Done()
		}
		return
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	defer time.AfterFunc(within, cancel).Stop()
	res, err := c.client[c.alice].CallRaw(ctx, to, method, req)
	c.check(req, res, err)
}

// cutAll replaces a connection, again and again.
func (c *chaos) cutAll(done <-chan struct{}) (cuts int) {
	for {
		select {
		case <-done:
			return cuts
		case <-time.After(3 * time.Millisecond):
			if e := c.alice.endTo(c.bob.id); e != nil {
				c.connect(c.alice, c.bob)
				c.cut(e, conn.CodeTimeout)
				cuts++
			}
		}
	}
}

// TestChaos: each call ends exactly once, with its own answer or an error.
func TestChaos(t *testing.T) {
	c := &chaos{world: newWorld(t), t: t}
	c.server[c.bob].HandleRaw("slow", rpc.Options{}, func(ctx context.Context, req []byte) ([]byte, error) {
		if req[0]%4 == 0 {
			<-ctx.Done()
		}
		return req, ctx.Err()
	})
	c.alice.service(70).halt()
	const callers, each = 32, 150
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for n := range each {
				c.call(r, fmt.Append([]byte{byte(r.Uint32())}, "call ", i, n))
			}
		})
	}
	done := make(chan struct{})
	go func() { wait.Wait(); c.pending.Wait(); close(done) }()
	cuts := c.cutAll(done)
	if n := c.ended.Load(); n != callers*each {
		t.Errorf("%d calls have ended, want %d", n, callers*each)
	}
	if st := c.client[c.alice].Stats(); st.Pending != 0 {
		t.Errorf("client counts %+v", st)
	}
	t.Logf("%d answered, %d failed, %d cuts", c.answered.Load(), c.failed.Load(), cuts)
}
