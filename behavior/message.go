package behavior

import (
	"fmt"
	"sync"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/codec"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// A Message is a kind of message of a service that carries a T. Both ends share
// it as a package variable or constant:
//
//	const Greet = behavior.Message[string](1)
//
// Payloads are msgpack, but for types that bring their own encoding: see
// [codec.Msgpack].
type Message[T any] conn.Kind

// A Sender is an agent of a behaviour or of a handler.
type Sender interface {
	Send(to router.Route, kind conn.Kind, payload []byte) error
}

// Kind returns the kind.
func (m Message[T]) Kind() conn.Kind { return conn.Kind(m) }

// Send encodes v and sends it. The error is the codec's or the agent's.
func (m Message[T]) Send(a Sender, to router.Route, v T) error {
	return m.encode(v, func(payload []byte) error { return a.Send(to, m.Kind(), payload) })
}

// Broadcast encodes v once and sends it as [agent.Behavior.Broadcast] does.
func (m Message[T]) Broadcast(a *agent.Behavior, v T) (sent int, err error) {
	err = m.encode(v, func(payload []byte) error {
		sent = a.Broadcast(m.Kind(), payload)
		return nil
	})
	return sent, err
}

// encode calls use with the encoding of v, which is valid during the call.
func (m Message[T]) encode(v T, use func([]byte) error) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	payload, err := codec.Default.Append((*buf)[:0], &v)
	if err != nil {
		return fmt.Errorf("behavior: message kind %d: %w", m, err)
	}
	if cap(payload) <= maxPooled {
		*buf = payload
	}
	return use(payload)
}

// Decode returns the value that a message carries. The kind must be this one.
func (m Message[T]) Decode(msg *conn.Message) (v T, err error) {
	if msg.Kind != m.Kind() {
		return v, fmt.Errorf("behavior: message is of kind %d, want %d", msg.Kind, m)
	}
	if err := codec.Default.Decode(msg.Payload, &v); err != nil {
		var zero T // what was decoded of a bad payload is not for use
		return zero, fmt.Errorf("behavior: message kind %d from %s: %w", m, msg.From.Short(), err)
	}
	return v, nil
}

// buffers holds scratch space for encoding.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// maxPooled is the largest buffer that is kept.
const maxPooled = 64 << 10

// A Mux hands each message to the function that is registered for its kind
// with [On]. Embedded, its OnMessage makes a behaviour. The zero Mux is ready.
type Mux struct {
	funcs map[conn.Kind]func(*agent.Behavior, *conn.Message) error

	// Bad is called with messages of unknown kinds, for which err is nil, and
	// with payloads that cannot be decoded. Default: they are logged at debug
	// level.
	Bad func(a *agent.Behavior, m *conn.Message, err error)
}

// On registers f for a kind of message, before the behaviour is registered. A
// kind registered twice panics: it is an error in the program.
func On[T any](mux *Mux, m Message[T], f func(a *agent.Behavior, msg *conn.Message, v T)) {
	if _, dup := mux.funcs[m.Kind()]; dup {
		panic(fmt.Sprintf("behavior: kind %d is registered twice", m))
	}
	if mux.funcs == nil {
		mux.funcs = make(map[conn.Kind]func(*agent.Behavior, *conn.Message) error)
	}
	mux.funcs[m.Kind()] = func(a *agent.Behavior, msg *conn.Message) error {
		v, err := m.Decode(msg)
		if err == nil {
			f(a, msg, v)
		}
		return err
	}
}

// OnMessage calls the function for the message's kind.
func (x *Mux) OnMessage(a *agent.Behavior, m *conn.Message) {
	f, known := x.funcs[m.Kind]
	var err error
	if known {
		if err = f(a, m); err == nil {
			return
		}
	}
	if x.Bad != nil {
		x.Bad(a, m, err)
		return
	}
	a.Log().Debug("message ignored", "kind", m.Kind, "from", m.From.Short(), "known", known, "err", err)
}
