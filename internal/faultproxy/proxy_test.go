package faultproxy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bench is a proxy, its target, and what the target accepts.
type bench struct {
	*Proxy
	t      *testing.T
	target *net.TCPListener
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProxy(l.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		l.Close()
	})
	return &bench{p, t, l}
}

// connect returns the two ends of a connection through the proxy.
func (b *bench) connect() (client, target *net.TCPConn) {
	b.t.Helper()
	c, err := net.Dial("tcp", b.Addr())
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := b.target.AcceptTCP()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	for _, end := range []net.Conn{c, s} { // a test that hangs fails
		if err := end.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			b.t.Fatal(err)
		}
	}
	return c.(*net.TCPConn), s
}

func (b *bench) send(to net.Conn, text string) {
	b.t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		b.t.Fatalf("Write(%q): %v", text, err)
	}
}

func (b *bench) expect(from net.Conn, text string) {
	b.t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != text {
		b.t.Fatalf("read %q, %v; want %q", got[:n], err, text)
	}
}

// expectEnd reads the end of a direction: err, or io.EOF for nil.
func (b *bench) expectEnd(from net.Conn, err error) {
	b.t.Helper()
	rest, got := io.ReadAll(from)
	if len(rest) > 0 || !errors.Is(got, err) {
		b.t.Errorf("at its end a direction has %q and %v; want %v (nil: EOF)", rest, got, err)
	}
}

func TestForwards(t *testing.T) {
	b := newBench(t, Config{})
	c, s := b.connect()
	b.send(c, "question")
	b.expect(s, "question")
	b.send(s, "answer")
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b.expect(c, "answer")
	b.expectEnd(c, nil)
	b.send(c, "more") // the other direction goes on
	b.expect(s, "more")
	conns := b.Conns()
	c.Close()
	b.expectEnd(s, nil)
	<-conns[0].Done()
	st := b.Stats()
	if st.Accepted != 1 || st.Bytes != [2]uint64{12, 6} || st.Dropped != [2]uint64{} || st.Broken() != 0 {
		t.Errorf("Stats = %+v; want one connection, 12 bytes up and 6 down, no fault", st)
	}
}

func TestBreak(t *testing.T) {
	for _, tt := range []struct {
		fault          Fault
		client, target error // what their reads end with
	}{
		{Close, nil, nil},
		{Reset, syscall.ECONNRESET, syscall.ECONNRESET},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			b := newBench(t, Config{})
			c, s := b.connect()
			b.send(c, "x")
			b.expect(s, "x")
			b.send(s, "y")
			b.expect(c, "y")
			conns := b.Conns()
			b.Break(tt.fault)
			b.expectEnd(c, tt.client)
			b.expectEnd(s, tt.target)
			c.Close()
			s.Close()
			<-conns[0].Done()
			if st := b.Stats(); st.Faults[tt.fault] != 1 || st.Broken() != 1 {
				t.Errorf("Stats = %+v, want one fault", st)
			}
			c, s = b.connect() // new connections are none of it
			b.send(c, "z")
			b.expect(s, "z")
		})
	}
}

// A half close ends one direction and leaves the other; what is still written
// in the first is dropped.
func TestHalfClose(t *testing.T) {
	for _, f := range []Fault{HalfUp, HalfDown} {
		t.Run(f.String(), func(t *testing.T) {
			b := newBench(t, Config{})
			c, s := b.connect()
			if f == HalfDown {
				c, s = s, c
			}
			b.send(c, "x")
			b.expect(s, "x")
			conns := b.Conns()
			b.Break(f)
			b.expectEnd(s, nil)
			b.send(c, "lost")
			b.send(s, "there")
			b.expect(c, "there")
			c.Close()
			s.Close()
			<-conns[0].Done()
			if st := b.Stats(); st.Dropped[Up]+st.Dropped[Down] != 4 {
				t.Errorf("dropped %v, want the 4 bytes that were written after the half close", st.Dropped)
			}
		})
	}
}

// A cut strikes behind the byte that it was set to, wherever reads and writes
// begin, and counts from when it was set.
func TestBreakAt(t *testing.T) {
	for _, tt := range []struct {
		fault Fault
		err   error
	}{{Close, nil}, {Reset, syscall.ECONNRESET}, {HalfUp, nil}} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			b := newBench(t, Config{Buffer: 64}) // read in pieces of 8 bytes
			c, s := b.connect()
			b.send(c, "12345")
			b.expect(s, "12345")
			b.Conns()[0].BreakAt(Up, 14, tt.fault)
			b.send(c, "67")
			b.expect(s, "67")
			b.send(c, "the rest of it is cut")
			b.expect(s, "the rest of ")
			b.expectEnd(s, tt.err)
			if n := b.Stats().Bytes[Up]; n != 19 {
				t.Errorf("%d bytes were forwarded, want 19", n)
			}
		})
	}
}

// A cut of the proxy counts the bytes of all connections, and breaks the one
// that carries the last.
func TestBreakAtOfAll(t *testing.T) {
	b := newBench(t, Config{})
	c1, s1 := b.connect()
	c2, s2 := b.connect()
	b.BreakAt(Down, 5, Close)
	b.send(s1, "abc")
	b.expect(c1, "abc")
	b.send(s2, "defg")
	b.expect(c2, "de")
	b.expectEnd(c2, nil)
	b.send(c1, "still there")
	b.expect(s1, "still there")

	b.Conns()[0].BreakAt(Up, 4, Close) // of the first alone
	c3, s3 := b.connect()
	b.send(c3, "others do not count")
	b.expect(s3, "others do not count")
	b.send(c1, "and cut")
	b.expect(s1, "and ")
	b.expectEnd(s1, nil)
}

// OnConn sets faults on connections before their first byte.
func TestOnConn(t *testing.T) {
	n := 0
	b := newBench(t, Config{OnConn: func(c *Conn) {
		if n++; n == 2 {
			c.BreakAt(Up, 1, Close)
		}
	}})
	for i, want := range []string{"ab", "a", "ab"} {
		c, s := b.connect()
		b.send(c, "ab")
		b.expect(s, want)
		if i == 1 {
			b.expectEnd(s, nil)
		}
	}
}

// What is written in a stall waits, and arrives when it has healed.
func TestStall(t *testing.T) {
	b := newBench(t, Config{})
	c, s := b.connect()
	b.send(c, "x")
	b.expect(s, "x")
	b.Stall(Up)
	b.send(c, "late")
	b.send(s, "other way")
	b.expect(c, "other way")
	c2, s2 := b.connect() // new ones are stalled too
	b.send(c2, "late too")
	if n := b.Stats().Bytes[Up]; n != 1 {
		t.Errorf("%d bytes went up in a stall, want none but the one before", n)
	}
	b.Heal()
	b.expect(s, "late")
	b.expect(s2, "late too")

	b.Conns()[0].Stall()
	b.send(c, "later")
	b.send(c2, "at once")
	b.expect(s2, "at once")
	b.Conns()[0].Heal()
	b.expect(s, "later")

	b.Stall()
	b.send(c, "never")
	b.Break(Reset) // heeds no stall
	b.Heal()
	b.expectEnd(s, syscall.ECONNRESET)
	b.expectEnd(s2, syscall.ECONNRESET)
}

func TestBlackhole(t *testing.T) {
	b := newBench(t, Config{})
	c, s := b.connect()
	b.Blackhole(time.Millisecond, 0)
	b.send(c, "late")
	b.expect(s, "late")
	b.Blackhole(time.Millisecond, Reset)
	b.expectEnd(s, syscall.ECONNRESET)
	b.expectEnd(c, syscall.ECONNRESET)
	b.Blackhole(time.Hour, 0) // Close does not wait for it
}

// A stall fills the buffers and then holds back who writes.
func TestTinyBuffers(t *testing.T) {
	b := newBench(t, Config{Buffer: 1024, Socket: 4096})
	c, s := b.connect()
	if err := c.SetWriteBuffer(4096); err != nil {
		t.Fatal(err)
	}
	b.Stall()
	if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	n, err := c.Write(text)
	if ne := net.Error(nil); n == len(text) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("Write = %d, %v; want buffers of some KiB to be full", n, err)
	}
	c.Close()
	b.Heal()
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, text[:n]) {
		t.Errorf("%d bytes and %v arrived, want the %d that were taken", len(got), err, n)
	}
}

func TestRefuse(t *testing.T) {
	b := newBench(t, Config{})
	c, s := b.connect()
	for range 3 {
		if err := b.Refuse(true); err != nil {
			t.Fatal(err)
		}
		if nc, err := net.Dial("tcp", b.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial = %v, %v; want it to be refused", nc, err)
		}
		b.send(c, "x") // connections live on
		b.expect(s, "x")
		if err := b.Refuse(false); err != nil {
			t.Fatal(err)
		}
		c, s = b.connect()
	}
	b.target.Close()
	nc, err := net.Dial("tcp", b.Addr())
	if err == nil {
		defer nc.Close()
		_, err = nc.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to a target that is gone: %v, want a reset", err)
	}
	if n := b.Stats().Unserved; n != 1 {
		t.Errorf("%d were not served, want 1", n)
	}
}

// Delay and rate change when bytes arrive, and nothing else.
func TestPace(t *testing.T) {
	b := newBench(t, Config{})
	b.SetPace(Pace{Delay: 5 * time.Millisecond, Rate: 4 << 20})
	c, s := b.connect()
	text := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(text) // never fails
	began := time.Now()
	go func() {
		_, _ = c.Write(text) // the reader sees what was written
		c.Close()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes and %v arrived, want what was sent", len(got), err)
	}
	if took, least := time.Since(began), 40*time.Millisecond; took < least {
		t.Errorf("it took %v, want at least %v at this rate and delay", took, least)
	}
}

// The choices of a storm depend on the seed alone.
func TestStrokes(t *testing.T) {
	plan := Plan{Cuts: 500, Faults: []Fault{Close, Reset, Blackhole}, MinBytes: 10, MaxBytes: 20, Hole: time.Second, Then: Reset}
	strokes := plan.Strokes(rand.New(rand.NewPCG(1, 2)))
	if again := plan.Strokes(rand.New(rand.NewPCG(1, 2))); !slices.Equal(strokes, again) {
		t.Error("the same seed makes other choices")
	}
	if other := plan.Strokes(rand.New(rand.NewPCG(1, 3))); slices.Equal(strokes, other) {
		t.Error("another seed makes the same choices")
	}
	drawn, dirs, sizes := map[Fault]int{}, map[Direction]int{}, map[int64]int{}
	for _, s := range strokes {
		drawn[s.Fault]++
		dirs[s.Direction]++
		sizes[s.Bytes]++
		if hole := s.Fault == Blackhole; hole != (s.For == time.Second) || hole != (s.Then == Reset) || s.After != 0 {
			t.Errorf("%+v does not follow the plan", s)
		}
	}
	if len(drawn) != 3 || len(dirs) != 2 || len(sizes) != 11 || sizes[10] == 0 || sizes[20] == 0 {
		t.Errorf("drawn %v in %v after %v; want 3 faults, 2 directions, 10 to 20 bytes", drawn, dirs, sizes)
	}
	timed := Plan{MinTime: 5, MaxTime: 6}.Strokes(rand.New(rand.NewPCG(1, 2)))
	for _, s := range timed {
		if s.Bytes != 0 || s.After < 5 || s.After > 6 {
			t.Errorf("%+v is not after 5 to 6 ns", s)
		}
	}
	if len(timed) != 10 {
		t.Errorf("%d strokes by default, want 10", len(timed))
	}
}

// A storm over a client that dials again: all strokes strike, each behind its
// byte, and whatever arrives is a prefix of what was sent.
func TestStorm(t *testing.T) {
	b := newBench(t, Config{Buffer: 4096})
	strokes := Plan{Cuts: 40, MaxBytes: 3000, Faults: []Fault{Close, Reset, HalfUp, HalfDown, Blackhole}, Hole: time.Millisecond}.Strokes(rand.New(rand.NewPCG(7, 7)))
	storm := b.Storm(strokes)
	text := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(text) // never fails
	for rounds := 0; storm.Applied() < len(strokes); rounds++ {
		if rounds > 1000 {
			t.Fatalf("%d of %d strokes after %d connections", storm.Applied(), len(strokes), rounds)
		}
		c, s := b.connect()
		prefixes := make(chan bool, 2)
		for _, pair := range [][2]net.Conn{{c, s}, {s, c}} {
			go func() {
				_, _ = pair[0].Write(text) // fails when it is cut
			}()
			go func() {
				sum, n := sha256.New(), int64(0)
				n, _ = io.Copy(sum, io.LimitReader(pair[1], int64(len(text)))) // ends when it is cut
				want := sha256.Sum256(text[:n])
				pair[1].Close()
				prefixes <- bytes.Equal(sum.Sum(nil), want[:])
			}()
		}
		if one, other := <-prefixes, <-prefixes; !one || !other {
			t.Fatal("what has arrived is not a prefix of what was sent")
		}
	}
	<-storm.Done()
	var want [faults]uint64
	for _, s := range strokes {
		want[s.Fault]++
	}
	if got := b.Stats().Faults; got != want {
		t.Errorf("struck %v, want %v", got, want)
	}
}

func TestStormStops(t *testing.T) {
	b := newBench(t, Config{})
	c, s := b.connect()
	storm := b.Storm([]Stroke{{Fault: Close, Bytes: 2}, {Fault: Reset, After: time.Hour}, {Fault: Reset}})
	storm.Stop()
	storm.Stop()
	<-storm.Done()
	b.send(c, "goes through")
	b.expect(s, "goes through")
	if n := storm.Applied(); n != 0 {
		t.Errorf("%d strokes of a stopped storm struck", n)
	}
	timed := b.Storm([]Stroke{{Fault: Reset, After: time.Millisecond}})
	b.expectEnd(s, syscall.ECONNRESET)
	<-timed.Done()
}
