package kcp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/identity"
)

// A line carries packets between one dialler and a listener, and can lose them.
type line struct {
	front net.PacketConn // where the dialler sends to
	back  net.Conn       // to the listener
	cut   atomic.Bool
	loss  float64 // of all packets, with a fixed seed for each direction
	lost  atomic.Int32
	first sync.Map // kinds of openings of which the next one is lost
}

// loseFirst has the next opening of each kind get lost.
func (l *line) loseFirst(kinds ...string) {
	for _, k := range kinds {
		l.first.Store(k, nil)
	}
}

// unlucky reports whether p is one of these.
func (l *line) unlucky(p []byte) bool {
	if !bytes.HasPrefix(p, []byte("plxkcp1")) || len(p) != 28 {
		return false
	}
	_, lose := l.first.LoadAndDelete([]string{"", "ask", "cookie", "open"}[p[7]&3])
	return lose
}

func newLine(t *testing.T, to identity.Address, loss float64) *line {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{front: front, back: back, loss: loss}
	var work sync.WaitGroup
	var from atomic.Pointer[net.Addr]
	work.Go(func() {
		l.carry(1, func(p []byte) (int, error) {
			n, a, err := front.ReadFrom(p)
			from.Store(&a)
			return n, err
		}, back.Write)
	})
	work.Go(func() {
		l.carry(2, back.Read, func(p []byte) (int, error) { return front.WriteTo(p, *from.Load()) })
	})
	t.Cleanup(func() {
		front.Close()
		back.Close()
		work.Wait()
	})
	return l
}

func (l *line) carry(seed uint64, read, write func([]byte) (int, error)) {
	random := rand.New(rand.NewPCG(seed, seed))
	p := make([]byte, 2048)
	for {
		n, err := read(p)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || l.cut.Load() {
			continue // such as that the listener is gone
		}
		if random.Float64() < l.loss || l.unlucky(p[:n]) {
			l.lost.Add(1)
			continue
		}
		_, _ = write(p[:n]) // lost, too, if it fails
	}
}

func (l *line) addr() identity.Address { return addr(l.front.LocalAddr().String()) }

// over connects two transports over a line.
func over(t *testing.T, c kcp.Config, loss float64) (a, b conn.Conn, l *line) {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key}
	tr := kcp.NewWith(c)
	t.Cleanup(func() { tr.Close() })
	listener, err := tr.Listen(t.Context(), local, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	l = newLine(t, listener.Addr(), loss)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if a, err = tr.Dial(ctx, local, key.ID(), l.addr()); err != nil {
		t.Fatal(err)
	}
	if b, err = listener.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	by := time.Now().Add(20 * time.Second)
	for _, c := range []conn.Conn{a, b} {
		t.Cleanup(func() { c.Close(nil) })
		if err := errors.Join(c.SetReadDeadline(by), c.SetWriteDeadline(by)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b, l
}

// send carries p from one end to the other.
func send(t *testing.T, from, to conn.Conn, p []byte) {
	t.Helper()
	var work sync.WaitGroup
	work.Go(func() {
		if n, err := from.Write(p); n != len(p) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	})
	got := make([]byte, len(p))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, p) {
		t.Errorf("what arrived is not what was sent: %v", err)
	}
	work.Wait()
}

// Packets get lost, and bytes do not.
func TestLoss(t *testing.T) {
	for name, c := range map[string]kcp.Config{"polite": {}, "not polite": {IgnoreLoss: true}} {
		t.Run(name, func(t *testing.T) {
			a, b, l := over(t, c, 0.05)
			p := make([]byte, 200_000)
			for i := range p {
				p[i] = byte(i * i >> 7)
			}
			send(t, a, b, p)
			send(t, b, a, p)
			if l.lost.Load() == 0 {
				t.Error("the line has lost nothing")
			}
		})
	}
}

// A connection whose line is cut without a word is dead at both ends after three
// missed signs of life, whether somebody writes or not.
func TestDeadLine(t *testing.T) {
	a, b, l := over(t, kcp.Config{KeepAlive: 200 * time.Millisecond}, 0)
	send(t, a, b, []byte("hello"))
	l.cut.Store(true)
	for name, c := range map[string]conn.Conn{"dialled": a, "accepted": b} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, conn.CodeTimeout) {
			t.Errorf("the %s end reads %v, want CodeTimeout", name, err)
		}
		for {
			if _, err := c.Write(make([]byte, 32<<10)); err != nil {
				if !errors.Is(err, conn.CodeTimeout) {
					t.Errorf("the %s end has %v for Write, want CodeTimeout", name, err)
				}
				break
			}
		}
	}
}

// Signs of life keep a connection that carries nothing.
func TestIdleConnectionLives(t *testing.T) {
	const keepAlive = 200 * time.Millisecond
	a, b, _ := over(t, kcp.Config{KeepAlive: keepAlive}, 0)
	end := make(chan error, 1)
	go func() {
		p := make([]byte, 4)
		_, err := io.ReadFull(b, p)
		end <- err
	}()
	select {
	case err := <-end:
		t.Fatalf("the idle connection ended with %v", err)
	case <-time.After(7 * keepAlive): // more than twice as long as the dead are waited for
	}
	if _, err := a.Write([]byte("here")); err != nil {
		t.Error(err)
	}
	if err := <-end; err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]kcp.Config{
		"Window": {Window: 31}, "Interval": {Interval: time.Millisecond}, "MTU": {MTU: 9000}, "KeepAlive": {KeepAlive: -1},
	} {
		tr := kcp.NewWith(c)
		if _, err := tr.Listen(t.Context(), conn.Local{Key: key}, addr("127.0.0.1:0")); err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("Listen = %v, want an error that names %s", err, name)
		}
		tr.Close()
	}
}
