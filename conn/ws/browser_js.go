package ws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall/js"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/browser"
	"github.com/plexus-net/plexus/internal/deadline"
)

const (
	maxUnread = 64 << 20 // bytes received and not read: the browser cannot hold the sender back
	maxUnsent = 1 << 20  // bytes that the browser holds while writers go on
	minPoll   = time.Millisecond
	maxPoll   = 16 * time.Millisecond
)

// A listener is what a browser has none of.
type listener struct{ conn.Listener }

func (t *Transport) listen(context.Context, conn.Local, identity.Address) (conn.Listener, error) {
	return nil, errors.New("a browser cannot listen; be reached over connections that this node dials")
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	u, err := target(addr)
	if err == nil {
		_, err = secure.Config(local.Key, peer)
	}
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	s, err := open(limited, u.String())
	if err != nil {
		return nil, err
	}
	return secure.Client(ctx, s, local, peer, identity.Address{}, addr)
}

// A stream is the net.Conn that conn/secure has over a WebSocket of JavaScript:
// each Write is a message. It does not use coder/websocket, which in a browser
// neither tells how much waits to be sent nor bounds what waits to be read, and
// ends the connection when a read times out.
type stream struct {
	browser.NoAddrs
	deadline.Pair
	ws       js.Value
	handlers map[string]js.Func // by event
	opened   chan struct{}
	arrived  chan struct{} // has one when unread has grown
	closed   chan struct{} // closed with err set
	rest     []byte        // of the one goroutine that reads

	mu     sync.Mutex // guards what follows; never held while JavaScript runs
	unread [][]byte
	size   int // of unread
	err    error
}

// open dials, until ctx ends.
func open(ctx context.Context, url string) (*stream, error) {
	constructor := js.Global().Get("WebSocket")
	if constructor.Type() != js.TypeFunction {
		return nil, errors.New("this JavaScript has no WebSocket; Node.js 20 has one with NODE_OPTIONS=--experimental-websocket")
	}
	s := &stream{
		NoAddrs: "websocket", handlers: map[string]js.Func{},
		opened: make(chan struct{}), arrived: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if err := browser.Try(func() { s.ws = constructor.New(url) }); err != nil {
		return nil, err
	}
	s.ws.Set("binaryType", "arraybuffer")
	s.on("open", func(js.Value) { close(s.opened) })
	s.on("message", s.onMessage)
	s.on("close", s.onClose)
	select {
	case <-s.opened:
		return s, nil
	case <-s.closed:
		return nil, fmt.Errorf("not connected: %w; the browser tells its console why", s.err)
	case <-ctx.Done():
		s.Close()
		return nil, context.Cause(ctx)
	}
}

// on has f called for events until end.
func (s *stream) on(event string, f func(js.Value)) {
	h := js.FuncOf(func(_ js.Value, args []js.Value) any {
		f(args[0])
		return nil
	})
	s.handlers[event] = h
	s.ws.Call("addEventListener", event, h)
}

func (s *stream) onMessage(event js.Value) {
	data := event.Get("data")
	if data.Type() == js.TypeString {
		s.end(errors.New("ws: the peer sent a text message; want binary ones"))
		return
	}
	p := browser.ToGo(js.Global().Get("Uint8Array").New(data))
	s.mu.Lock()
	over := s.err == nil && s.size+len(p) > maxUnread
	if s.err == nil && !over && len(p) > 0 {
		s.unread, s.size = append(s.unread, p), s.size+len(p)
	}
	s.mu.Unlock()
	if over {
		s.end(fmt.Errorf("ws: %d MiB have arrived that nobody reads", maxUnread>>20))
		return
	}
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

func (s *stream) onClose(event js.Value) {
	err := io.EOF
	if code := event.Get("code").Int(); code != 1000 && code != 1001 && code != 1005 {
		err = fmt.Errorf("ws: the connection broke (%d)", code)
	}
	s.end(err)
}

// end closes the WebSocket and hears no more of it: the program may exit. What
// has arrived can still be read, but after Close.
func (s *stream) end(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.closed)
	}
	s.mu.Unlock()
	if !first {
		return
	}
	for event, h := range s.handlers {
		s.ws.Call("removeEventListener", event, h)
		h.Release()
	}
	_ = browser.Try(func() { s.ws.Call("close", 1000) }) // it may be closing already
}

// Read returns what has arrived, not more than one message.
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.Reads.Passed() {
			return 0, os.ErrDeadlineExceeded // crypto/tls goes on after exactly this error
		}
		if len(p) == 0 {
			return 0, nil
		}
		if len(s.rest) == 0 {
			s.next()
		}
		if len(s.rest) > 0 {
			n := copy(p, s.rest)
			s.rest = s.rest[n:]
			return n, nil
		}
		select {
		case <-s.arrived:
		case <-s.Reads.Wait():
		case <-s.closed:
			if s.next(); len(s.rest) == 0 {
				return 0, s.err
			}
		}
	}
}

func (s *stream) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unread) > 0 && s.err != net.ErrClosed {
		s.rest, s.unread[0] = s.unread[0], nil
		s.unread, s.size = s.unread[1:], s.size-len(s.rest)
	}
}

// Write sends p as one message. It waits while the browser holds more than 1 MiB,
// which is only to be found out by asking again and again.
func (s *stream) Write(p []byte) (int, error) {
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		select {
		case <-s.closed:
			return 0, s.err
		default:
		}
		if s.Writes.Passed() {
			return 0, os.ErrDeadlineExceeded
		}
		if s.ws.Get("bufferedAmount").Int() <= maxUnsent {
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.Writes.Wait():
		case <-s.closed:
		}
		timer.Stop()
	}
	data := browser.ToJS(p)
	if err := browser.Try(func() { s.ws.Call("send", data) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the connection; the browser sends what it holds.
func (s *stream) Close() error {
	s.end(net.ErrClosed)
	return nil
}
