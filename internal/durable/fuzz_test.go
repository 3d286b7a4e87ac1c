package durable

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// A clockless environment has no timers: what fuzzing looks at is bytes.
type clockless struct{ env.Real }

type never struct{}

func (never) Stop() bool { return true }

func (clockless) AfterFunc(time.Duration, func()) env.Timer { return never{} }
func (clockless) Go(f func())                               { f() }

// A sink is a carrier that feeds its owner, and whose writes go nowhere.
type sink struct {
	feed   func([]byte, error)
	closed bool
	wrote  int
}

func (s *sink) Feed(f func([]byte, error))  { s.feed = f }
func (s *sink) Read([]byte) (int, error)    { return 0, io.EOF }
func (s *sink) Close(error) error           { s.closed = true; return nil }
func (s *sink) Write(p []byte) (int, error) { s.wrote += len(p); return len(p), nil }

// FuzzCarrier feeds a channel with whatever a peer may send, cut in pieces in
// whatever way: what it delivers does not depend on the pieces, it never panics,
// and holds no more than a window.
func FuzzCarrier(f *testing.F) {
	start := appendNumber(nil, typeStart, 1)
	f.Add(start, uint16(1), false)
	f.Add(frame(frame(start, typeData, []byte("one")), typeUrgent, []byte("two")), uint16(3), true)
	f.Add(frame(start, typeClose, []byte("bye")), uint16(7), true)
	f.Add(appendEmpty(appendNumber(start, typeAck, 3), typePing), uint16(2), false)
	f.Add(appendNumber(start, typeAck, 1<<60), uint16(50), false)
	f.Add(frame(start, typeData, make([]byte, 9000)), uint16(1000), false)
	f.Add(bytes.Repeat(frame(nil, 99, nil), 50), uint16(5), true)
	f.Fuzz(func(t *testing.T, in []byte, piece uint16, hold bool) {
		whole := feed(t, in, len(in), hold)
		split := feed(t, in, int(piece), hold)
		if hold && bytes.HasPrefix(whole, split) {
			return // the more pieces, the sooner it is seen that too much has come
		}
		if !bytes.Equal(whole, split) {
			t.Errorf("in pieces of %d bytes %q was delivered, at once %q", piece, split, whole)
		}
	})
}

// feed returns what is delivered, each message behind its length.
func feed(t *testing.T, in []byte, piece int, hold bool) (out []byte) {
	held := 0
	c := New(Config{Env: clockless{}, Buffer: 64 << 10, Window: 2 << 10, MaxMessage: 1 << 10, AckDelay: 1, Probe: 1, Patience: 1,
		Deliver: func(p []byte, _ bool) bool {
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(p))), p...)
			held += header + len(p)
			return hold
		}})
	for n := range uint64(3) {
		if err := c.TrySend(message(n, 0), false); err != nil {
			t.Fatal(err)
		}
	}
	s := &sink{}
	if err := c.Attach(s, stranger(1, Epoch{}, 0), 1, nil); err != nil {
		t.Fatal(err)
	}
	for piece = max(piece, 1); len(in) > 0 && !s.closed; {
		n := min(piece, len(in))
		s.feed(append([]byte(nil), in[:n]...), nil)
		in = in[n:]
		if hold && held > c.most()+n+header+c.cfg.MaxMessage {
			t.Fatalf("%d bytes are held, the window is %d", held, c.cfg.Window)
		}
		if n := len(c.control); n > 1<<10 {
			t.Fatalf("%d bytes of control frames wait", n)
		}
	}
	if counts := c.Counts(); counts.Waiting > 3 || counts.Waiting < 0 {
		t.Errorf("%+v", counts)
	}
	c.End(io.EOF)
	return out
}

// FuzzOffer reads offers: those that are read are written in the same way.
func FuzzOffer(f *testing.F) {
	f.Add(AppendOffer(nil, Offer{Epoch: Epoch{1}, Peer: Epoch{2}, Taken: 3, Window: 4, MaxMessage: 5}))
	f.Add(make([]byte, OfferSize))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOffer(b)
		if err != nil {
			return
		}
		if again := AppendOffer(nil, o); !bytes.Equal(again, b[:OfferSize]) {
			t.Errorf("%x is read as %+v and written as %x", b, o, again)
		}
	})
}

// FuzzAttachFrame reads what moves a channel.
func FuzzAttachFrame(f *testing.F) {
	f.Add(AppendAttach(nil, 1))
	f.Add(AppendAttach(nil, 0))
	f.Add(appendNumber(nil, typeStart, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseAttach(b)
		if err != nil {
			return
		}
		if again := AppendAttach(nil, n); n == 0 || !bytes.Equal(again, b[:AttachFrame]) {
			t.Errorf("%x is read as %d and written as %x", b, n, again)
		}
	})
}

// FuzzAttach attaches a channel that is in the middle of something to whatever
// the other end may offer. It neither panics nor takes back what was acked.
func FuzzAttach(f *testing.F) {
	f.Add(byte(1), true, uint64(0), uint32(100), uint64(1))
	f.Add(byte(1), true, uint64(2), uint32(0), uint64(2))
	f.Add(byte(1), true, uint64(1<<63), uint32(1<<31), uint64(3))
	f.Add(byte(2), false, uint64(9), uint32(1<<32-1), uint64(0))
	f.Fuzz(func(t *testing.T, epoch byte, knows bool, taken uint64, window uint32, number uint64) {
		c := New(Config{Env: clockless{}, Buffer: 64 << 10, Window: 2 << 10, MaxMessage: 1 << 10, AckDelay: 1, Probe: 1, Patience: 1,
			Deliver: func([]byte, bool) bool { return false }})
		first := &sink{}
		if err := c.Attach(first, stranger(1, Epoch{}, 0), 1, nil); err != nil {
			t.Fatal(err)
		}
		for n := range uint64(5) {
			if err := c.TrySend(message(n, 100), false); err != nil {
				t.Fatal(err)
			}
		}
		first.feed(append(appendNumber(nil, typeStart, 1), appendNumber(nil, typeAck, 2)...), nil)
		theirs := Offer{Epoch: Epoch{epoch}, Taken: taken, Window: window, MaxMessage: 1 << 10}
		if knows {
			theirs.Peer = c.Epoch()
		}
		before := c.Counts()
		second := &sink{}
		if err := c.Attach(second, theirs, number, nil); err != nil {
			if after := c.Counts(); after != before || first.closed {
				t.Errorf("Attach = %v, and has changed %+v to %+v", err, before, after)
			}
			return
		}
		if after := c.Counts(); after.Restarts == 0 && after.Waiting > before.Waiting || after.Waiting+int(after.Unknown) > before.Waiting {
			t.Errorf("Attach to %+v made %+v of %+v", theirs, after, before)
		}
		c.End(io.EOF)
	})
}

// What a peer claims takes no memory before it is there.
func TestClaimsTakeNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		in := append(appendNumber(nil, typeStart, 1), 0, 4, 0, typeData) // a message of 1 KiB: nothing comes
		feed(t, in, len(in), true)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / 100; n > 64<<10 {
		t.Errorf("a claim has taken %d bytes", n)
	}
}

// FuzzRestore takes up a life from whatever a journal has: it is refused, or what is
// saved at once can be taken up again, with the same messages.
func FuzzRestore(f *testing.F) {
	fresh := New(Config{Env: clockless{}, Save: func(state []byte, _ int, _ [][]byte) error {
		f.Add(append([]byte(nil), state...), uint8(0))
		state[25], state[len(state)-1] = 1, 3 // has met somebody, who took three
		f.Add(append([]byte(nil), state...), uint8(2))
		for i := 1; i <= 8; i++ {
			state[len(state)-i] = 0xff // one is of unknown fate
		}
		f.Add(state, uint8(2))
		return nil
	}})
	if _, err := fresh.Restore(Kept{}); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, state []byte, messages uint8) {
		kept := Kept{State: state}
		for n := range messages {
			kept.Messages = append(kept.Messages, []byte{n})
		}
		drops := 0
		cfg := Config{Env: clockless{}, Buffer: 1 << 10, MaxMessage: 64, Save: func(state []byte, drop int, add [][]byte) error {
			kept.State = append([]byte(nil), state...)
			drops += drop + len(add)
			return nil
		}}
		c := New(cfg)
		unknown, err := c.Restore(kept)
		if err != nil || c.ledger.lives == math.MaxUint32 { // the last life that is counted
			return
		}
		if n := int(c.out.last-c.out.acked) + len(unknown); n != int(messages) || drops != 0 {
			t.Fatalf("%d of %d messages are there, %d were dropped or added", n, messages, drops)
		}
		again := New(cfg)
		more, err := again.Restore(kept)
		if err != nil || again.Offer() != c.Offer() || len(more) != len(unknown) || again.ledger.lives != c.ledger.lives+1 {
			t.Fatalf("what was saved is taken up as %+v of life %d with %d unknown, %v; want %+v of life %d with %d", again.Offer(), again.ledger.lives, len(more), err, c.Offer(), c.ledger.lives+1, len(unknown))
		}
	})
}
