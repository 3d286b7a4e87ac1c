//go:build unix && !solaris

package tcp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

func option(t *testing.T, raw syscall.RawConn, level, name int) int {
	t.Helper()
	var n int
	var err error
	if controlErr := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, name) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return n
}

// What the configuration says is what the sockets at both ends have.
func TestOptionsReachTheSocket(t *testing.T) {
	const size = 32 << 10 // not the default; Linux doubles it
	for _, test := range []struct {
		name     string
		config   Config
		level    int
		option   int
		from, to int
	}{
		{"default", Config{}, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1 << 30},
		{"no delay", Config{}, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, 1 << 30},
		{"no delay of the caller's sockets", delayed(), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, 1 << 30},
		{"KeepAlive", Config{KeepAlive: -1}, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0, 0},
		{"ReadBuffer", Config{ReadBuffer: size}, unix.SOL_SOCKET, unix.SO_RCVBUF, size, 2 * size},
		{"WriteBuffer", Config{WriteBuffer: size}, unix.SOL_SOCKET, unix.SO_SNDBUF, size, 2 * size},
	} {
		tr := NewPlain(test.config)
		l, local := listenLocal(t, tr, handshakes)
		a, b := join(t, tr, l, local)
		for _, c := range []conn.Conn{a, b} {
			raw, err := c.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if n := option(t, raw, test.level, test.option); n < test.from || n > test.to {
				t.Errorf("%s: the option is %d, want %d to %d", test.name, n, test.from, test.to)
			}
		}
		tr.Close()
	}
}

// delayed makes sockets that hold small writes back.
func delayed() Config {
	return Config{
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				err = nc.(*net.TCPConn).SetNoDelay(false)
			}
			return nc, err
		},
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			nl, err := new(net.ListenConfig).Listen(ctx, network, address)
			return delayedListener{nl}, err
		},
	}
}

type delayedListener struct{ net.Listener }

func (l delayedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		err = nc.(*net.TCPConn).SetNoDelay(false)
	}
	return nc, err
}

// Several listeners share a port, and each gets connections.
func TestListenersShareAPort(t *testing.T) {
	one, two := NewWith(Config{ReusePort: true}), NewWith(Config{ReusePort: true})
	defer one.Close()
	defer two.Close()
	first, local := listenLocal(t, one, handshakes)
	second, err := two.Listen(t.Context(), local, first.Addr())
	if err != nil {
		t.Fatal(err)
	}
	var got [2]atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for i, l := range []conn.Listener{first, second} {
		work.Go(func() {
			for {
				c, err := l.Accept(ctx)
				if err != nil {
					return
				}
				got[i].Add(1)
				c.Close(nil)
			}
		})
	}
	const most = 500 // all with one listener: once in 2^500 runs
	for n := 0; n < most && (got[0].Load() == 0 || got[1].Load() == 0); n++ {
		c, err := one.Dial(t.Context(), local, local.Key.ID(), first.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, 1)) // until it was accepted and closed
		c.Close(nil)
	}
	stop()
	work.Wait()
	if got[0].Load() == 0 || got[1].Load() == 0 {
		t.Errorf("the listeners got %d and %d connections, want each some", got[0].Load(), got[1].Load())
	}
	// One that goes leaves the port to the other.
	first.Close()
	a, err := one.Dial(t.Context(), local, local.Key.ID(), second.Addr())
	if err != nil {
		t.Fatal(err)
	}
	a.Close(nil)
}

// A process hands its listening socket on to its successor while others dial:
// not one dial is refused, and every connection is handed out by one of them.
func TestRestartRefusesNobody(t *testing.T) {
	var socket *net.TCPListener
	old := NewWith(Config{Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
		l, err := new(net.ListenConfig).Listen(ctx, network, address)
		if err == nil {
			socket = l.(*net.TCPListener)
		}
		return l, err
	}})
	defer old.Close()
	before, local := listenLocal(t, old, handshakes)
	var accepted [2]atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	var acceptors, dialers sync.WaitGroup
	accept := func(i int, l conn.Listener) {
		acceptors.Go(func() {
			for {
				c, err := l.Accept(ctx)
				if err != nil {
					return
				}
				accepted[i].Add(1)
				_, _ = c.Write([]byte("x"))
				acceptors.Go(func() { _, _ = c.Read(make([]byte, 1)); c.Close(nil) }) // until the dialler closes
			}
		})
	}
	accept(0, before)
	var dialled atomic.Int32
	done := make(chan struct{})
	clients := New()
	defer clients.Close()
	for range 4 {
		dialers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := clients.Dial(t.Context(), local, local.Key.ID(), before.Addr())
				if err != nil {
					t.Errorf("a dial was refused: %v", err)
					return
				}
				dialled.Add(1)
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Errorf("a connection was not handed out: %v", err)
				}
				c.Close(nil)
			}
		})
	}
	more := func(i int) { // until the listener has had more connections
		for from := accepted[i].Load(); accepted[i].Load() < from+20 && !t.Failed(); {
			timer := time.NewTimer(time.Millisecond)
			<-timer.C
		}
	}
	more(0)
	file, err := socket.File() // what a child process inherits
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := net.FileListener(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	successor := NewWith(Config{Listen: func(context.Context, string, string) (net.Listener, error) { return inherited, nil }})
	defer successor.Close()
	after, err := successor.Listen(t.Context(), local, identity.Address{Scheme: "tcp", Host: before.Addr().Host})
	if err != nil {
		t.Fatal(err)
	}
	accept(1, after)
	socket.Close() // the old process takes no more; what it has taken goes on
	more(1)
	close(done)
	dialers.Wait()
	stop()
	acceptors.Wait()
	if sum := accepted[0].Load() + accepted[1].Load(); sum != dialled.Load() {
		t.Errorf("%d connections were dialled and %d handed out", dialled.Load(), sum)
	}
}

// A small backlog is the system's from then on.
func TestBacklog(t *testing.T) {
	tr := NewWith(Config{Backlog: 1, Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
		l, err := new(net.ListenConfig).Listen(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &unaccepted{l.(*net.TCPListener), make(chan struct{}), sync.Once{}}, nil
	}})
	defer tr.Close()
	l, _ := listenLocal(t, tr, handshakes)
	const many = 20
	refused := 0
	for range many {
		nc, err := net.DialTimeout("tcp", l.Addr().Host, 50*time.Millisecond)
		if err != nil {
			refused++
			break // the others would, too
		}
		defer nc.Close()
	}
	if refused == 0 {
		t.Errorf("%d connections wait with a backlog of 1", many)
	}
}

// An unaccepted listener leaves all connections to the system.
type unaccepted struct {
	*net.TCPListener
	closed chan struct{}
	once   sync.Once
}

func (l *unaccepted) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *unaccepted) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}
