package link

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/plexus-net/plexus/codec"
)

// A Codec turns messages into the contents of frames and back: Out is what
// this side sends, In what it receives. Methods are called from any goroutine
// and for many links.
type Codec[In, Out any] interface {
	// Append appends the encoding of *v to dst and returns the extended
	// buffer, as append does; dst is the buffer that is sent from. It keeps
	// neither.
	Append(dst []byte, v *Out) ([]byte, error)
	// Decode makes *v the message that frame encodes. frame is part of the
	// buffer that was read into: what is kept of it has to be copied. An error
	// ends the link.
	Decode(frame []byte, v *In) error
}

// Bytes is the [Codec] of byte slices and strings, which are sent as they are.
// What is received is a copy.
type Bytes[In, Out []byte | string] struct{}

// Append implements [Codec].
func (Bytes[In, Out]) Append(dst []byte, v *Out) ([]byte, error) { return append(dst, *v...), nil }

// Decode implements [Codec].
func (Bytes[In, Out]) Decode(frame []byte, v *In) error {
	switch p := any(v).(type) {
	case *[]byte:
		*p = append(make([]byte, 0, len(frame)), frame...)
	case *string:
		*p = string(frame)
	}
	return nil
}

// Borrowed is [Bytes] without the copy: what is received is valid until the
// next call of Recv or TryRecv. It is not for pools.
type Borrowed struct{}

// Append implements [Codec].
func (Borrowed) Append(dst []byte, v *[]byte) ([]byte, error) { return append(dst, *v...), nil }

// Decode implements [Codec].
func (Borrowed) Decode(frame []byte, v *[]byte) error { *v = frame; return nil }

// Binary is the [Codec] of types of a fixed size, as encoding/binary has them:
// numbers, and arrays and structs of them. A frame has to have exactly that
// size.
type Binary[In, Out any] struct {
	LittleEndian bool
}

// Append implements [Codec].
func (c Binary[In, Out]) Append(dst []byte, v *Out) ([]byte, error) {
	if c.LittleEndian {
		return binary.Append(dst, binary.LittleEndian, v)
	}
	return binary.Append(dst, binary.BigEndian, v)
}

// Decode implements [Codec].
func (c Binary[In, Out]) Decode(frame []byte, v *In) error {
	var order binary.ByteOrder = binary.BigEndian
	if c.LittleEndian {
		order = binary.LittleEndian
	}
	n, err := binary.Decode(frame, order, v)
	if err == nil && n != len(frame) {
		err = fmt.Errorf("link: a frame of %d bytes for a %T of %d", len(frame), *v, n)
	}
	return err
}

func (c Binary[In, Out]) validate() error {
	for _, t := range []reflect.Type{reflect.TypeFor[In](), reflect.TypeFor[Out]()} {
		if t.Kind() == reflect.Slice || binary.Size(reflect.New(t).Interface()) < 0 {
			return fmt.Errorf("link: Binary: %v has no fixed size; use Coded", t)
		}
	}
	return nil
}

// Coded is the [Codec] that encodes with package codec: msgpack, JSON, or what
// satisfies its interface.
type Coded[In, Out any] struct {
	Codec codec.Codec // default codec.Default
}

// Append implements [Codec].
func (c Coded[In, Out]) Append(dst []byte, v *Out) ([]byte, error) { return c.codec().Append(dst, v) }

// Decode implements [Codec].
func (c Coded[In, Out]) Decode(frame []byte, v *In) error { return c.codec().Decode(frame, v) }

func (c Coded[In, Out]) codec() codec.Codec {
	if c.Codec == nil {
		return codec.Default
	}
	return c.Codec
}

// usual returns the codec for messages that no codec was given for.
func usual[In, Out any]() Codec[In, Out] {
	for _, c := range []any{Bytes[[]byte, []byte]{}, Bytes[string, string]{}, Bytes[[]byte, string]{}, Bytes[string, []byte]{}} {
		if c, ok := c.(Codec[In, Out]); ok {
			return c
		}
	}
	return Coded[In, Out]{}
}

// A lender has messages that are their own encoding and can be written from
// where they are.
type lender[Out any] interface{ lend(v Out) []byte }

func (Borrowed) lend(v []byte) []byte { return v }

func (Bytes[In, Out]) lend(v Out) []byte {
	b, _ := any(v).([]byte)
	return b
}
