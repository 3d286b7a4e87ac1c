package codec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
)

// A Codec encodes and decodes values. All of its methods may be called
// concurrently. Package codectest tests that one keeps the rules below.
type Codec interface {
	// Name identifies the encoding, for logs and for choosing one by name.
	Name() string

	// Append appends the encoding of v, or of what v points to, to dst and
	// returns the extended buffer, as append does. On error it returns dst: the
	// same bytes, the same length. The capacity beyond may have been written to.
	// Append keeps no reference to dst or v.
	Append(dst []byte, v any) ([]byte, error)

	// Decode replaces what v, a non-nil pointer, points to by the value that
	// data encodes. It uses all of data and keeps no reference to it. Nothing
	// of the previous value remains, but a *[]byte keeps its memory where that
	// is large enough, as in append((*v)[:0], data...), and a type that decodes
	// itself may do so too. After an error, *v is not to be used.
	Decode(data []byte, v any) error
}

// Default is [Msgpack] with the default limits.
var Default = Msgpack(Limits{})

// Limits bound what one value may cost, encoded and decoded. Fields that are
// zero, or less, take their defaults.
type Limits struct {
	// Size is the largest encoding in bytes. Default 1 MiB, at most 2 GiB.
	Size int

	// Depth is how deep arrays, maps and structs may be nested; a flat struct
	// has depth 1. Default 32, at most 1024.
	Depth int

	// Elements is how many elements all arrays together, entries of maps and
	// unknown fields of structs may be. Default 65536.
	Elements int

	// Expansion is how many bytes decoding may allocate for each encoded byte,
	// 64 KiB for any value being free: an empty string is one byte in msgpack
	// and sixteen in Go, an empty struct one byte and anything in Go. Default 64.
	// The estimate is on the high side.
	Expansion int
}

// Defaults and bounds of Limits.
const (
	defaultSize      = 1 << 20
	defaultDepth     = 32
	defaultElements  = 1 << 16
	defaultExpansion = 64
	maxSize          = math.MaxInt32
	maxDepth         = 1024
	freeMemory       = 64 << 10 // that a value may take whatever its encoding
)

func (l Limits) orDefaults() Limits {
	or := func(n, def, most int) int {
		if n <= 0 {
			n = def
		}
		return min(n, most)
	}
	return Limits{
		Size:      or(l.Size, defaultSize, maxSize),
		Depth:     or(l.Depth, defaultDepth, maxDepth),
		Elements:  or(l.Elements, defaultElements, maxSize),
		Expansion: or(l.Expansion, defaultExpansion, math.MaxInt32),
	}
}

// The errors of this package, to be tested with errors.Is. The first three
// depend on Limits and say which to raise; the others do not.
var (
	// ErrTooLarge is a value beyond Limits.Size, Elements or Expansion.
	ErrTooLarge = errors.New("codec: too large")
	// ErrTooDeep is a value nested deeper than Limits.Depth, or containing itself.
	ErrTooDeep = errors.New("codec: nested too deep")
	// ErrTruncated is an encoding that ends too early.
	ErrTruncated = errors.New("codec: truncated")
	// ErrTrailing is an encoding with something after its end.
	ErrTrailing = errors.New("codec: data after the value")
	// ErrDuplicateKey is a map or struct in which a key occurs twice.
	ErrDuplicateKey = errors.New("codec: duplicate key")
	// ErrInvalid is an encoding that is malformed or is not of the wanted type.
	ErrInvalid = errors.New("codec: invalid")
	// ErrUnsupported is a Go type or value that cannot be encoded or decoded:
	// a mistake of the program, not of a remote.
	ErrUnsupported = errors.New("codec: unsupported")
)

func (l *Limits) checkSize(n int) error {
	if n > l.Size {
		return fmt.Errorf("%w: %d bytes, Limits.Size allows %d", ErrTooLarge, n, l.Size)
	}
	return nil
}

// target returns the type that v points to.
func target(v any) (reflect.Type, error) {
	if v == nil {
		return nil, fmt.Errorf("%w: decode into nil; want a pointer", ErrUnsupported)
	}
	t := reflect.TypeOf(v)
	if t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("%w: decode into %v; want a pointer", ErrUnsupported, t)
	}
	if reflect.ValueOf(v).IsNil() {
		return nil, fmt.Errorf("%w: decode into a nil %v", ErrUnsupported, t)
	}
	return t.Elem(), nil
}

// recovered makes an error of the panic x: a type's own method, or the library,
// did not expect what it met.
func recovered(x any) error {
	if err, ok := x.(error); ok {
		return fmt.Errorf("%w: panic: %w", ErrInvalid, err)
	}
	return fmt.Errorf("%w: panic: %v", ErrInvalid, x)
}
