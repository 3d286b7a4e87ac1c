package batch_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/plexus-net/plexus/internal/batch"
)

// However the stream is cut, the bytes are the same.
func TestReaderCuts(t *testing.T) {
	want := make([]byte, 300<<10)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range want {
		want[i] = byte(rnd.Uint32())
	}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "with EOF": iotest.DataErrReader, "bytes": iotest.OneByteReader,
	} {
		t.Run(name, func(t *testing.T) {
			r := batch.NewReader(cut(bytes.NewReader(want)))
			var got []byte
			for {
				n := min(len(r.Bytes()), rnd.IntN(5000))
				got = append(got, r.Bytes()[:n]...)
				r.Discard(n)
				if rnd.IntN(4) > 0 {
					continue
				}
				if err := r.Fill(rnd.IntN(100 << 10)); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if got = append(got, r.Bytes()...); !bytes.Equal(got, want) {
				t.Errorf("%d bytes, want the %d that were sent", len(got), len(want))
			}
			r.Release()
		})
	}
}

// What a frame claims to need takes memory only as it arrives.
func TestReaderTrustsNoClaim(t *testing.T) {
	for range 3 { // what pools still have may be larger
		runtime.GC()
	}
	r := batch.NewReader(iotest.OneByteReader(bytes.NewReader(make([]byte, 100))))
	for r.Fill(1<<30) == nil {
	}
	if got := r.Cap(); got > 128<<10 {
		t.Errorf("a buffer of %d bytes for a claim of 1 GiB and 100 bytes, want at most 128 KiB", got)
	}
}

// On a socket, reading without waiting and spinning work, deadlines hold, and
// who waits has no buffer.
func TestReaderOnSocket(t *testing.T) {
	x, y := pair(t)
	r := batch.NewReader(y)
	if !r.CanTry() {
		if err := r.TryFill(1); err != batch.ErrCannotTry {
			t.Errorf("got %v, want %v", err, batch.ErrCannotTry)
		}
		t.Skip("this system does not let us read descriptors ourselves")
	}
	if err := r.TryFill(1); err != batch.ErrNotBuffered {
		t.Errorf("got %v, want %v", err, batch.ErrNotBuffered)
	}
	must(t, y.SetReadDeadline(time.Unix(1, 0)))
	var timeout net.Error
	if err := r.FillSpinning(1, time.Hour); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a time-out", err)
	}
	r.Release()
	must(t, y.SetReadDeadline(time.Time{}))
	for _, fill := range []func() error{
		func() error { return r.Fill(1) },
		func() error { return r.FillSpinning(1, time.Microsecond) },
		func() error { return r.FillSpinning(1, time.Hour) },
	} {
		done := make(chan error)
		go func() { done <- fill() }()
		_, err := x.Write([]byte("abc"))
		must(t, err)
		must(t, <-done)
		if string(r.Bytes()) != "abc" {
			t.Errorf("read %q", r.Bytes())
		}
		r.Discard(3)
	}
	must(t, y.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if err := r.Fill(1); !errors.As(err, &timeout) || r.Cap() != 0 {
		t.Errorf("after waiting: %v and a buffer of %d bytes, want a time-out and none", err, r.Cap())
	}
	x.Close()
	must(t, y.SetReadDeadline(time.Time{}))
	if err := r.Fill(1); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

// FillSpinning looks for as long as it is told, to within eight looks, and no
// longer, and then falls back to being woken.
func TestReaderSpinsForAWhile(t *testing.T) {
	_, y := pair(t)
	r := batch.NewReader(y)
	if !r.CanTry() {
		t.Skip("this system does not let us read descriptors ourselves")
	}
	var asked time.Duration
	start := time.Now()
	r.SetClock(func() time.Time { // a microsecond passes from one time to the next
		defer func() { asked++ }()
		return start.Add(asked * time.Microsecond)
	})
	for _, c := range []struct {
		spin time.Duration
		want uint64 // looks in vain
	}{{0, 1}, {1, 9}, {time.Microsecond, 9}, {10 * time.Microsecond, 81}} {
		before := r.Polls()
		must(t, y.SetReadDeadline(time.Time{}))
		done := make(chan error)
		go func() { done <- r.FillSpinning(1, c.spin) }()
		for patience := time.Now().Add(10 * time.Second); r.Polls() < before+c.want && time.Now().Before(patience); {
			runtime.Gosched()
		}
		must(t, y.SetReadDeadline(time.Now().Add(5*time.Millisecond))) // one that still looks goes on for that long
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if got := r.Polls() - before; got != c.want {
			t.Errorf("for %v it looked %d times, want %d", c.spin, got, c.want)
		}
	}
}
