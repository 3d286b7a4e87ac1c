package raw

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// Pauses after failed accepts, for example without file descriptors.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// drainTime is how long a listener that closes takes connections that the system
// has made already: they would be reset.
const drainTime = 2 * time.Millisecond

// A listener is one listening socket and its loop.
type listener struct {
	node  *Node
	net   net.Listener
	ctx   context.Context // ends with the listener
	stop  context.CancelFunc
	ended chan struct{} // closed by the loop
}

// Listen begins to accept connections and returns the address. It does nothing if
// the node listens already. After [Node.StopListening] it listens at the same
// port again, also if that was any free one. ctx bounds the call, not the
// listening.
func (n *Node) Listen(ctx context.Context) (net.Addr, error) {
	n.mu.Lock()
	switch {
	case n.closing:
		n.mu.Unlock()
		return nil, ErrShutdown
	case n.listener != nil:
		addr := n.listener.net.Addr()
		n.mu.Unlock()
		return addr, nil
	case n.opening:
		n.mu.Unlock()
		return nil, errors.New("raw: another Listen is under way")
	}
	n.opening = true
	address := n.config.Address
	if n.bound != "" {
		address = n.bound
	}
	n.mu.Unlock()

	nl, err := n.open(ctx, address)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opening = false
	if err != nil {
		return nil, fmt.Errorf("raw: listen: %w", err)
	}
	if n.closing {
		nl.Close()
		return nil, ErrShutdown
	}
	l := &listener{node: n, net: nl, ended: make(chan struct{})}
	l.ctx, l.stop = context.WithCancel(context.Background())
	n.listener, n.bound = l, nl.Addr().String()
	n.loops.Go(l.run)
	return nl.Addr(), nil
}

// open makes the listening socket.
func (n *Node) open(ctx context.Context, address string) (nl net.Listener, err error) {
	c := n.config
	if c.NewListener != nil {
		err := guard("NewListener", func() (err error) {
			nl, err = c.NewListener(ctx)
			return err
		})
		if err == nil && nl == nil {
			err = errors.New("raw: NewListener returned no listener")
		}
		return nl, err
	}
	if address == "" {
		return nil, errors.New("no address; set Config.Address to a path")
	}
	var lc net.ListenConfig
	if c.ReusePort {
		lc.Control = reusePort
	}
	nl, err = lc.Listen(ctx, c.Network, address)
	if err == nil && c.Backlog > 0 {
		if err = setBacklog(nl, c.Backlog); err != nil {
			nl.Close()
		}
	}
	return nl, err
}

// StopListening accepts no more connections; those that are there or being made
// stay. It does nothing if the node does not listen. [Node.Listen] begins again.
func (n *Node) StopListening() error { return n.stopListening(drainTime) }

func (n *Node) stopListening(drain time.Duration) error {
	n.mu.Lock()
	l := n.listener
	n.listener = nil
	n.mu.Unlock()
	if l == nil {
		return nil
	}
	l.stop()
	if d, ok := l.net.(interface{ SetDeadline(time.Time) error }); ok && drain > 0 && d.SetDeadline(time.Now().Add(drain)) == nil {
		<-l.ended
	}
	err := l.net.Close()
	<-l.ended
	return err
}

// ListeningAddr returns the address that the node listens at, nil if it does not.
func (n *Node) ListeningAddr() net.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener == nil {
		return nil
	}
	return n.listener.net.Addr()
}

// ListenerFile returns a descriptor of the listening socket for another process,
// which makes a listener of it with net.FileListener and Config.NewListener. Both
// accept from one queue, so that none is lost when this node stops listening. The
// file is the caller's. Of a Unix socket, the path stays from then on when the
// listener closes.
func (n *Node) ListenerFile() (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener == nil {
		return nil, errors.New("raw: no listener; call Listen first")
	}
	if u, ok := n.listener.net.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, ok := n.listener.net.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("raw: a %T has no descriptor", n.listener.net)
	}
	return f.File()
}

// run accepts until the listener closes.
func (l *listener) run() {
	defer close(l.ended)
	n, pause := l.node, minPause
	for {
		nc, err := l.net.Accept()
		if err == nil {
			pause = minPause
			l.take(nc)
			continue
		}
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		n.counts.acceptErrors.Add(1)
		if errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ECONNRESET) {
			continue // that one is gone; nothing says that the next one will be
		}
		if pause == minPause {
			n.config.Log.Warn("cannot accept", "addr", l.net.Addr(), "err", err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.ctx.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// take begins a connection that was accepted, or refuses it. It may wait for one
// that is being made to be done: those that come meanwhile wait in the backlog.
func (l *listener) take(nc net.Conn) {
	n := l.node
	s, err := n.limits.take(nc.RemoteAddr())
	if err != nil {
		n.counts.refused(err)
		nc.Close()
		return
	}
	a := n.newAttempt(context.Background(), conn.Incoming, s)
	a.nc, s.a = nc, a
	if err := s.takeComing(l.ctx); err != nil {
		a.fail(err)
		return
	}
	if !n.beginIncoming(a) {
		a.fail(ErrShutdown)
		return
	}
	go a.runAndLive(nil)
}

// beginIncoming makes the node know an attempt, unless it shuts down.
func (n *Node) beginIncoming(a *attempt) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	a.mu.Lock()
	over := a.over // it had to give way already
	a.mu.Unlock()
	if n.closing || over {
		return false
	}
	n.begin(a)
	return true
}

// setBuffers sets the sizes of a socket's buffers. That of a stream that has none
// are its own business.
func setBuffers(nc net.Conn, c Config) {
	if s, ok := nc.(interface{ SetReadBuffer(int) error }); ok && c.SocketReadBuffer > 0 {
		_ = s.SetReadBuffer(c.SocketReadBuffer) // a broken socket tells soon enough
	}
	if s, ok := nc.(interface{ SetWriteBuffer(int) error }); ok && c.SocketWriteBuffer > 0 {
		_ = s.SetWriteBuffer(c.SocketWriteBuffer)
	}
}
