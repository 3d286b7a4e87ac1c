package endpoint_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
)

// A gated connection writes when it is let.
type gated struct {
	conn.Conn
	gate chan struct{}
}

func (g *gated) Write(p []byte) (int, error) {
	<-g.gate
	return g.Conn.Write(p)
}

// gate connects a cable so that its first end writes when it is let. It returns how
// to let it write so many times.
func gate(c *cable) (let func(int)) {
	c.t.Helper()
	ends := c.conns()
	g := &gated{ends[0], make(chan struct{}, 1000)}
	let = func(n int) {
		for range n {
			g.gate <- struct{}{}
		}
		synctest.Wait()
	}
	done := make(chan error)
	go func() { done <- c.ends[0].Carry(c.t.Context(), g) }()
	go func() { done <- c.ends[1].Carry(c.t.Context(), ends[1]) }()
	let(3) // hello, and the first words of the channel
	for range 2 {
		if err := <-done; err != nil {
			c.t.Fatal(err)
		}
	}
	synctest.Wait()
	for len(g.gate) > 0 {
		<-g.gate
	}
	return let
}

// has reports whether a message has come.
func has(c *cable) bool {
	synctest.Wait()
	_, err := c.ends[1].TryRecv()
	return err == nil
}

func send(c *cable) {
	c.t.Helper()
	if err := c.ends[0].Send(c.t.Context(), []byte("x")); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// A worker writes for one endpoint at a time, each a batch, in turns; and one that is
// moved elsewhere writes there.
func TestWorkerTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCable(t, endpoint.Config{}), newCable(t, endpoint.Config{})
		let := gate(a)
		b.mustConnect()
		w := endpoint.NewWorker(context.Background())
		a.ends[0].SetWorker(w)
		b.ends[0].SetWorker(w)
		send(a)
		send(b)
		if has(b) {
			t.Error("a worker wrote while it was writing")
		}
		send(a) // there is always more
		let(1)
		if !has(a) || !has(b) {
			t.Error("an endpoint that has much to write kept its worker")
		}
		send(b)
		if has(a) || has(b) {
			t.Error("a worker wrote while it was writing")
		}
		b.ends[0].SetWorker(nil) // what is queued stays so
		let(1)
		if !has(a) || !has(b) {
			t.Error("not written when the worker was free")
		}
		send(a)
		send(b)
		if !has(b) {
			t.Error("the endpoint has not moved")
		}
		b.ends[0].SetWorker(w)
		send(b)
		if has(b) {
			t.Error("the endpoint has not moved back")
		}
		let(100)
		if !has(a) || !has(b) {
			t.Error("not written when the worker was free")
		}
		a.close()
		b.close()
	})
}
