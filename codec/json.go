package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
)

// JSON returns a codec for JSON, by encoding/json and its rules and tags, with
// these differences: limits apply, keys may not occur twice (for a struct, not
// even in another case), arrays of a fixed length are of that length, and <, >
// and & are not escaped. Map keys of an integer type have no leading zeros. Keys
// are sorted, so that equal values have equal encodings.
func JSON(l Limits) Codec {
	c := &jsonCodec{limits: l.orDefaults()}
	c.states.New = func() any {
		s := &jsonState{scan: newJSONScanner()}
		s.enc = json.NewEncoder(&s.buf)
		s.enc.SetEscapeHTML(false)
		return s
	}
	return c
}

type jsonCodec struct {
	limits Limits
	states sync.Pool // of *jsonState
}

type jsonState struct {
	buf  bytes.Buffer
	enc  *json.Encoder
	scan *jsonScanner
}

func (c *jsonCodec) Name() string { return "json" }

func (c *jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	if v == nil {
		return append(dst, "null"...), nil
	}
	if b, ok := v.([]byte); ok { // a large one need not be copied thrice to be refused
		if err := c.limits.checkSize(len(b)); err != nil {
			return dst, err
		}
	}
	p := jsonPlans.ofValue(v)
	if p.err != nil {
		return dst, p.err
	}
	s := c.states.Get().(*jsonState)
	if err := s.encode(v, p.root, &c.limits); err != nil {
		return dst, fmt.Errorf("encode %T: %w", v, err) // and s, which may be in any state, is dropped
	}
	dst = append(dst, s.text()...)
	if s.buf.Cap() <= keepBuffer {
		c.states.Put(s)
	}
	return dst, nil
}

// text is what was encoded, without the encoder's newline.
func (s *jsonState) text() []byte { return bytes.TrimSuffix(s.buf.Bytes(), []byte{'\n'}) }

func (s *jsonState) encode(v any, n *node, l *Limits) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("%w: panic: %v", ErrUnsupported, x)
		}
	}()
	if n.dynamic {
		w := walker{plans: jsonPlans, limits: l}
		if err := w.top(reflect.ValueOf(v), n); err != nil {
			return err
		}
	}
	s.buf.Reset()
	if err := s.enc.Encode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err := l.checkSize(len(s.text())); err != nil {
		return err
	}
	return s.scan.scan(s.text(), n, l)
}

func (c *jsonCodec) Decode(data []byte, v any) error {
	if err := c.limits.checkSize(len(data)); err != nil {
		return err
	}
	t, err := target(v)
	if err != nil {
		return err
	}
	p := jsonPlans.of(t)
	if p.err != nil {
		return p.err
	}
	s := c.states.Get().(*jsonState)
	broken, err := s.decode(data, v, p.root, &c.limits)
	if !broken {
		c.states.Put(s)
	}
	if err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

func (s *jsonState) decode(data []byte, v any, n *node, l *Limits) (broken bool, err error) {
	defer func() {
		if x := recover(); x != nil {
			broken, err = true, recovered(x)
		}
	}()
	if err := s.scan.scan(data, n, l); err != nil {
		return false, err
	}
	reflect.ValueOf(v).Elem().SetZero()
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return false, nil
}
