package link_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// 100,000 frames, and one of the two halves is closed at random somewhere: what
// arrives is a prefix of what was sent, each message once and in order, and the
// other side learns of the end.
func TestHalfIsDroppedAtRandom(t *testing.T) {
	const frames = 100_000
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		after := rnd.IntN(frames)
		var sent link.Counter
		a, b := tcpPair(t)
		x, y := linkOver(t, a, b, link.Config[uint64, uint64]{Observer: &sent}, link.Config[uint64, uint64]{})
		_, tx := x.Split()
		rx, _ := y.Split()
		var work sync.WaitGroup
		accepted := 0
		work.Go(func() {
			for i := range frames {
				if seed%2 == 0 && i == after {
					must(t, tx.Close())
				}
				if err := tx.Send(noContext, uint64(i)); err != nil {
					if !errors.Is(err, link.ErrClosed) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("the sender ends with %v", err)
					}
					return
				}
				accepted++
			}
			_ = tx.Close() // where the other half was dropped at the very end it fails
		})
		got := 0
		for v, err := range rx.All(noContext) {
			if err != nil {
				t.Errorf("the receiver ends with %v", err)
				break
			}
			if v != uint64(got) {
				t.Fatalf("message %d arrived as number %d", v, got)
			}
			if got++; seed%2 == 1 && got == after {
				must(t, rx.Close())
				break
			}
		}
		work.Wait()
		must(t, rx.Close())
		_ = x.Close()
		if n := sent.Sent.Load() + sent.Unsent.Load(); n != uint64(accepted) {
			t.Errorf("%d messages accepted, %d accounted for", accepted, n)
		}
		if seed%2 == 0 && (got != after || sent.Sent.Load() != uint64(after)) {
			t.Errorf("%d sent before a close in order, %d counted, %d received", after, sent.Sent.Load(), got)
		}
		if uint64(got) > uint64(accepted) {
			t.Errorf("%d received, %d accepted", got, accepted)
		}
	}
}

// OnSent is called exactly once for each message, in order, however little the
// socket takes at a time.
func TestSentExactlyOnce(t *testing.T) {
	a, b := tcpPair(t)
	must(t, a.(*net.TCPConn).SetWriteBuffer(4096))
	var told []uint32
	config := bytesConfig{MaxPending: 64 << 10, CloseTimeout: time.Minute, Hooks: func() link.Hooks[[]byte, []byte] {
		return link.Hooks[[]byte, []byte]{OnSent: func(v []byte, err error) {
			if err != nil {
				t.Error(err)
			}
			told = append(told, binary.BigEndian.Uint32(v))
		}}
	}}
	x, y := linkOver(t, a, b, config, bytesConfig{})
	const count = 100
	var work sync.WaitGroup
	work.Go(func() {
		for i := range uint32(count) {
			p := bytes.Repeat([]byte{byte(i)}, 4+int(i*7919%(8<<10)))
			binary.BigEndian.PutUint32(p, i)
			must(t, x.Send(noContext, p))
		}
		must(t, x.Close())
	})
	next := uint32(0)
	for v, err := range y.All(noContext) {
		must(t, err)
		if binary.BigEndian.Uint32(v) != next || len(v) != 4+int(next*7919%(8<<10)) {
			t.Fatalf("message %d of %d bytes, want %d", binary.BigEndian.Uint32(v), len(v), next)
		}
		next++
	}
	work.Wait()
	if next != count || len(told) != count {
		t.Fatalf("%d received, %d told of, want %d", next, len(told), count)
	}
	for i, n := range told {
		if n != uint32(i) {
			t.Fatalf("told of message %d as number %d", n, i)
		}
	}
}

// What was accepted and could not be written is told of with the error.
func TestSentFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counter link.Counter
		config := bytesConfig{Observer: &counter, WriteTimeout: 5 * time.Second}
		x, y := pipePair(t, config) // y does not receive
		start := time.Now()
		for range 10 {
			must(t, x.Send(noContext, []byte("x")))
		}
		<-x.Done()
		_ = x.Close()
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("the link ended after %v, want WriteTimeout", d)
		}
		if s, u := counter.Sent.Load(), counter.Unsent.Load(); s != 0 || u != 10 || counter.Failed.Load() != 1 {
			t.Errorf("%d sent, %d not, %d ends; want 0, 10, 1", s, u, counter.Failed.Load())
		}
		_ = y.Close()
	})
}

// Recv ends with its context and can be called again; messages are not lost by
// that.
func TestRecvContext(t *testing.T) {
	for name, pair := range map[string]func(testing.TB, bytesConfig) (*link.Link[[]byte, []byte], *link.Link[[]byte, []byte]){
		"tcp": linkPair[[]byte], "pipe": pipePair[[]byte],
	} {
		t.Run(name, func(t *testing.T) {
			x, y := pair(t, bytesConfig{})
			why := errors.New("why")
			ended, cancel := context.WithCancelCause(noContext)
			cancel(why)
			if _, err := y.Recv(ended); err != why {
				t.Errorf("a context that has ended: %v, want its cause", err)
			}
			short, stop := context.WithTimeout(noContext, time.Millisecond)
			defer stop()
			if _, err := y.Recv(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a context with a deadline: %v", err)
			}
			ctx, cancel := context.WithCancelCause(noContext)
			go cancel(why)
			if _, err := y.Recv(ctx); err != why {
				t.Errorf("a context that ends meanwhile: %v, want its cause", err)
			}
			live, stop := context.WithCancel(noContext)
			defer stop()
			for i, ctx := range []context.Context{noContext, live, live, noContext} {
				must(t, x.Send(noContext, []byte{byte(i)}))
				if v, err := y.Recv(ctx); err != nil || v[0] != byte(i) {
					t.Errorf("message %d: %v, %v", i, v, err)
				}
			}
			if y.Err() != nil {
				t.Errorf("the link has ended: %v", y.Err())
			}
		})
	}
}

// Send and TrySend see that there is no room, and nothing of what was accepted
// is lost.
func TestSendBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := 0
		x, y := pipePair(t, bytesConfig{MaxPending: 100, Hooks: func() link.Hooks[[]byte, []byte] {
			return link.Hooks[[]byte, []byte]{OnBlock: func() { blocked++ }}
		}})
		sent := 0
		for {
			ok, err := x.TrySend(make([]byte, 46))
			must(t, err)
			synctest.Wait()
			if !ok {
				break
			}
			sent++
		}
		if sent != 3 || blocked != 1 { // one is being written, two wait
			t.Errorf("%d accepted, OnBlock called %d times; want 3 and once", sent, blocked)
		}
		ctx, stop := context.WithTimeout(noContext, time.Minute)
		defer stop()
		start := time.Now()
		if err := x.Send(ctx, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("Send: %v after %v", err, time.Since(start))
		}
		go func() {
			must(t, x.Send(noContext, []byte("last")))
			must(t, x.Close())
		}()
		n, last := 0, ""
		for v, err := range y.All(noContext) {
			must(t, err)
			n, last = n+1, string(v)
		}
		if n != 4 || last != "last" {
			t.Errorf("%d received, the last %q; want 4, the last %q", n, last, "last")
		}
	})
}

// TryRecv tells the three outcomes apart, on sockets and on streams that cannot
// be read without waiting.
func TestTryRecv(t *testing.T) {
	for name, pair := range map[string]func(testing.TB, bytesConfig) (*link.Link[[]byte, []byte], *link.Link[[]byte, []byte]){
		"tcp": linkPair[[]byte], "pipe": pipePair[[]byte],
	} {
		t.Run(name, func(t *testing.T) {
			x, y := pair(t, bytesConfig{})
			for range 3 {
				if v, ok, err := y.TryRecv(); ok || err != nil {
					t.Fatalf("nothing was sent: %q, %v, %v", v, ok, err)
				}
			}
			must(t, x.Send(noContext, []byte("one")))
			v, ok, err := y.TryRecv()
			for !ok && err == nil {
				v, ok, err = y.TryRecv()
			}
			if string(v) != "one" || err != nil {
				t.Errorf("received %q, %v", v, err)
			}
			if _, ok, err := y.TryRecv(); ok || err != nil { // and where one reads beside
				t.Errorf("more than was sent: %v", err)
			}
			must(t, x.Send(noContext, []byte("two")))
			if v, err := y.Recv(noContext); string(v) != "two" || err != nil {
				t.Errorf("Recv after TryRecv: %q, %v", v, err)
			}
			must(t, x.Close())
			for err == nil {
				_, ok, err = y.TryRecv()
			}
			if err != io.EOF || ok {
				t.Errorf("the end: %v, %v, want io.EOF", ok, err)
			}
			if _, err := y.Recv(noContext); err != io.EOF {
				t.Errorf("Recv after the end: %v, want io.EOF", err)
			}
		})
	}
}

// Close, on either side and however often, ends what waits and leaves nothing
// running.
func TestClose(t *testing.T) {
	x, y := linkPair(t, bytesConfig{})
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := x.Recv(noContext); !errors.Is(err, link.ErrClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Recv that waits: %v, want ErrClosed", err)
		}
	})
	must(t, x.Send(noContext, []byte("flushed")))
	work.Go(func() { must(t, x.Close()) })
	work.Wait()
	must(t, x.Close())
	for name, err := range map[string]error{"Send": x.Send(noContext, nil), "Err": x.Err()} {
		if !errors.Is(err, link.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if v, err := y.Recv(noContext); string(v) != "flushed" || err != nil {
		t.Errorf("received %q, %v", v, err)
	}
	if _, err := y.Recv(noContext); err != io.EOF {
		t.Errorf("the other side: %v, want io.EOF", err)
	}
	x, y = linkPair(t, bytesConfig{})
	why := errors.New("why")
	x.Abort(why)
	if _, err := x.Recv(noContext); err != why {
		t.Errorf("after Abort: %v, want its cause", err)
	}
	if err := x.Close(); err != why {
		t.Errorf("Close after Abort: %v, want its cause", err)
	}
	must(t, y.Close())
}

// A stream that ends within a frame, or says what is no frame, is no clean
// close.
func TestBrokenFrames(t *testing.T) {
	for name, wire := range map[string]string{"cut": "\x00\x00\x00\x05abc", "too large": "\xff\xff\xff\xff"} {
		a, b := tcpPair(t)
		y, err := link.New(noContext, b, false, bytesConfig{})
		must(t, err)
		_, err = io.WriteString(a, wire)
		must(t, err)
		must(t, a.Close())
		want := map[string]error{"cut": io.ErrUnexpectedEOF, "too large": link.ErrTooLarge}[name]
		if _, err := y.Recv(noContext); !errors.Is(err, want) || y.Err() == nil {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		_ = y.Close()
	}
}

// Large messages go from where they are, also while small ones do from the
// buffer, in the order of each sender.
func TestLargeMessages(t *testing.T) {
	x, y := linkPair(t, bytesConfig{})
	var work sync.WaitGroup
	const senders, each = 3, 60
	for s := range senders {
		work.Go(func() {
			for i := range each {
				p := bytes.Repeat([]byte{byte(s), byte(i)}, 1+i%3*20000)
				must(t, x.Send(noContext, p))
				clear(p) // it is the sender's again
			}
		})
	}
	next := make([]int, senders)
	for range senders * each {
		v, err := y.Recv(noContext)
		must(t, err)
		s := v[0]
		if want := bytes.Repeat([]byte{s, byte(next[s])}, 1+next[s]%3*20000); !bytes.Equal(v, want) {
			t.Fatalf("sender %d: %d bytes, want message %d of %d", s, len(v), next[s], len(want))
		}
		next[s]++
	}
	work.Wait()
}
