package conntest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
)

var streamTests = []test{
	{"identities", "both ends know the node ID that the other has proven, and the addresses of both sockets", testIdentities},
	{"order", "bytes arrive once and in order, however they are cut into writes and reads", testOrder},
	{"both directions", "neither direction waits for the other, and the side that was dialled may speak first", testBoth},
	{"large writes", "one Write may be of any length", testLarge},
	{"empty writes", "an empty Write does nothing", testEmpty},
	{"back-pressure", "a peer that does not read stops the writer: what waits is bounded, and the write deadline fires", testBackPressure},
	{"read deadline", "a read deadline bounds pending and later reads, before and after the first byte, and reading may go on", testReadDeadline},
	{"write deadline", "a write deadline bounds pending and later writes, and no reads", testWriteDeadline},
	{"statistics", "Stats counts the bytes of the stream and is valid after Close", testStats},
	{"concurrent use", "one goroutine may read while another writes and others ask for statistics and set deadlines", testConcurrent},
	{"many connections", "connections of one transport do not disturb each other", testMany},
}

func testIdentities(t *testing.T, e *env) {
	l := e.listen(t)
	a := e.dial(t, l)
	b := e.accept(t, l)
	if got, want := a.Node(), e.remote.Key.ID(); got != want {
		t.Errorf("the dialled Conn's Node = %s, want %s", got, want)
	}
	if got, want := b.Node(), e.local.Key.ID(); got != want {
		t.Errorf("the accepted Conn's Node = %s, want %s", got, want)
	}
	if a.RemoteAddr() != l.Addr() {
		t.Errorf("the dialled Conn's RemoteAddr = %s, want %s", a.RemoteAddr(), l.Addr())
	}
	if b.LocalAddr() != l.Addr() {
		t.Errorf("the accepted Conn's LocalAddr = %s, want %s", b.LocalAddr(), l.Addr())
	}
	if a.LocalAddr().IsZero() || b.RemoteAddr().IsZero() {
		t.Errorf("LocalAddr %q of the dialled or RemoteAddr %q of the accepted Conn is zero", a.LocalAddr(), b.RemoteAddr())
	}
}

func testOrder(t *testing.T, e *env) {
	a, b := e.connect(t)
	want := pattern(600_000, 1)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(1+random.IntN(70_000)))
			write(t, a, rest[:n])
			rest = rest[n:]
		}
	})
	random := rand.New(rand.NewPCG(3, 4))
	var got []byte
	for len(got) < len(want) {
		p := make([]byte, 1+random.IntN(40_000))
		n, err := b.Read(p)
		if err != nil {
			t.Fatalf("Read after %d of %d bytes: %v", len(got), len(want), err)
		}
		got = append(got, p[:n]...)
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes arrived than were sent")
	}
}

func testBoth(t *testing.T, e *env) {
	a, b := e.connect(t)
	write(t, b, []byte("first"))
	if got := readFull(t, a, 5); string(got) != "first" {
		t.Errorf("got %q, want %q", got, "first")
	}
	exchange(t, a, b, 2<<20)
}

// exchange sends n bytes each way at once and checks them.
func exchange(t *testing.T, a, b io.ReadWriter, n int) {
	t.Helper()
	there, back := pattern(n, 5), pattern(n, 6)
	var work sync.WaitGroup
	work.Go(func() { write(t, a, there) })
	work.Go(func() { write(t, b, back) })
	work.Go(func() {
		if got := readFull(t, b, n); !bytes.Equal(got, there) {
			t.Error("other bytes arrived at the accepted Conn than were sent")
		}
	})
	if got := readFull(t, a, n); !bytes.Equal(got, back) {
		t.Error("other bytes arrived at the dialled Conn than were sent")
	}
	work.Wait()
}

func testLarge(t *testing.T, e *env) {
	a, b := e.connect(t)
	for _, n := range []int{1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 1 << 20, 5<<20 + 3} {
		want := pattern(n, uint32(n))
		var work sync.WaitGroup
		work.Go(func() { write(t, a, want) })
		if got := readFull(t, b, n); !bytes.Equal(got, want) {
			t.Errorf("a Write of %d bytes arrived as something else", n)
		}
		work.Wait()
	}
}

func testEmpty(t *testing.T, e *env) {
	a, b := e.connect(t)
	write(t, a, nil)
	write(t, a, []byte("x"))
	write(t, a, []byte{})
	write(t, a, []byte("y"))
	if got := readFull(t, b, 2); string(got) != "xy" {
		t.Errorf("got %q, want %q", got, "xy")
	}
	if n, err := b.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v; want 0, nil", n, err)
	}
}

func testBackPressure(t *testing.T, e *env) {
	a, b := e.connect(t)
	p := pattern(64<<10, 7)
	var sent int
	for {
		if err := a.SetWriteDeadline(time.Now().Add(3 * short)); err != nil {
			t.Fatal(err)
		}
		n, err := a.Write(p)
		sent += n
		if err != nil {
			wantTimeout(t, "Write to a peer that does not read", err)
			break
		}
		if sent > e.MaxBuffered {
			t.Fatalf("%d bytes were written to a peer that does not read, want at most %d", sent, e.MaxBuffered)
		}
	}
	// What the writer got rid of arrives whole.
	var got int
	buf := make([]byte, len(p))
	b.SetReadDeadline(time.Now().Add(2 * limit / 3))
	for got < sent {
		n, err := b.Read(buf[:min(len(buf), sent-got)])
		for i := range n {
			if buf[i] != p[(got+i)%len(p)] {
				t.Fatalf("byte %d is not what was sent", got+i)
			}
		}
		got += n
		if err != nil {
			t.Fatalf("Read after %d of %d bytes: %v", got, sent, err)
		}
	}
}

func testReadDeadline(t *testing.T, e *env) {
	a, b := e.connect(t)
	b.SetReadDeadline(time.Now().Add(short))
	p := make([]byte, 8)
	_, err := b.Read(p)
	wantTimeout(t, "Read before anything was sent", err)
	_, err = b.Read(p)
	wantTimeout(t, "the next Read", err)
	b.SetReadDeadline(time.Time{})
	write(t, a, []byte("one"))
	if got := readFull(t, b, 3); string(got) != "one" {
		t.Errorf("got %q, want %q", got, "one")
	}

	// A pending read takes a new deadline.
	b.SetReadDeadline(time.Now().Add(limit))
	end := make(chan error, 1)
	go func() {
		_, err := b.Read(p)
		end <- err
	}()
	b.SetReadDeadline(time.Now().Add(short))
	wantTimeout(t, "the pending Read", <-end)
	b.SetReadDeadline(time.Now().Add(-time.Second))
	_, err = b.Read(p)
	wantTimeout(t, "Read with a deadline in the past", err)
	b.SetReadDeadline(time.Now().Add(limit))
	write(t, a, []byte("two"))
	if got := readFull(t, b, 3); string(got) != "two" {
		t.Errorf("got %q, want %q", got, "two")
	}
}

func testWriteDeadline(t *testing.T, e *env) {
	a, b := e.connect(t)
	end := make(chan error, 1)
	go func() { end <- fill(a) }()
	progress(a) // by now it waits, most likely
	a.SetWriteDeadline(time.Now().Add(short))
	wantTimeout(t, "the pending Write", <-end)
	wantTimeout(t, "the next Write", fill(a))
	write(t, b, []byte("back"))
	if got := readFull(t, a, 4); string(got) != "back" {
		t.Errorf("got %q after a missed write deadline, want %q", got, "back")
	}
}

func testStats(t *testing.T, e *env) {
	a, b := e.connect(t)
	exchange(t, a, b, 100_000)
	for range 2 { // before and after Close
		for _, c := range []conn.Conn{a, b} {
			s := c.Stats()
			if s.BytesSent != 100_000 || s.BytesReceived != 100_000 {
				t.Errorf("BytesSent, BytesReceived = %d, %d; want 100000 each", s.BytesSent, s.BytesReceived)
			}
			if s.RTT < 0 || s.RTT > time.Second {
				t.Errorf("RTT = %v", s.RTT)
			}
		}
		a.Close(nil)
		b.Close(nil)
	}
}

func testConcurrent(t *testing.T, e *env) {
	a, b := e.connect(t)
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, c := range []conn.Conn{a, b} {
					by := time.Now().Add(limit)
					if err := errors.Join(c.SetReadDeadline(by), c.SetWriteDeadline(by)); err != nil {
						t.Error(err)
					}
					_, _, _, _ = c.Stats(), c.Features(), c.Node(), c.RemoteAddr()
				}
			}
		})
	}
	exchange(t, a, b, 1<<20)
	close(stop)
	work.Wait()
}

func testMany(t *testing.T, e *env) {
	const count = 12
	l := e.listen(t)
	var work sync.WaitGroup
	work.Go(func() {
		for range count {
			c := e.accept(t, l)
			work.Go(func() {
				head := readFull(t, c, 1)
				write(t, c, head)
				write(t, c, pattern(50_000, uint32(head[0])))
			})
		}
	})
	for i := range count {
		work.Go(func() {
			c := e.dial(t, l)
			write(t, c, []byte{byte(i)})
			want := append([]byte{byte(i)}, pattern(50_000, uint32(i))...)
			if got := readFull(t, c, len(want)); !bytes.Equal(got, want) {
				t.Errorf("connection %d got bytes of another", i)
			}
		})
	}
	work.Wait()
}
