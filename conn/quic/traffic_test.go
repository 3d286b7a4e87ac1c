package quic_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A traffic sends blocks from one end to the other until finish, which compares
// what was sent with what arrived.
type traffic struct {
	stop       chan struct{}
	done       chan struct{} // two values: the writer and the reader have ended
	arrived    chan struct{} // gets one for each MiB
	sent, came [sha256.Size]byte
}

const block = 32 << 10

func send(t *testing.T, w io.Writer, r io.Reader) *traffic {
	f := &traffic{stop: make(chan struct{}), done: make(chan struct{}, 2), arrived: make(chan struct{}, 1000)}
	go f.write(t, w)
	go f.read(t, r)
	return f
}

func (f *traffic) write(t *testing.T, w io.Writer) {
	defer func() { f.done <- struct{}{} }()
	hash := sha256.New()
	p := bytes.Repeat([]byte("0123456789abcdef"), block/16)
	for n := 1; p[0] != '!'; n++ {
		p[n%block]++
		p[0] = '.' // more comes
		select {
		case <-f.stop:
			p[0] = '!'
		default:
		}
		hash.Write(p)
		if _, err := w.Write(p); err != nil {
			t.Errorf("write of block %d: %v", n, err)
			return
		}
	}
	hash.Sum(f.sent[:0])
}

func (f *traffic) read(t *testing.T, r io.Reader) {
	defer func() { f.done <- struct{}{} }()
	hash := sha256.New()
	p := make([]byte, block)
	for n := 1; p[0] != '!'; n++ {
		if _, err := io.ReadFull(r, p); err != nil {
			t.Errorf("read of block %d: %v", n, err)
			return
		}
		hash.Write(p)
		if n%(1<<20/block) == 0 {
			select {
			case f.arrived <- struct{}{}:
			default:
			}
		}
	}
	hash.Sum(f.came[:0])
}

// await waits until n MiB more have arrived.
func (f *traffic) await(t *testing.T, n int) {
	t.Helper()
	for len(f.arrived) > 0 {
		<-f.arrived
	}
	for range n {
		select {
		case <-f.arrived:
		case <-time.After(20 * time.Second):
			t.Fatal("the traffic has stopped")
		}
	}
}

// finish ends the traffic and checks it.
func (f *traffic) finish(t *testing.T) {
	t.Helper()
	close(f.stop)
	for range 2 {
		select {
		case <-f.done:
		case <-time.After(20 * time.Second):
			t.Fatal("the traffic does not end")
		}
	}
	if f.sent != f.came {
		t.Error("other bytes arrived than were sent")
	}
}

// dial dials to, which leads to the listener, and returns both ends.
func (e *env) dial(t testing.TB, to identity.Address) (x, y conn.Conn) {
	t.Helper()
	x, err := e.dialer.Dial(t.Context(), e.local, e.local.Key.ID(), to)
	if err != nil {
		t.Fatal(err)
	}
	if y, err = e.listen.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x, y
}

// eventually waits until what is true.
func eventually(t *testing.T, what func() bool, why string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !what() {
		if time.Now().After(deadline) {
			t.Fatalf(why, args...)
		}
		<-tick.C
	}
}
