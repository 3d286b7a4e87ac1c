package codec

import (
	"fmt"
	"math"
	"reflect"
	"sync"

	mp "github.com/hashicorp/go-msgpack/v2/codec"
)

// Msgpack returns a codec for msgpack, the default. See the package comment for
// what it makes of which type. The entries of maps are in no order, so that the
// same value may have several encodings: bytes that get signed or compared are a
// case for [Canonical].
func Msgpack(l Limits) Codec { return newMsgpack("msgpack", l, false) }

// Canonical returns a codec as [Msgpack] does, which it understands and which
// understands it, but which sorts the keys of maps: equal values of one type have
// equal encodings, if those that encode themselves see to that. It is a little
// slower for maps.
func Canonical(l Limits) Codec { return newMsgpack("msgpack-canonical", l, true) }

type msgpack struct {
	name     string
	limits   Limits
	encoders sync.Pool // of *msgpackEncoder
	decoders sync.Pool // of *msgpackDecoder
}

type msgpackEncoder struct {
	enc  *mp.Encoder
	buf  []byte
	scan *msgpackScanner
}

type msgpackDecoder struct {
	dec  *mp.Decoder
	scan *msgpackScanner
}

// keepBuffer is the largest buffer that goes back to its pool.
const keepBuffer = 64 << 10

func newMsgpack(name string, l Limits, canonical bool) *msgpack {
	c := &msgpack{name: name, limits: l.orDefaults()}
	h := &mp.MsgpackHandle{WriteExt: true}
	h.Canonical = canonical
	h.MapType = anyMapType
	h.SignedInteger = true
	h.ErrorIfNoArrayExpand = true
	// The scanner has seen to it that lengths are true and affordable: what
	// holds the elements is made once, in its final size.
	h.MaxInitLen = math.MaxInt32
	h.MaxDepth = int16(c.limits.Depth + 2) // the library refuses what reaches it
	c.encoders.New = func() any {
		return &msgpackEncoder{mp.NewEncoderBytes(new([]byte), h), make([]byte, 0, 256), newMsgpackScanner()}
	}
	c.decoders.New = func() any {
		return &msgpackDecoder{mp.NewDecoderBytes([]byte{}, h), newMsgpackScanner()}
	}
	return c
}

func (c *msgpack) Name() string { return c.name }

func (c *msgpack) Append(dst []byte, v any) ([]byte, error) {
	if out, ok, err := appendBytes(dst, v, &c.limits); ok {
		return out, err
	}
	if v == nil {
		return append(dst, 0xc0), nil
	}
	p := msgpackPlans.ofValue(v)
	if p.err != nil {
		return dst, p.err
	}
	if p.self != selfNone {
		return p.self.append(dst, v, &c.limits)
	}
	e := c.encoders.Get().(*msgpackEncoder)
	if err := e.encode(v, p.root, &c.limits); err != nil {
		return dst, fmt.Errorf("encode %T: %w", v, err) // and e, which may be in any state, is dropped
	}
	dst = append(dst, e.buf...)
	if cap(e.buf) <= keepBuffer {
		c.encoders.Put(e)
	}
	return dst, nil
}

// encode encodes v to e.buf.
func (e *msgpackEncoder) encode(v any, n *node, l *Limits) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("%w: panic: %v", ErrUnsupported, x)
		}
	}()
	if n.dynamic {
		w := walker{plans: msgpackPlans, limits: l}
		if err := w.top(reflect.ValueOf(v), n); err != nil {
			return err
		}
	}
	e.buf = e.buf[:0]
	e.enc.ResetBytes(&e.buf)
	if err := e.enc.Encode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err := l.checkSize(len(e.buf)); err != nil {
		return err
	}
	if n.plain && n.depth <= l.Depth {
		return nil
	}
	return e.scan.scan(e.buf, n, l)
}

func (c *msgpack) Decode(data []byte, v any) error {
	if err := c.limits.checkSize(len(data)); err != nil {
		return err
	}
	if ok, err := decodeBytes(data, v); ok {
		return err
	}
	t, err := target(v)
	if err != nil {
		return err
	}
	p := msgpackPlans.of(t)
	if p.err != nil {
		return p.err
	}
	if p.self != selfNone {
		return p.self.decode(data, v)
	}
	d := c.decoders.Get().(*msgpackDecoder)
	broken, err := d.decode(data, v, p.root, &c.limits)
	if !broken {
		c.decoders.Put(d)
	}
	if err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// decode decodes data into v, of which n is the plan. If broken, d may be in any
// state and is to be dropped.
func (d *msgpackDecoder) decode(data []byte, v any, n *node, l *Limits) (broken bool, err error) {
	defer func() {
		if x := recover(); x != nil {
			broken, err = true, recovered(x)
		}
	}()
	if err := d.scan.scan(data, n, l); err != nil {
		return false, err
	}
	reflect.ValueOf(v).Elem().SetZero()
	d.dec.ResetBytes(data)
	if err := d.dec.Decode(v); err != nil {
		return true, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if n := d.dec.NumBytesRead(); n != len(data) {
		return true, fmt.Errorf("%w: %d of %d bytes were read", ErrInvalid, n, len(data))
	}
	d.dec.ResetBytes([]byte{}) // let go of data
	return false, nil
}
