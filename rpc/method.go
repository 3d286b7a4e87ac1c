package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/plexus-net/plexus/codec"
	"github.com/plexus-net/plexus/router"
)

// A Method is the contract of a call that takes a Req and answers with a Res.
// Both sides share it as a package variable:
//
//	var Sum = rpc.NewMethod[SumRequest, SumReply]("sum")
//
// Payloads are msgpack, but for types that bring their own encoding: see
// package codec. A Method is a value, and safe for concurrent use.
type Method[Req, Res any] struct {
	name    string
	timeout time.Duration // zero: none of its own
	codec   codec.Codec
}

// NewMethod makes the method with a name of 1 to 64 bytes. Another length is an
// error in the program, and panics.
func NewMethod[Req, Res any](name string) Method[Req, Res] {
	checkName(name)
	return Method[Req, Res]{name: name, codec: codec.Default}
}

// Name returns the name of the method.
func (m Method[Req, Res]) Name() string { return m.name }

// Within returns the method with calls that end with Timeout after d, or at the
// deadline of their context if that comes first. Without it, calls whose context
// has no deadline, and calls of Go, end after 10 s.
func (m Method[Req, Res]) Within(d time.Duration) Method[Req, Res] {
	m.timeout = max(d, 1)
	return m
}

// Using returns the method with its payloads in another encoding, for both sides
// to use.
func (m Method[Req, Res]) Using(c codec.Codec) Method[Req, Res] {
	m.codec = c
	return m
}

// encodeCode returns the code for an error of a codec's Append.
func encodeCode(err error) Code {
	if errors.Is(err, codec.ErrTooLarge) {
		return TooLarge
	}
	return Decode
}

// Handle registers the function that serves the method. It is called in a
// goroutine, at the same time as others, and may block. Its context ends at the
// deadline of the caller, when the caller cancels the call, when its connection
// ends and when this behaviour stops; [CallerFrom] tells who calls.
//
// The caller receives the function's error as [Remote] with its text, or with
// another code: see [Errorf]. The answer of a function that panics is an error,
// too. A method registered twice panics.
func (m Method[Req, Res]) Handle(s *Server, f func(ctx context.Context, req Req) (Res, error)) {
	m.HandleWith(s, Options{}, f)
}

// HandleWith is [Method.Handle] with options.
func (m Method[Req, Res]) HandleWith(s *Server, o Options, f func(ctx context.Context, req Req) (Res, error)) {
	if o.OnTurn {
		f = onTurn(f)
	}
	s.register(m.name, o, func(v *serving, dst []byte) ([]byte, error) {
		var req Req
		if err := m.codec.Decode(v.body, &req); err != nil {
			return dst, Errorf(Decode, "request: %w", err)
		}
		res, err := f(v, req)
		if err != nil {
			return dst, err
		}
		out, err := m.codec.Append(dst, &res)
		if err != nil {
			return dst, Errorf(encodeCode(err), "answer: %w", err)
		}
		return out, nil
	})
}

// Call calls the method at the other end of a route and waits for the answer.
// The service called is that of the route, or else the caller's own. It waits
// while the receiver does not keep up, and for the answer until ctx ends, 10 s
// if ctx has no deadline. Every error is an [*Error].
//
// Call must not be called from a callback, which may not block: see [Method.Go].
func (m Method[Req, Res]) Call(ctx context.Context, c *Client, to router.Route, req Req) (Res, error) {
	var res Res
	k, err := c.begin(ctx, m.name, to, m.timeout)
	if err != nil {
		return res, err
	}
	defer k.release()
	if k.out, err = m.codec.Append(k.out, &req); err != nil {
		return res, k.fail(encodeCode(err), err)
	}
	if err = c.await(ctx, k); err != nil {
		return res, err
	}
	return m.result(k)
}

// result returns how a call has ended.
func (m Method[Req, Res]) result(k *call) (Res, error) {
	var res, none Res
	if err := k.result(); err != nil {
		return none, err
	}
	if err := m.codec.Decode(k.in, &res); err != nil {
		return none, k.fail(Decode, err) // what was decoded of a bad payload is not for use
	}
	return res, nil
}

// Go is [Method.Call] for callbacks: it sends the call and returns, and done is
// called on the behaviour's turn with how the call has ended, exactly once,
// unless the behaviour panics before. If the call cannot even be sent, Go
// returns why, and done is never called. Where the receiver does not keep up, it
// is not sent, but [Overloaded].
func (m Method[Req, Res]) Go(c *Client, to router.Route, req Req, done func(res Res, err error)) error {
	k, err := c.begin(context.Background(), m.name, to, m.timeout)
	if err != nil {
		return err
	}
	k.finish = func(k *call) { done(m.result(k)) }
	if k.out, err = m.codec.Append(k.out, &req); err != nil {
		return k.fail(encodeCode(err), err)
	}
	return c.launch(k)
}
