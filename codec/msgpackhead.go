package codec

import "fmt"

type class uint8

const (
	classNil class = iota
	classBool
	classUint // an integer that is not negative
	classNegative
	classFloat
	classString
	classBytes
	classArray
	classMap
	classTime
)

var classNames = [...]string{"nil", "a boolean", "an integer", "a negative integer", "a float", "a string", "bytes", "an array", "a map", "a time"}

// A head is what begins a value, and for all but arrays and maps all of it.
type head struct {
	class class
	at    int    // offset of the contents
	n     int    // length of the contents, number of elements or entries
	num   uint64 // an integer, in two's complement
}

func (s *msgpackScanner) truncated() error {
	return fmt.Errorf("%w: more than the %d bytes there are were announced", ErrTruncated, len(s.data))
}

func (s *msgpackScanner) invalid(format string, args ...any) error {
	return fmt.Errorf("%w: before byte %d: %s", ErrInvalid, s.off, fmt.Sprintf(format, args...))
}

// head reads the next head and, of scalars, the contents.
func (s *msgpackScanner) head() (head, error) {
	if s.off >= len(s.data) {
		return head{}, s.truncated()
	}
	b := s.data[s.off]
	s.off++
	switch {
	case b <= 0x7f:
		return head{class: classUint, num: uint64(b)}, nil
	case b >= 0xe0:
		return head{class: classNegative, num: uint64(int8(b))}, nil
	case b <= 0x8f:
		return s.container(classMap, uint64(b&0x0f))
	case b <= 0x9f:
		return s.container(classArray, uint64(b&0x0f))
	case b <= 0xbf:
		return s.contents(classString, uint64(b&0x1f))
	}
	switch b {
	case 0xc0:
		return head{class: classNil}, nil
	case 0xc2, 0xc3:
		return head{class: classBool, num: uint64(b & 1)}, nil
	case 0xca:
		return s.contents(classFloat, 4)
	case 0xcb:
		return s.contents(classFloat, 8)
	case 0xc7, 0xd6, 0xd7:
		return s.time(b)
	case 0xc1, 0xc8, 0xc9, 0xd4, 0xd5, 0xd8:
		return head{}, s.invalid("0x%02x is no value, or one of an extension type", b)
	}
	return s.wide(b)
}

// wide reads a head with a number after its first byte.
func (s *msgpackScanner) wide(b byte) (head, error) {
	w := 1 << ((b - 0xc4) % 4) // bin, uint and int: 1, 2, 4 (and 8)
	switch {
	case b >= 0xdc: // array16, array32, map16, map32
		w = 2 << (b % 2)
	case b >= 0xd9: // str
		w = 1 << (b - 0xd9)
	}
	if len(s.data)-s.off < w {
		return head{}, s.truncated()
	}
	var num uint64
	for _, c := range s.data[s.off : s.off+w] {
		num = num<<8 | uint64(c)
	}
	s.off += w
	switch {
	case b <= 0xc6:
		return s.contents(classBytes, num)
	case b <= 0xcf:
		return head{class: classUint, num: num}, nil
	case b <= 0xd3:
		shift := 64 - 8*w
		if i := int64(num<<shift) >> shift; i < 0 {
			return head{class: classNegative, num: uint64(i)}, nil
		}
		return head{class: classUint, num: num}, nil
	case b <= 0xdb:
		return s.contents(classString, num)
	case b <= 0xdd:
		return s.container(classArray, num)
	default:
		return s.container(classMap, num)
	}
}

func (s *msgpackScanner) contents(c class, n uint64) (head, error) {
	if n > uint64(len(s.data)-s.off) {
		return head{}, s.truncated()
	}
	h := head{class: c, at: s.off, n: int(n)}
	s.off += int(n)
	return h, nil
}

// container refuses more elements than there are bytes left.
func (s *msgpackScanner) container(c class, n uint64) (head, error) {
	left := uint64(len(s.data) - s.off)
	if c == classMap {
		left /= 2
	}
	if n > left {
		return head{}, s.truncated()
	}
	return head{class: c, at: s.off, n: int(n)}, nil
}

// time reads the extension type -1, the only one there is, whose three forms
// the library reads as it writes them.
func (s *msgpackScanner) time(b byte) (head, error) {
	n := 4
	switch b {
	case 0xd7:
		n = 8
	case 0xc7:
		n = 12
		if s.off >= len(s.data) {
			return head{}, s.truncated()
		}
		if s.data[s.off] != 12 {
			return head{}, s.invalid("an extension type of %d bytes", s.data[s.off])
		}
		s.off++
	}
	if s.off >= len(s.data) {
		return head{}, s.truncated()
	}
	if s.data[s.off] != 0xff {
		return head{}, s.invalid("extension type %d; times, type -1, are the only one", int8(s.data[s.off]))
	}
	s.off++
	return s.contents(classTime, uint64(n))
}
