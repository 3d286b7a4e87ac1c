package batch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/internal/batch"
)

// A gate is a stream that takes what it is let take.
type gate struct {
	mu    sync.Mutex
	got   bytes.Buffer
	calls int
	pass  chan error // one for each call of Write
}

func newGate() *gate { return &gate{pass: make(chan error, 100)} }

func (g *gate) Write(p []byte) (int, error) {
	err := <-g.pass
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	if err != nil {
		return len(p) / 2, err
	}
	return g.got.Write(p)
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.String()
}

// What comes while the stream is busy leaves in one Write, in order.
func TestWriterGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		w := batch.New(g, batch.Config{})
		must(t, w.Append([]byte("a")))
		synctest.Wait() // "a" is on its way
		must(t, w.Append([]byte("b")))
		must(t, w.AppendFunc(func(dst []byte) ([]byte, error) { return append(dst, "cc"...), nil }, nil))
		must(t, w.AppendRef([]byte("d"), []byte("ee"), nil))
		if frames, size := w.Pending(); frames != 3 || size != 6 {
			t.Errorf("%d frames of %d bytes wait, want 3 of 6", frames, size)
		}
		g.pass <- nil
		g.pass <- nil
		must(t, w.Flush(t.Context()))
		if got, want := g.text(), "abccdee"; got != want || g.calls != 2 {
			t.Errorf("%d writes of %q, want 2 of %q", g.calls, got, want)
		}
		if s := w.Stats(); s != (batch.Stats{Frames: 4, Bytes: 7, Batches: 2}) {
			t.Errorf("stats %+v", s)
		}
		synctest.Wait()
		if w.Holds() {
			t.Error("an idle writer holds a buffer or a goroutine")
		}
	})
}

// Bytes and frames are bounded, and who waits for room is woken, all of them.
func TestWriterBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		c    batch.Config
		take int // frames of 10 bytes that wait
	}{
		{"bytes", batch.Config{MaxBytes: 25}, 3},
		{"frames", batch.Config{MaxFrames: 2}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				w := batch.New(g, c.c)
				frame := []byte("0123456789")
				must(t, w.Append(frame))
				synctest.Wait()
				for range c.take {
					must(t, w.Append(frame))
				}
				if err := w.Append(frame); err != batch.ErrFull {
					t.Errorf("one too many: %v, want %v", err, batch.ErrFull)
				}
				gone, cancel := context.WithCancelCause(t.Context())
				why := errors.New("why")
				cancel(why)
				if err := w.WaitRoom(gone); err != why {
					t.Errorf("waiting under a context that has ended: %v, want its cause", err)
				}
				var work sync.WaitGroup
				for range 10 {
					work.Go(func() {
						for w.Append(frame) == batch.ErrFull {
							if err := w.WaitRoom(context.Background()); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				synctest.Wait()
				for range 100 {
					g.pass <- nil
				}
				work.Wait()
				must(t, w.Flush(t.Context()))
				if got, want := len(g.text()), 10*(1+c.take+10); got != want {
					t.Errorf("%d bytes arrived, want %d", got, want)
				}
			})
		})
	}
}

// An encoder that fails, panics or does not append leaves nothing behind.
func TestWriterEncoderFails(t *testing.T) {
	var out bytes.Buffer
	w := batch.New(&out, batch.Config{})
	bad := errors.New("bad")
	if err := w.AppendFunc(func(dst []byte) ([]byte, error) { return append(dst, "x"...), bad }, nil); err != bad {
		t.Errorf("got %v, want the encoder's error", err)
	}
	if w.Holds() {
		t.Error("a buffer is left behind")
	}
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic is swallowed")
			}
		}()
		_ = w.AppendFunc(func(dst []byte) ([]byte, error) { panic("boom") }, nil)
	}()
	must(t, w.Append([]byte("abc")))
	err := w.AppendFunc(func(dst []byte) ([]byte, error) { return nil, nil }, nil)
	if frames, _ := w.Pending(); err == nil && frames > 0 {
		t.Error("an encoder took away what was there")
	}
	must(t, w.Append([]byte("d")))
	must(t, w.Close(t.Context()))
	if out.String() != "abcd" {
		t.Errorf("%q arrived, want %q", out.String(), "abcd")
	}
	if err := w.Append(nil); err != batch.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// The first error of the stream sticks; every completion is called once, in
// order: nil before, the error from there on.
func TestWriterFailsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		w := batch.New(g, batch.Config{MaxFrames: 50})
		broken := errors.New("broken")
		var ends []error
		var order []int
		send := func(i int) error {
			return w.AppendRef([]byte{byte(i)}, nil, func(err error) { order, ends = append(order, i), append(ends, err) })
		}
		must(t, send(0))
		synctest.Wait()
		for i := 1; i <= 10; i++ {
			must(t, send(i))
		}
		g.pass <- nil
		synctest.Wait() // 1 to 10 are on their way
		for i := 11; i <= 60; i++ {
			must(t, send(i))
		}
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() {
				if err := w.WaitRoom(context.Background()); err != broken {
					t.Errorf("who waited for room got %v, want %v", err, broken)
				}
			})
		}
		synctest.Wait()
		g.pass <- broken
		work.Wait()
		if err := w.Flush(t.Context()); err != broken {
			t.Errorf("Flush: %v, want %v", err, broken)
		}
		if err := send(99); err != broken {
			t.Errorf("append afterwards: %v, want %v", err, broken)
		}
		if len(order) != 61 {
			t.Fatalf("%d completions, want 61", len(order))
		}
		for i := range order {
			if want := map[bool]error{true: broken}[i > 0]; order[i] != i || ends[i] != want {
				t.Fatalf("completion %d is of frame %d: %v, want %v", i, order[i], ends[i], want)
			}
		}
		if s := w.Stats(); s.Frames != 1 {
			t.Errorf("%d frames count as written, want 1", s.Frames)
		}
	})
}

// Writes that block end with the time-out, with Close's context, with Drop.
func TestWriterStuck(t *testing.T) {
	for _, c := range []struct {
		name    string
		timeout time.Duration
		end     func(*batch.Writer) error
		want    error
		after   time.Duration
	}{
		{"timeout", 3 * time.Second, func(w *batch.Writer) error { return w.Flush(context.Background()) }, os.ErrDeadlineExceeded, 3 * time.Second},
		{"close", time.Hour, func(w *batch.Writer) error {
			ctx, stop := context.WithTimeout(context.Background(), time.Second)
			defer stop()
			return w.Close(ctx)
		}, context.DeadlineExceeded, time.Second},
		{"drop", 0, func(w *batch.Writer) error { w.Drop(io.ErrClosedPipe); return w.Flush(context.Background()) }, io.ErrClosedPipe, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, y := net.Pipe() // nobody reads
				defer x.Close()
				defer y.Close()
				start := time.Now()
				w := batch.New(x, batch.Config{WriteTimeout: c.timeout})
				ended := make(chan error, 2)
				for range 2 {
					must(t, w.AppendRef([]byte("x"), nil, func(err error) { ended <- err }))
				}
				synctest.Wait()
				if err := c.end(w); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				for range 2 {
					if err := <-ended; !errors.Is(err, c.want) {
						t.Errorf("completion: %v, want %v", err, c.want)
					}
				}
				if d := time.Since(start); d != c.after {
					t.Errorf("it took %v, want %v", d, c.after)
				}
			})
		})
	}
}

// Frames of all sizes by every way of appending arrive whole and in each
// sender's order, through a socket that takes little at a time.
func TestWriterOverTCP(t *testing.T) {
	x, y := pair(t)
	_ = x.(*net.TCPConn).SetWriteBuffer(16 << 10)
	w := batch.New(x, batch.Config{MaxBytes: 64 << 10})
	const senders, each = 4, 200
	var done sync.WaitGroup
	done.Add(senders * each * 3 / 4)
	var work sync.WaitGroup
	for s := range senders {
		work.Go(func() {
			for i := range each {
				size := 8 + (i*7919+s)%(20<<10)
				p := make([]byte, size)
				binary.BigEndian.PutUint32(p, uint32(size))
				p[4], p[5], p[6] = byte(s), byte(i>>8), byte(i)
				send := func() error { return w.AppendRef(p[:7], p[7:], func(error) { done.Done() }) }
				switch i % 4 {
				case 0:
					send = func() error { return w.WriteThrough(p[:7], p[7:]) }
				case 1:
					send = func() error {
						return w.AppendFunc(func(dst []byte) ([]byte, error) { return append(dst, p...), nil }, func(error) { done.Done() })
					}
				}
				for {
					err := send()
					if err == batch.ErrFull {
						err = w.WaitRoom(context.Background())
					} else if err == nil {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	next := make([]int, senders)
	r := batch.NewReader(y)
	for left := senders * each; left > 0; {
		p := r.Bytes()
		need := 8
		if len(p) >= need {
			need = int(binary.BigEndian.Uint32(p))
		}
		if len(p) < need {
			if err := r.Fill(need); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if s, i := int(p[4]), int(p[5])<<8|int(p[6]); next[s] != i || need != 8+(i*7919+s)%(20<<10) {
			t.Fatalf("sender %d: frame %d of %d bytes, want frame %d", s, i, need, next[s])
		}
		next[p[4]]++
		r.Discard(need)
		left--
	}
	work.Wait()
	done.Wait()
	if s := w.Stats(); s.Frames != senders*each {
		t.Errorf("%d frames counted, want %d", s.Frames, senders*each)
	}
}

// On a stream that cannot gather, what is not large leaves in one Write, also by
// WriteThrough.
func TestWriterJoins(t *testing.T) {
	g := newGate()
	w := batch.New(g, batch.Config{})
	for i, size := range []int{100, 20 << 10, 100 << 10} {
		g.pass <- nil
		g.pass <- nil
		must(t, w.WriteThrough([]byte("head"), make([]byte, size)))
		if want := i + 1 + i/2; g.calls != want { // the last one takes two
			t.Errorf("%d bytes: %d writes in all, want %d", size, g.calls, want)
		}
	}
	if got, want := len(g.text()), 3*4+100+(120<<10); got != want {
		t.Errorf("%d bytes arrived, want %d", got, want)
	}
	for range cap(g.pass) - len(g.pass) {
		g.pass <- io.ErrShortWrite
	}
	for range cap(g.pass) { // the first ones pass
		if err := w.WriteThrough(nil, []byte("x")); err != nil {
			if err != io.ErrShortWrite {
				t.Errorf("got %v", err)
			}
			return
		}
	}
	t.Error("a stream that fails is not told of")
}

func TestWriterAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := batch.New(io.Discard, batch.Config{})
	p, big := make([]byte, 256), make([]byte, 100<<10)
	done := func(error) {}
	if n := testing.AllocsPerRun(1000, func() {
		_ = w.Append(p)
		_ = w.AppendRef(p, big, done)
		_ = w.AppendFunc(func(dst []byte) ([]byte, error) { return append(dst, p...), nil }, done)
		_ = w.Flush(context.Background())
	}); n > 1 { // the channel of Flush
		t.Errorf("%v allocations for 3 frames and a Flush, want at most 1", n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
