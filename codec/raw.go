package codec

import "fmt"

// Raw passes []byte and string through as they are, and supports nothing else.
// Of its limits only Size applies.
func Raw(l Limits) Codec { return &raw{l.orDefaults()} }

type raw struct{ limits Limits }

func (r *raw) Name() string { return "raw" }

func (r *raw) Append(dst []byte, v any) ([]byte, error) {
	out, ok, err := appendBytes(dst, v, &r.limits)
	if !ok {
		return dst, fmt.Errorf("%w: raw encodes []byte and string, not %T", ErrUnsupported, v)
	}
	return out, err
}

func (r *raw) Decode(data []byte, v any) error {
	if err := r.limits.checkSize(len(data)); err != nil {
		return err
	}
	if ok, err := decodeBytes(data, v); ok {
		return err
	}
	return fmt.Errorf("%w: raw decodes into *[]byte and *string, not %T", ErrUnsupported, v)
}

// appendBytes appends v if it is bytes, and reports whether it is.
func appendBytes(dst []byte, v any, l *Limits) (out []byte, ok bool, err error) {
	switch v := v.(type) {
	case []byte:
		out, err = appendText(dst, v, l)
	case string:
		out, err = appendText(dst, v, l)
	case *[]byte:
		if v == nil {
			return dst, true, errNil(v)
		}
		out, err = appendText(dst, *v, l)
	case *string:
		if v == nil {
			return dst, true, errNil(v)
		}
		out, err = appendText(dst, *v, l)
	default:
		return dst, false, nil
	}
	return out, true, err
}

func appendText[T []byte | string](dst []byte, v T, l *Limits) ([]byte, error) {
	if err := l.checkSize(len(v)); err != nil {
		return dst, err
	}
	return append(dst, v...), nil
}

// decodeBytes decodes into v if it points to bytes, and reports whether it does.
func decodeBytes(data []byte, v any) (ok bool, err error) {
	switch v := v.(type) {
	case *[]byte:
		if v == nil {
			return true, errNil(v)
		}
		*v = append((*v)[:0], data...)
		if *v == nil {
			*v = []byte{} // as no data decodes elsewhere
		}
		return true, nil
	case *string:
		if v == nil {
			return true, errNil(v)
		}
		*v = string(data)
		return true, nil
	}
	return false, nil
}

func errNil(v any) error {
	return fmt.Errorf("%w: a nil %T has no encoding", ErrUnsupported, v)
}
