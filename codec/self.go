package codec

import (
	"encoding"
	"fmt"
	"reflect"
)

// A self is how a type encodes itself, if it does.
type self uint8

const (
	selfNone self = iota
	selfAppender
	selfMsgp
	selfMarshaler
)

// The methods that tinylib/msgp generates.
type (
	msgMarshaler   interface{ MarshalMsg([]byte) ([]byte, error) }
	msgUnmarshaler interface{ UnmarshalMsg([]byte) ([]byte, error) }
)

var (
	binaryAppender    = reflect.TypeFor[encoding.BinaryAppender]()
	binaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	binaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
	msgpMarshaler     = reflect.TypeFor[msgMarshaler]()
	msgpUnmarshaler   = reflect.TypeFor[msgUnmarshaler]()
)

// selfOf looks at the methods of *t, which are those of t too.
func selfOf(t reflect.Type) self {
	if t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer {
		return selfNone
	}
	p := reflect.PointerTo(t)
	switch binary := p.Implements(binaryUnmarshaler); {
	case binary && p.Implements(binaryAppender):
		return selfAppender
	case p.Implements(msgpUnmarshaler) && p.Implements(msgpMarshaler):
		return selfMsgp
	case binary && p.Implements(binaryMarshaler):
		return selfMarshaler
	}
	return selfNone
}

// append appends what v says its encoding is.
func (s self) append(dst []byte, v any, l *Limits) (out []byte, err error) {
	defer func() {
		if x := recover(); x != nil {
			out, err = dst, fmt.Errorf("%w: %T: panic: %v", ErrUnsupported, v, x)
		}
	}()
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() {
		return dst, errNil(v)
	}
	out, err = s.call(dst, v)
	if err != nil {
		return dst, fmt.Errorf("codec: encode %T: %w", v, err)
	}
	if len(out) < len(dst) {
		return dst, fmt.Errorf("%w: %T returned less than it was given to append to", ErrUnsupported, v)
	}
	if err := l.checkSize(len(out) - len(dst)); err != nil {
		return dst, err
	}
	return out, nil
}

func (s self) call(dst []byte, v any) ([]byte, error) {
	switch s {
	case selfAppender:
		m, ok := v.(encoding.BinaryAppender)
		if !ok { // the method is the pointer's, and v is none
			m = addressed(v).(encoding.BinaryAppender)
		}
		return m.AppendBinary(dst)
	case selfMsgp:
		m, ok := v.(msgMarshaler)
		if !ok {
			m = addressed(v).(msgMarshaler)
		}
		return m.MarshalMsg(dst)
	default:
		m, ok := v.(encoding.BinaryMarshaler)
		if !ok {
			m = addressed(v).(encoding.BinaryMarshaler)
		}
		data, err := m.MarshalBinary()
		return append(dst, data...), err
	}
}

// addressed returns a pointer to a copy of v.
func addressed(v any) any {
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}

// decode lets v decode itself.
func (s self) decode(data []byte, v any) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = recovered(x)
		}
	}()
	if s == selfMsgp {
		rest, err := v.(msgUnmarshaler).UnmarshalMsg(data)
		if err != nil {
			return fmt.Errorf("%w: %T: %w", ErrInvalid, v, err)
		}
		if len(rest) > 0 {
			return fmt.Errorf("%w: %d bytes after %T", ErrTrailing, len(rest), v)
		}
		return nil
	}
	if err := v.(encoding.BinaryUnmarshaler).UnmarshalBinary(data); err != nil {
		return fmt.Errorf("%w: %T: %w", ErrInvalid, v, err)
	}
	return nil
}
