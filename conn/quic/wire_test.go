package quic

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

func listenUDPTest(t *testing.T) *net.UDPConn {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	return udp
}

// listenNothing returns the address of a socket that nobody reads.
func listenNothing(t *testing.T) identity.Address { return address(listenUDPTest(t).LocalAddr()) }

// failWrites has every dial of t learn that packets to its target are lost.
func failWrites(t *Transport, err error) {
	t.mu.Lock()
	var all []func()
	for s := range t.sockets {
		for a := range s.dialling {
			all = append(all, func() { s.lost(a.to, err) })
		}
	}
	t.mu.Unlock()
	for _, f := range all {
		f()
	}
}

// TestLostWrite: what the system does not send is lost, and no error of the
// connection; what tells of the packet or the socket itself is.
func TestLostWrite(t *testing.T) {
	udp := listenUDPTest(t)
	var lost error
	w := newWire(udp, false, func(_ *net.UDPAddr, err error) { lost = err })
	away := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} // a socket of the loopback cannot send there
	if n, _, err := w.WriteMsgUDP([]byte("abc"), nil, away); n != 3 || err != nil || lost == nil {
		t.Errorf("WriteMsgUDP = %d, %v with the loss %v; want 3, nil and a loss", n, err, lost)
	}
	lost = nil
	if n, err := w.WriteTo([]byte("abc"), away); n != 3 || err != nil || lost == nil {
		t.Errorf("WriteTo = %d, %v with the loss %v; want 3, nil and a loss", n, err, lost)
	}
	lost = nil
	here := udp.LocalAddr().(*net.UDPAddr)
	if _, _, err := w.WriteMsgUDP(make([]byte, 70_000), nil, here); err == nil || lost != nil {
		t.Errorf("WriteMsgUDP of 70000 bytes = %v with the loss %v; want an error, by which quic-go learns the size of the path", err, lost)
	}
	w.Close()
	if _, _, err := w.WriteMsgUDP([]byte("abc"), nil, here); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteMsgUDP after Close = %v, want net.ErrClosed", err)
	}
}

// TestPermitted: one refusal is of the system's moods, two are a firewall.
func TestPermitted(t *testing.T) {
	refused := &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.EPERM)}
	noRoute := &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.ENETUNREACH)}
	for name, c := range map[string]struct {
		answers []error
		calls   int
		want    error
	}{
		"at once":       {[]error{nil}, 1, nil},
		"refused once":  {[]error{refused, nil}, 2, nil},
		"refused twice": {[]error{refused, refused}, 2, syscall.EPERM},
		"no route":      {[]error{noRoute}, 1, syscall.ENETUNREACH},
	} {
		calls := 0
		_, _, err := permitted(func() (int, int, error) {
			calls++
			return 0, 0, c.answers[calls-1]
		})
		if calls != c.calls || !errors.Is(err, c.want) {
			t.Errorf("%s: %d calls, %v; want %d, %v", name, calls, err, c.calls, c.want)
		}
	}
}

// TestExchange: reads go on over the socket that takes the place of another, and
// wait while there is none.
func TestExchange(t *testing.T) {
	w := newWire(listenUDPTest(t), false, nil)
	read := func() chan error {
		end := make(chan error, 1)
		go func() {
			p := make([]byte, 10)
			n, _, err := w.ReadFrom(p)
			if err == nil && string(p[:n]) != "hello" {
				err = errors.New("read " + string(p[:n]))
			}
			end <- err
		}()
		return end
	}
	end := read()
	second := listenUDPTest(t)
	w.exchange(second)
	if _, err := listenUDPTest(t).WriteTo([]byte("hello"), second.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Errorf("a read over the exchange = %v", err)
	}
	w.SetReadDeadline(time.Now().Add(-time.Second))
	w.exchange(listenUDPTest(t))
	if err := <-read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read of the next socket = %v, want the deadline of the one before", err)
	}
	w.SetReadDeadline(time.Time{})
	end = read()
	w.park()
	select {
	case err := <-end:
		t.Errorf("a read without a socket = %v, want that it waits", err)
	case <-time.After(50 * time.Millisecond):
	}
	w.SetReadDeadline(time.Now()) // as quic-go does when it closes
	if err := <-end; err == nil {
		t.Error("a read without a socket succeeded")
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// TestOutage: a connection survives that for a while nothing can be sent.
func TestOutage(t *testing.T) {
	var ends [2]conn.Local
	for i := range ends {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		ends[i].Key = key
	}
	client, server := New(), New()
	defer client.Close()
	defer server.Close()
	l, err := server.Listen(t.Context(), ends[0], identity.Address{Scheme: "quic", Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	x, err := client.Dial(t.Context(), ends[1], ends[0].Key.ID(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := x.(*connection).socket.wire
	w.current.Load().SetWriteDeadline(time.Now()) // all that is written fails
	if _, err := x.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	before := client.Stats().Lost
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for client.Stats().Lost < before+3 { // it tries again and again
		if _, err := x.Write(nil); err != nil {
			t.Fatalf("the connection has ended: %v", err)
		}
		<-tick.C
	}
	w.current.Load().SetWriteDeadline(time.Time{})
	p := make([]byte, 5)
	if _, err := io.ReadFull(y, p); err != nil || string(p) != "hello" {
		t.Errorf("read %q, %v after the outage; want %q", p, err, "hello")
	}
}
