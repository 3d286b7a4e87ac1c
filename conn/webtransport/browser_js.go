package webtransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall/js"

	"github.com/plexus-net/plexus/internal/browser"
	"github.com/plexus-net/plexus/internal/deadline"
)

// A stream is the net.Conn that conn/secure has over a stream of the browser's
// WebTransport. The browser asks for a chunk only when one is read, and takes one
// only when there is room: each direction has one promise at a time.
type stream struct {
	browser.NoAddrs
	deadline.Pair
	session js.Value // a WebTransport
	reader  js.Value
	writer  js.Value
	close   sync.Once
	closed  chan struct{}
	pending sync.WaitGroup  // promises that are not settled
	closing *sync.WaitGroup // streams of the transport that have some after Close

	// Of the one goroutine that reads.
	chunk   <-chan settled // the read under way; nil: none
	rest    []byte
	readErr error

	// Of the one goroutine that writes.
	writeErr error
}

// A settled is what has become of a promise.
type settled struct {
	value js.Value
	err   error
}

// settle returns what tells once a promise is settled.
func (s *stream) settle(promise js.Value) <-chan settled {
	done := make(chan settled, 1)
	s.pending.Add(1)
	var yes, no js.Func
	yes = js.FuncOf(func(_ js.Value, args []js.Value) any {
		yes.Release()
		no.Release()
		s.pending.Done()
		done <- settled{value: args[0]}
		return nil
	})
	no = js.FuncOf(func(_ js.Value, args []js.Value) any {
		yes.Release()
		no.Release()
		s.pending.Done()
		done <- settled{err: errors.New(js.Global().Call("String", args[0]).String())}
		return nil
	})
	promise.Call("then", yes, no)
	return done
}

// await waits until a promise is settled, or ctx ends.
func (s *stream) await(ctx context.Context, promise js.Value) (js.Value, error) {
	select {
	case got := <-s.settle(promise):
		return got.value, got.err
	case <-ctx.Done():
		return js.Undefined(), context.Cause(ctx)
	}
}

// open opens a session and its stream, until ctx ends. closing has those streams
// whose promises are not settled although they were closed.
func open(ctx context.Context, to target, closing *sync.WaitGroup) (*stream, error) {
	constructor := js.Global().Get("WebTransport")
	if constructor.Type() != js.TypeFunction {
		return nil, errors.New("this JavaScript has no WebTransport; browsers have it on pages of HTTPS and of this machine")
	}
	options := map[string]any{}
	var hashes []any
	for _, h := range to.hashes {
		hashes = append(hashes, map[string]any{"algorithm": "sha-256", "value": browser.ToJS(h[:])})
	}
	if hashes != nil {
		options["serverCertificateHashes"] = hashes
	}
	s := &stream{NoAddrs: scheme, closing: closing, closed: make(chan struct{})}
	if err := browser.Try(func() { s.session = constructor.New(to.url.String(), options) }); err != nil {
		return nil, err
	}
	s.settle(s.session.Get("closed")) // a promise that nobody hears is an error of the page
	if _, err := s.await(ctx, s.session.Get("ready")); err != nil {
		s.Close()
		return nil, fmt.Errorf("no session: %w", err)
	}
	pair, err := s.await(ctx, s.session.Call("createBidirectionalStream"))
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("no stream: %w", err)
	}
	s.reader = pair.Get("readable").Call("getReader")
	s.writer = pair.Get("writable").Call("getWriter")
	s.settle(s.reader.Get("closed"))
	s.settle(s.writer.Get("closed"))
	return s, nil
}

// Read returns what has arrived, not more than one chunk.
func (s *stream) Read(p []byte) (int, error) {
	if s.Reads.Passed() {
		return 0, os.ErrDeadlineExceeded // crypto/tls goes on after exactly this error
	}
	for len(s.rest) == 0 && len(p) > 0 {
		if s.readErr != nil {
			return 0, s.readErr
		}
		select {
		case <-s.closed:
			return 0, net.ErrClosed
		default:
		}
		if s.chunk == nil {
			s.chunk = s.settle(s.reader.Call("read"))
		}
		select {
		case got := <-s.chunk:
			s.chunk = nil
			s.take(got)
		case <-s.Reads.Wait():
			return 0, os.ErrDeadlineExceeded
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// take keeps what a read has brought.
func (s *stream) take(got settled) {
	switch {
	case got.err != nil:
		s.readErr = fmt.Errorf("webtransport: read: %w", got.err)
	case got.value.Get("done").Bool():
		s.readErr = io.EOF
	default:
		s.rest = browser.ToGo(got.value.Get("value"))
	}
}

// Write waits until the browser has taken p. Nothing can be written after a
// missed deadline.
func (s *stream) Write(p []byte) (int, error) {
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	if s.Writes.Passed() {
		return 0, os.ErrDeadlineExceeded
	}
	select {
	case got := <-s.settle(s.writer.Call("write", browser.ToJS(p))):
		if got.err != nil {
			s.writeErr = fmt.Errorf("webtransport: write: %w", got.err)
		}
	case <-s.Writes.Wait():
		s.writeErr = os.ErrDeadlineExceeded
	case <-s.closed:
		s.writeErr = net.ErrClosed
	}
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	return len(p), nil
}

// Close ends the session.
func (s *stream) Close() error {
	s.close.Do(func() {
		close(s.closed)
		_ = browser.Try(func() { s.session.Call("close") }) // it may have ended already
		s.closing.Go(s.pending.Wait)
	})
	return nil
}
