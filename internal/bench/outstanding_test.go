package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/plexus-net/plexus/internal/yardstick"
	"github.com/plexus-net/plexus/router"
)

// callers is how many goroutines of BenchmarkOutstanding make requests.
const callers = 64

// An exchange brings answers back to the callers that wait for them. A request
// begins with the number of its caller and comes back as it went out.
type exchange [callers]struct {
	back           chan struct{}
	calls          uint32
	request, reply [128]byte
}

func newExchange() *exchange {
	x := new(exchange)
	for i := range x {
		x[i].back = make(chan struct{}, 1)
		binary.BigEndian.PutUint32(x[i].request[:], uint32(i))
	}
	return x
}

// arrived takes in an answer.
func (x *exchange) arrived(p []byte) {
	c := &x[binary.BigEndian.Uint32(p)]
	copy(c.reply[:], p)
	c.back <- struct{}{}
}

// call makes one request for a caller and waits for the answer to it.
func (x *exchange) call(caller int, send func([]byte) error) error {
	c := &x[caller]
	c.calls++
	binary.BigEndian.PutUint32(c.request[4:], c.calls)
	if err := send(c.request[:]); err != nil {
		return err
	}
	<-c.back
	if c.reply != c.request {
		return errors.New("the answer belongs to another request")
	}
	return nil
}

// BenchmarkOutstanding has 64 goroutines make requests of 128 bytes over one
// connection, each waiting for its answer before it makes the next. The direct
// yardstick writes each answer by itself where it reads the request, the naive
// one passes it to a flusher that writes as soon as there is something to write,
// and the yielding one lets others run first, so that more joins the write. In
// plexus, raw is RPC to a function that runs inline, and handler is the
// yardstick's own protocol between handlers.
func BenchmarkOutstanding(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport+"/yardstick-direct", func(b *testing.B) { yardOutstanding(b, transport, false, (*yardstick.Writer).SendNow) })
		b.Run(transport+"/yardstick-naive", func(b *testing.B) { yardOutstanding(b, transport, false, (*yardstick.Writer).Send) })
		b.Run(transport+"/yardstick-yielding", func(b *testing.B) { yardOutstanding(b, transport, true, (*yardstick.Writer).Send) })
		b.Run(transport+"/raw", func(b *testing.B) {
			client, to := rpcPair(b, transport)
			payload := make([]byte, 128)
			callAll(b, callers, func(int) error {
				_, err := client.CallRaw(context.Background(), to, "echo", payload)
				return err
			})
		})
		b.Run(transport+"/handler", func(b *testing.B) {
			client, server, x := newMeter(true), newMeter(true), newExchange()
			server.echo, client.answer = true, x.arrived
			c := join(b, transport, client, server)
			send := func(p []byte) error { return client.a.Send(router.ToConn(c.ID), 1, p) }
			callAll(b, callers, func(i int) error { return x.call(i, send) })
		})
	}
}

func yardOutstanding(b *testing.B, transport string, yield bool, answer func(*yardstick.Writer, []byte)) {
	c, s := yards(b, transport, yield)
	go s.receive(func(p []byte) { answer(s.Writer, p) })
	x := newExchange()
	go c.receive(x.arrived)
	send := func(p []byte) error {
		c.Send(p)
		return nil
	}
	callAll(b, callers, func(i int) error { return x.call(i, send) })
}
