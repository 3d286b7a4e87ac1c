package durable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
)

// A tape is a carrier that brings what it is told, in the pieces that it is told,
// and keeps what is written to it.
type tape struct {
	in     chan []byte
	rest   []byte
	closed chan struct{}

	mu    sync.Mutex // guards what follows
	wrote bytes.Buffer
	cause error
}

func newTape() *tape { return &tape{in: make(chan []byte, 1), closed: make(chan struct{})} }

func (t *tape) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		select {
		case t.rest = <-t.in:
		case <-t.closed:
			return 0, io.ErrClosedPipe
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		return 0, t.cause
	}
	return t.wrote.Write(p)
}

func (t *tape) Close(cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause == nil {
		t.cause = cause
		close(t.closed)
	}
	return nil
}

// frames returns what was written, by types; for those with a number, the last.
func (t *tape) frames() map[byte]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := map[byte]uint64{}
	for b := t.wrote.Bytes(); len(b) >= header; {
		k, n := parseHeader(b)
		last[k] = 0
		if n == 8 {
			last[k] = binary.BigEndian.Uint64(b[header:])
		}
		b = b[header+n:]
	}
	return last
}

// A stranger is what a channel thinks that its other end is.
func stranger(b byte, knows Epoch, taken uint64) Offer {
	return Offer{Epoch: Epoch{b}, Peer: knows, Taken: taken, Window: 1 << 20, MaxMessage: 8 << 10}
}

func frame(b []byte, t byte, body []byte) []byte {
	b = append(b, 0, 0, 0, 0)
	putHeader(b[len(b)-header:], t, len(body))
	return append(b, body...)
}

// What was delivered counts although the carrier is lost in the middle of a
// batch: the other end hears that it was consumed.
func TestLostInTheMiddleOfABatch(t *testing.T) {
	for _, hold := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var ch *Channel
			delivered := 0
			ch = newEnd(func(c *Config) {
				c.Deliver = func([]byte, bool) bool {
					if delivered++; delivered == 2 {
						ch.Detach(errors.New("the writer has failed"))
					}
					return hold
				}
			}).Channel
			first := newTape()
			if err := ch.Attach(first, stranger(1, Epoch{}, 0), 1, nil); err != nil {
				t.Fatal(err)
			}
			b := appendNumber(nil, typeStart, 1)
			for n := range uint64(3) {
				b = frame(b, typeData, message(n+1, 0))
			}
			first.in <- b
			synctest.Wait()
			if c := ch.Counts(); delivered != 2 || c.Received != 2 || hold && c.Held != 2 {
				t.Fatalf("hold %t: %d delivered, %+v", hold, delivered, c)
			}
			if hold {
				ch.Consumed(2, 16, false)
				if c := ch.Counts(); c.Held != 0 {
					t.Errorf("%+v", c)
				}
			}
			second := newTape()
			if err := ch.Attach(second, stranger(1, ch.Epoch(), 0), 2, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := second.frames()[typeAck]; got != 2 {
				t.Errorf("hold %t: the other end is told that %d were consumed, want 2", hold, got)
			}
			ch.End(io.EOF)
		})
	}
}

// A peer that sends more than its window is cut off, and so is one that starts
// anew again and again while nothing is consumed.
func TestWindowIsEnforced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		e.hold = true
		met := 0
		for life := range byte(100) {
			k := newTape()
			err := e.Attach(k, stranger(life+1, Epoch{}, 0), 1, nil)
			if err != nil {
				if !errors.Is(err, errStaleFull) {
					t.Error(err)
				}
				break
			}
			met++
			k.in <- appendNumber(nil, typeStart, 1)
			for n := uint64(1); e.On() != nil; n++ {
				if n > 100 {
					t.Fatal("a peer may send without bound")
				}
				select {
				case k.in <- frame(nil, typeData, message(n, 4000)):
				case <-k.closed:
				}
				synctest.Wait()
			}
			if !errors.Is(e.lost[len(e.lost)-1], ErrProtocol) {
				t.Errorf("the carrier was lost by %v", e.lost)
			}
		}
		if n := len(e.got); met > 2*staleWindows || n > 10*staleWindows {
			t.Errorf("%d lives were met, %d messages of 4000 bytes wait; the window is 16 KiB", met, n)
		}
		e.Consumed(len(e.got), 4000*len(e.got), false)
		if c := e.Counts(); c.Held != 0 || e.staleBytes+e.heldBytes != 0 {
			t.Errorf("all was consumed, and %+v, %d + %d bytes", c, e.staleBytes, e.heldBytes)
		}
		if err := e.Attach(newTape(), stranger(200, Epoch{}, 0), 1, nil); err != nil {
			t.Error(err)
		}
		e.End(io.EOF)
	})
}

// Probes that nobody reads the answers of take no memory.
func TestPingsAreAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		k := newTape()
		block := make(chan struct{})
		e.SpawnWith(func(write func()) { go func() { <-block; write() }() })
		if err := e.Attach(k, stranger(1, Epoch{}, 0), 1, nil); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			k.in <- appendEmpty(nil, typePing)
		}
		synctest.Wait()
		if n := len(e.control); n > 100 {
			t.Errorf("%d bytes of answers wait", n)
		}
		close(block)
		synctest.Wait()
		if _, ok := k.frames()[typePong]; !ok {
			t.Error("no answer was sent")
		}
		e.End(io.EOF)
	})
}

// Await tells lives of the other end apart even if it met none when the message
// was sent; and what was consumed stays so when the channel ends.
func TestAwaitAcrossLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		if err := e.Send(t.Context(), message(1, 0), true); err != nil {
			t.Fatal(err)
		}
		number, peer := e.Last()
		for life := range byte(2) {
			if err := e.Attach(newTape(), stranger(life+1, Epoch{}, 0), 1, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := e.Await(t.Context(), number, peer); err != ErrRestarted {
			t.Errorf("Await = %v, want ErrRestarted", err)
		}
		k := newTape()
		if err := e.Attach(k, stranger(2, e.Epoch(), 0), 2, nil); err != nil {
			t.Fatal(err)
		}
		e.Send(t.Context(), message(2, 0), true)
		number, peer = e.Last()
		synctest.Wait()
		k.in <- append(appendNumber(nil, typeStart, 1), appendNumber(nil, typeAck, number)...)
		synctest.Wait()
		e.End(io.EOF)
		if err := e.Await(t.Context(), number, peer); err != nil {
			t.Errorf("Await of a message that was consumed before the end = %v", err)
		}
		if err := e.Await(t.Context(), number+1, peer); err != io.EOF {
			t.Errorf("Await of one that was not = %v", err)
		}
	})
}

// told returns the messages that were written, by the numbers that the other end
// takes them for.
func (t *tape) told() map[uint64]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	said, next := map[uint64]uint64{}, uint64(0)
	for b := t.wrote.Bytes(); len(b) >= header; {
		k, n := parseHeader(b)
		switch k {
		case typeStart:
			next = binary.BigEndian.Uint64(b[header:])
		case typeData:
			said[next] = binary.BigEndian.Uint64(b[header:])
			next++
		}
		b = b[header+n:]
	}
	return said
}

// The other end may have got more on the earlier carrier than it has offered on
// the new one, and say so at any time. What it knows already is left out, and it
// is told so.
func TestLateNewsOfTheFormerCarrier(t *testing.T) {
	for _, window := range []uint32{1, 1 << 20} { // some of it was sent again; nothing was
		synctest.Test(t, func(t *testing.T) {
			e := newEnd(nil)
			if err := e.Attach(newTape(), stranger(1, Epoch{}, 0), 1, nil); err != nil {
				t.Fatal(err)
			}
			for n := range uint64(10) {
				e.TrySend(message(n+1, 5000), false) // with a window of 1, each comes alone
			}
			synctest.Wait()
			block := make(chan struct{})
			if window > 1 {
				e.SpawnWith(func(write func()) { go func() { <-block; write() }() })
			}
			k := newTape()
			offer := stranger(1, e.Epoch(), 0)
			offer.Window = window
			if err := e.Attach(k, offer, 2, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, n := range []uint64{5, 6, 8} {
				k.in <- appendNumber(nil, typeAck, n)
				synctest.Wait()
			}
			close(block)
			synctest.Wait()
			said := k.told()
			for as, n := range said {
				if as != n {
					t.Errorf("window %d: message %d was sent as number %d", window, n, as)
				}
			}
			if window == 1 && len(said) != 4 || window > 1 && len(said) != 2 || said[9] == 0 {
				t.Errorf("window %d: sent again were %v", window, said)
			}
			e.End(io.EOF)
		})
	}
}

// An end that gets the news late, the other way round: it skips what it has.
func TestStartLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		for carrier, in := range [][]byte{
			append(appendNumber(nil, typeStart, 1), bytes.Join([][]byte{frame(nil, typeData, message(1, 0)), frame(nil, typeData, message(2, 0)), frame(nil, typeData, message(3, 0))}, nil)...),
			bytes.Join([][]byte{appendNumber(nil, typeStart, 1), frame(nil, typeData, message(1, 0)), appendNumber(nil, typeStart, 3), frame(nil, typeData, message(3, 0)), frame(nil, typeData, message(4, 0))}, nil),
		} {
			k := newTape()
			if err := e.Attach(k, stranger(1, e.Epoch(), 0), uint64(carrier+1), nil); err != nil {
				t.Fatal(err)
			}
			k.in <- in
			synctest.Wait()
		}
		e.wantInOrder(t, 4)
		for _, n := range []uint64{0, 4, 6} { // backwards, and over what has not come
			k := newTape()
			if err := e.Attach(k, stranger(1, e.Epoch(), 0), n+10, nil); err != nil {
				t.Fatal(err)
			}
			k.in <- append(appendNumber(nil, typeStart, 5), appendNumber(nil, typeStart, n)...)
			synctest.Wait()
			if e.On() != nil || !errors.Is(e.lost[len(e.lost)-1], ErrProtocol) {
				t.Errorf("start at %d behind 4 messages was taken", n)
			}
		}
		e.End(io.EOF)
	})
}

// What a life of the other end has said that has ended since may come after what
// its next life has said. It is not believed, and the next life is not shut out.
func TestLateWordsOfAFormerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		first := e.Offer()
		if err := e.AttachAfter(first, newTape(), stranger(1, Epoch{}, 0), 1, nil); err != nil {
			t.Fatal(err)
		}
		e.TrySend(message(1, 0), false)
		synctest.Wait()
		late, mine := e.Offer(), e.Offer()
		if err := e.AttachAfter(mine, newTape(), stranger(3, Epoch{}, 0), 1, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, mine := range []Offer{late, first} {
			if err := e.AttachAfter(mine, newTape(), stranger(2, Epoch{}, 0), 1, nil); err != ErrStale {
				t.Errorf("a life that has ended before this one began: %v, want ErrStale", err)
			}
		}
		if err := e.AttachAfter(e.Offer(), newTape(), stranger(3, e.Epoch(), 0), 2, nil); err != nil {
			t.Errorf("the life that lives is shut out: %v", err)
		}
		if err := e.AttachAfter(late, newTape(), stranger(3, e.Epoch(), 0), 3, nil); err != nil {
			t.Errorf("a connection of the same life, begun before it was known: %v", err)
		}
		if c := e.Counts(); c.Restarts != 1 || len(e.restarts) != 1 {
			t.Errorf("%+v", c)
		}
		if err := e.AttachAfter(e.Offer(), newTape(), stranger(4, Epoch{}, 0), 1, nil); err != nil {
			t.Errorf("the next life: %v", err)
		}
		e.End(io.EOF)
	})
}

// Nothing comes behind the end, and a new life of the other end does not meet a
// channel that its former one has closed.
func TestNothingBehindTheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		k := newTape()
		if err := e.Attach(k, stranger(1, Epoch{}, 0), 1, nil); err != nil {
			t.Fatal(err)
		}
		k.in <- frame(frame(appendNumber(nil, typeStart, 1), typeData, message(1, 0)), typeClose, []byte("bye"))
		synctest.Wait()
		k.in <- frame(nil, typeData, message(2, 0))
		synctest.Wait()
		e.wantInOrder(t, 1)
		if err := e.Attach(newTape(), stranger(2, Epoch{}, 0), 1, nil); err == nil || e.Err() == nil {
			t.Errorf("Attach = %v, and the channel has ended with %v", err, e.Err())
		}
		if len(e.restarts) != 0 || len(e.reasons) != 1 {
			t.Errorf("it was told of %v, and of %q", e.restarts, e.reasons)
		}
	})
}
