package kcp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/identity"
)

// A stranger sends packets by hand, as docs/wire.md has them.
type stranger struct {
	t  *testing.T
	at net.Conn
}

func newStranger(t *testing.T, to identity.Address) stranger {
	c, err := net.Dial("udp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return stranger{t, c}
}

func opening(op byte, conversation uint32, cookie []byte) []byte {
	p := binary.BigEndian.AppendUint32(append([]byte("plxkcp1"), op), conversation)
	return append(p, append(cookie, make([]byte, 16)...)[:16]...)
}

// push returns a packet of KCP that carries data, the first of a conversation.
func push(conversation uint32, data []byte) []byte {
	p := make([]byte, 24, 24+len(data))
	binary.LittleEndian.PutUint32(p, conversation)
	p[4] = 81
	binary.LittleEndian.PutUint16(p[6:], 128)
	binary.LittleEndian.PutUint32(p[20:], uint32(len(data)))
	return append(p, data...)
}

func (s stranger) send(p []byte) {
	if _, err := s.at.Write(p); err != nil {
		s.t.Error(err)
	}
}

// question returns a packet of KCP that asks for the window.
func question(conversation uint32) []byte {
	p := push(conversation, nil)
	p[4] = 83
	return p
}

// cookie asks for one until it comes.
func (s stranger) cookie(conversation uint32) []byte {
	p := make([]byte, 2048)
	for range 50 {
		s.send(opening(1, conversation, nil))
		s.at.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := s.at.Read(p); err == nil && n == 28 && bytes.Equal(p[:12], opening(2, conversation, nil)[:12]) {
			return bytes.Clone(p[12:28])
		}
	}
	s.t.Error("no cookie came")
	return nil
}

// open opens a conversation and says nothing more.
func (s stranger) open(conversation uint32) { s.send(opening(3, conversation, s.cookie(conversation))) }

// heard returns how many packets and bytes come within a time.
func (s stranger) heard(wait time.Duration) (packets, size int) {
	s.at.SetReadDeadline(time.Now().Add(wait))
	for p := make([]byte, 2048); ; {
		n, err := s.at.Read(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return packets, size
		}
		if err == nil {
			packets++
			size += n
		}
	}
}

// listening returns a listener that takes few handshakes, and who may dial it.
func listening(t *testing.T, limit int) (conn.Listener, *kcp.Transport, conn.Local) {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key, MaxHandshakes: limit}
	tr := kcp.New()
	t.Cleanup(func() { tr.Close() })
	l, err := tr.Listen(t.Context(), local, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return l, tr, local
}

// works checks that an honest dial succeeds.
func works(t *testing.T, l conn.Listener, tr *kcp.Transport, local conn.Local) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	x, err := tr.Dial(ctx, local, local.Key.ID(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(nil)
	y, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	y.Close(nil)
}

// inUse returns goroutines and what heap and stacks hold.
func inUse() (goroutines int, bytes uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc + m.StackInuse
}

// TestFloodOfStrangers: packets from any number of addresses that have proven
// nothing leave nothing behind, whatever they are.
func TestFloodOfStrangers(t *testing.T) {
	l, tr, local := listening(t, 16)
	works(t, l, tr, local) // what is made once has been made
	goroutines, size := inUse()
	most := 0
	for i := range uint32(3000) {
		c, err := net.Dial("udp", l.Addr().Host)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{push(i, []byte("x")), opening(1, i, nil), opening(3, i, []byte("forged"))} {
			if _, err := c.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		most = max(most, runtime.NumGoroutine()-goroutines)
	}
	after, now := inUse()
	if most > 20 || after > goroutines+20 {
		t.Errorf("%d goroutines more, %d at the end; want none", most, after-goroutines)
	}
	if now > size+1<<20 {
		t.Errorf("%d KiB more are held, want none", (now-size)>>10)
	}
	works(t, l, tr, local)
}

// TestNoReflector: to an address that has proven nothing goes no more than came
// from there, and nothing but for an ask.
func TestNoReflector(t *testing.T) {
	l, _, _ := listening(t, 0)
	for _, c := range []struct {
		name    string
		p       []byte
		packets int
	}{
		{"KCP's data", push(7, []byte("x")), 0},
		{"KCP's shortest", push(7, nil), 0},
		{"KCP's question", question(7), 0},
		{"FEC of kcp-go", append([]byte{7, 0, 0, 0, 0xf1, 0}, push(7, nil)...), 0},
		{"ask", opening(1, 7, nil), 1},
		{"ask, too short", opening(1, 7, nil)[:27], 0},
		{"ask, too long", append(opening(1, 7, nil), 0), 0},
		{"cookie", opening(2, 7, nil), 0},
		{"open, forged", opening(3, 7, nil), 0},
		{"nothing known", opening(4, 7, nil), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStranger(t, l.Addr())
			s.send(c.p)
			if packets, size := s.heard(800 * time.Millisecond); packets != c.packets || size > len(c.p) {
				t.Errorf("%d bytes in, %d packets of %d bytes out; want %d of at most what came", len(c.p), packets, size, c.packets)
			}
		})
	}
}

// TestCookieIsOfAddress: a cookie opens nothing from another address, nor another
// conversation.
func TestCookieIsOfAddress(t *testing.T) {
	l, _, _ := listening(t, 0)
	s, other := newStranger(t, l.Addr()), newStranger(t, l.Addr())
	cookie := s.cookie(7)
	s.send(opening(3, 8, cookie))
	s.send(push(8, []byte("x")))
	other.send(opening(3, 7, cookie))
	other.send(push(7, []byte("x")))
	for what, thief := range map[string]stranger{"conversation": s, "address": other} {
		if packets, _ := thief.heard(300 * time.Millisecond); packets > 0 {
			t.Errorf("a cookie of another %s has opened one", what)
		}
	}
	s.send(opening(3, 7, cookie))
	s.send(push(7, []byte("x")))
	if packets, _ := s.heard(300 * time.Millisecond); packets == 0 {
		t.Error("KCP does not acknowledge what came after the cookie")
	}
}

// TestUnfinishedEndAtOnce: those who have proven their address, and no more, hold
// at most as many sessions as there may be handshakes, however many they open.
func TestUnfinishedEndAtOnce(t *testing.T) {
	const limit = 8
	l, tr, local := listening(t, limit)
	works(t, l, tr, local)
	idle, _ := inUse()
	most := 0
	for i := range uint32(200) {
		newStranger(t, l.Addr()).open(i)
		most = max(most, runtime.NumGoroutine()-idle)
	}
	// Of each the two of kcp-go and the link, and those of the handshake; those that
	// have been ended take a moment. Without a limit there are 790.
	if limit := 20 * (limit + 8); most > limit {
		t.Errorf("200 openings ran %d goroutines at a time, want at most %d", most, limit)
	}
}

// TestOpensAnew: another conversation from the same address ends the one before.
func TestOpensAnew(t *testing.T) {
	l, _, _ := listening(t, 0)
	s := newStranger(t, l.Addr())
	s.open(7)
	s.send(push(7, []byte("x")))
	if packets, _ := s.heard(300 * time.Millisecond); packets == 0 {
		t.Fatal("the first conversation is not acknowledged")
	}
	s.open(8)
	s.send(push(8, []byte("x")))
	if packets, _ := s.heard(300 * time.Millisecond); packets == 0 {
		t.Error("the second conversation is not acknowledged")
	}
	s.heard(300 * time.Millisecond) // nothing of the first is on its way
	s.send(push(7, []byte("x")))
	if packets, _ := s.heard(300 * time.Millisecond); packets > 0 {
		t.Error("the first conversation lives on")
	}
}

// TestWindow: what an end takes is what its Config says.
func TestWindow(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, window := range []int{33, 1000} {
		tr := kcp.NewWith(kcp.Config{Window: window})
		defer tr.Close()
		l, err := tr.Listen(t.Context(), conn.Local{Key: key}, addr("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		s := newStranger(t, l.Addr())
		s.open(7)
		p := make([]byte, 2048)
		for told := 0; told != window; told = int(binary.LittleEndian.Uint16(p[6:])) {
			s.send(question(7)) // the session may get its window a little later
			s.at.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := s.at.Read(p); err != nil {
				t.Fatalf("a window of %d packets is told, then %v; want %d", told, err, window)
			}
			if got := int(binary.LittleEndian.Uint16(p[6:])); got != window && got != 32 {
				t.Fatalf("a window of %d packets is told, want %d", got, window)
			}
		}
	}
}
