package raw

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"

	"github.com/plexus-net/plexus/conn"
)

// A Handshaker decides on a connection before it counts as one. The stream is
// Handshake's alone until it returns: it may read and write it, set the options
// of its socket, and return another that wraps it (TLS, compression), or the
// same. What [Conn.Stream] returns later is what it returned, and may carry what
// Handshake has learned of the other side, by its RemoteAddr also where that
// comes from: that counts for Config.MaxPerPrefix from then on. Closing the
// returned stream has to close the one beneath.
//
// An error, or the end of ctx at Config.HandshakeTimeout, closes the stream; no
// other callback hears of it. It runs on a goroutine of its own.
type Handshaker interface {
	Handshake(ctx context.Context, stream net.Conn, d conn.Direction) (net.Conn, error)
}

// A Decoder finds messages in a stream: one per connection, used by one
// goroutine at a time.
//
// Decode gets all bytes that have come and were not taken yet, and returns how
// many it takes and the message in them: a part of data, or memory of its own
// that the next Decode may use again. n == 0 asks for more bytes; a nil message
// skips n bytes; one of no bytes is not nil. An error ends the connection with
// [Decode]. Whatever comes, at most Config.MaxFrame bytes are shown in vain.
//
// It is called with each read, and sees from their first byte on all those again
// that it did not take. One that searches for an end has to remember how far it
// has looked: else a peer that sends byte by byte makes it look at the square of
// MaxFrame. examples/bare shows how.
type Decoder interface {
	Decode(data []byte) (n int, msg []byte, err error)
}

// A DecoderMaker makes the decoder of each connection. Without one, a message is
// what one read returned.
type DecoderMaker interface {
	NewDecoder(i Info) Decoder
}

// A Receiver is called with each message, one after the other per connection, in
// order. msg is valid until it returns. ctx ends when the connection does. While
// it runs, no other callback of the connection does; see Config.Inbound for what
// happens to messages meanwhile. Without one, what comes is read and discarded.
type Receiver interface {
	OnMessage(ctx context.Context, c *Conn, msg []byte)
}

// An Encoder writes messages to a stream: one per connection, used by one
// goroutine at a time, in the order in which messages go out.
//
// Encode appends a message to dst, which holds what goes out with it and is not
// to be looked at. An error is that of the Send, and nothing is sent. It must
// not wait, and not use the connection.
type Encoder interface {
	Encode(dst, msg []byte) ([]byte, error)
}

// An EncoderMaker makes the encoder of each connection. Without one, messages are
// written as they are.
type EncoderMaker interface {
	NewEncoder(i Info) Encoder
}

// A Connector is called when a connection is there, before its first message is
// read, on the goroutine that reads. An error ends the connection with
// [ConnectHook], as does not returning within Config.HookTimeout. ctx ends then,
// and when the connection does. To wait for an answer, do so elsewhere.
type Connector interface {
	OnConnect(ctx context.Context, c *Conn) error
}

// A Disconnector is called exactly once for every connection that was there,
// after its other callbacks have returned and before it is removed: what it
// sends is still written, if the stream can be. ctx ends at Config.HookTimeout.
type Disconnector interface {
	OnDisconnect(ctx context.Context, c *Conn, why *EndError)
}

// protocols are those of a user's value, found once; nil where it has none.
type protocols struct {
	handshake  Handshaker
	decoders   DecoderMaker
	receiver   Receiver
	encoders   EncoderMaker
	connect    Connector
	disconnect Disconnector
}

func protocolsOf(v any) (p protocols) {
	p.handshake, _ = v.(Handshaker)
	p.decoders, _ = v.(DecoderMaker)
	p.receiver, _ = v.(Receiver)
	p.encoders, _ = v.(EncoderMaker)
	p.connect, _ = v.(Connector)
	p.disconnect, _ = v.(Disconnector)
	return p
}

// known are the protocols by method name.
var known = map[string]reflect.Type{
	"Handshake":    reflect.TypeFor[Handshaker](),
	"NewDecoder":   reflect.TypeFor[DecoderMaker](),
	"OnMessage":    reflect.TypeFor[Receiver](),
	"NewEncoder":   reflect.TypeFor[EncoderMaker](),
	"OnConnect":    reflect.TypeFor[Connector](),
	"OnDisconnect": reflect.TypeFor[Disconnector](),
}

// Check finds protocols that would silently never run: exported methods of v that
// are named like one, or nearly so, but are none; those that need a pointer to a
// value that was passed by value; and those of embedded types that hide each
// other. nil is a value without protocols. [New] calls it.
func Check(v any) error {
	if v == nil {
		return nil
	}
	t := reflect.TypeOf(v)
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
		return fmt.Errorf("raw: protocols are a nil %s; pass a value, or the word nil for none", t)
	}
	var errs []error
	for m := range t.Methods() {
		if hook, ok := known[m.Name]; ok {
			if !t.Implements(hook) {
				errs = append(errs, fmt.Errorf("raw: %s.%s does not have the signature of %s and would never run", t, m.Name, hook))
			}
		} else if meant := similar(m.Name); meant != "" {
			errs = append(errs, fmt.Errorf("raw: %s.%s would never run; is it %s? Otherwise rename it", t, m.Name, meant))
		}
	}
	pointer := t
	if t.Kind() != reflect.Pointer {
		pointer = reflect.PointerTo(t)
		for m := range pointer.Methods() {
			_, has := t.MethodByName(m.Name)
			if !has && (known[m.Name] != nil || similar(m.Name) != "") {
				errs = append(errs, fmt.Errorf("raw: %s.%s has a pointer receiver and would never run; pass a pointer", t, m.Name))
			}
		}
	}
	return errors.Join(append(errs, checkEmbedded(pointer)...)...)
}

// checkEmbedded finds protocols of embedded types that hide each other.
func checkEmbedded(pointer reflect.Type) (errs []error) {
	t := pointer.Elem()
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if _, has := pointer.MethodByName(name); has {
			continue
		}
		for f := range t.Fields() {
			if _, has := reflect.PointerTo(f.Type).MethodByName(name); f.Anonymous && has {
				errs = append(errs, fmt.Errorf("raw: %s embeds more than one type with %s, which hides them all; define %[2]s", t, name))
				break
			}
		}
	}
	return errs
}

// similar returns the protocol that a method was probably meant to be: one that
// differs by case or at most two letters, or any for On and a capital.
func similar(name string) string {
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if strings.EqualFold(k, name) || distance(k, name) <= 2 {
			return k
		}
	}
	if rest, ok := strings.CutPrefix(name, "On"); ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' {
		return "OnMessage, OnConnect or OnDisconnect"
	}
	return ""
}

// distance is how many letters have to be put in, taken out or changed to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
