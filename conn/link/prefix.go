package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Prefix frames begin with their length. The zero value has four bytes, big
// endian, that count what follows them.
//
//	<── Offset ──><─── Width ───><──────── contents ────────>
//	┌────────────┬──────────────┬───────────────────────────┐
//	│  (codec's) │    length    │                           │
//	└────────────┴──────────────┴───────────────────────────┘
type Prefix struct {
	// Width is how many bytes the length has, 1 to 8. Default 4.
	Width int
	// Uvarint makes the length a varint, as in encoding/binary, of as few
	// bytes as it takes. Width, LittleEndian, Offset and Whole are not used
	// then, nor Inclusive.
	Uvarint bool
	// LittleEndian is the order of the bytes of the length.
	LittleEndian bool
	// Offset is how many bytes come before the length. They are part of the
	// message: Offset implies Whole. At most 4096.
	Offset int
	// Whole gives the codec whole frames, with what is before the contents. It
	// leaves room for the length where it encodes, and the Framer fills it in.
	Whole bool
	// Inclusive lengths count what is before the contents too.
	Inclusive bool
	// Adjust is added to every length that is sent and taken from every
	// length received.
	Adjust int
	// Max is the largest frame in bytes, with what is before its contents.
	// Default 16 MiB, or what Width can tell if that is less.
	Max int
}

const (
	maxFrame  = math.MaxInt32
	maxOffset = 4 << 10
	maxAdjust = 1 << 20
)

var (
	errShortLength = errors.New("link: received a length that does not count what it has to")
	errShrunk      = errors.New("link: the codec took away what it was to append to")
	errVarint      = errors.New("link: received a length that is no varint of as few bytes as it takes")
)

func (p Prefix) width() int {
	if p.Width == 0 {
		return 4
	}
	return p.Width
}

func (p Prefix) max() int {
	if p.Max <= 0 {
		return defaultMaxFrame
	}
	return p.Max
}

// head is how many bytes come before the contents.
func (p Prefix) head() int { return p.Offset + p.width() }

func (p Prefix) whole() bool { return p.Whole || p.Offset > 0 }

// constant is what a length counts beyond the contents.
func (p Prefix) constant() int {
	if p.Inclusive && !p.Uvarint {
		return p.Adjust + p.head()
	}
	return p.Adjust
}

func (p Prefix) validate() error {
	switch {
	case p.width() < 1 || p.width() > 8:
		return fmt.Errorf("link: Prefix.Width is %d, want 1 to 8 bytes", p.Width)
	case p.Offset < 0 || p.Offset > maxOffset:
		return fmt.Errorf("link: Prefix.Offset is %d, want 0 to %d", p.Offset, maxOffset)
	case p.Adjust < -maxAdjust || p.Adjust > maxAdjust:
		return fmt.Errorf("link: Prefix.Adjust is %d, want -%d to %d", p.Adjust, maxAdjust, maxAdjust)
	case p.max() > maxFrame:
		return fmt.Errorf("link: Prefix.Max is %d, at most %d is possible", p.Max, maxFrame)
	case p.Uvarint && (p.Offset > 0 || p.Whole || p.Inclusive):
		return errors.New("link: Prefix.Uvarint goes with neither Offset nor Whole nor Inclusive")
	case !p.Uvarint && p.max() < p.head():
		return fmt.Errorf("link: Prefix.Max is %d, less than the %d bytes before the contents", p.Max, p.head())
	}
	return nil
}

// Next implements [Framer].
func (p Prefix) Next(buf []byte, _ int) ([]byte, int, error) {
	head, length, err := p.length(buf)
	if err != nil {
		return nil, 0, err
	}
	if head > len(buf) {
		return nil, head, nil
	}
	most := int64(p.max()-head) + int64(p.constant()) // constants are small: no overflow
	if most < 0 || length > uint64(most) {
		return nil, 0, tooLarge(p.max())
	}
	size := int64(length) - int64(p.constant())
	if size < 0 {
		return nil, 0, errShortLength
	}
	n := head + int(size)
	switch {
	case n > len(buf):
		return nil, n, nil
	case p.whole():
		return buf[:n], n, nil
	}
	return buf[head:n], n, nil
}

// length reads the length at the start of buf. If head is beyond buf, it is not
// whole.
func (p Prefix) length(buf []byte) (head int, length uint64, err error) {
	if p.Uvarint {
		v, n := binary.Uvarint(buf)
		switch {
		case n < 0 || n > 1 && buf[n-1] == 0:
			return 0, 0, errVarint
		case n == 0 && len(buf) >= binary.MaxVarintLen64:
			return 0, 0, errVarint
		case n == 0:
			return len(buf) + 1, 0, nil
		}
		return n, v, nil
	}
	head = p.head()
	if len(buf) < head {
		return head, 0, nil
	}
	for i, b := range buf[p.Offset:head] {
		if p.LittleEndian {
			length |= uint64(b) << (8 * i)
		} else {
			length = length<<8 | uint64(b)
		}
	}
	return head, length, nil
}

var zeros [8]byte

// Open implements [Framer].
func (p Prefix) Open(dst []byte) []byte {
	if p.Uvarint || p.whole() {
		return dst
	}
	return append(dst, zeros[:p.width()]...)
}

// Seal implements [Framer].
func (p Prefix) Seal(buf []byte, start int) ([]byte, error) {
	n := len(buf) - start
	if p.Uvarint {
		return p.sealVarint(buf, start, n)
	}
	head := p.head()
	if n < head && !p.whole() {
		return nil, errShrunk
	}
	if n < head {
		return nil, fmt.Errorf("link: a message of %d bytes, where frames begin with %d that have the length in them", n, head)
	}
	if n > p.max() {
		return nil, tooLarge(p.max())
	}
	length := n - head + p.constant()
	if w := p.width(); length < 0 || w < 8 && uint64(length)>>(8*w) != 0 {
		return nil, fmt.Errorf("%w: a length of %d does not fit into Prefix.Width, %d bytes", ErrTooLarge, length, w)
	}
	p.put(buf[start+p.Offset:start+head], uint64(length))
	return buf, nil
}

func (p Prefix) put(field []byte, length uint64) {
	for i := range field {
		if p.LittleEndian {
			field[i] = byte(length >> (8 * i))
		} else {
			field[len(field)-1-i] = byte(length >> (8 * i))
		}
	}
}

func (p Prefix) sealVarint(buf []byte, start, n int) ([]byte, error) {
	var field [binary.MaxVarintLen64]byte
	if n+p.Adjust < 0 {
		return nil, fmt.Errorf("link: a message of %d bytes is too short for Prefix.Adjust of %d", n, p.Adjust)
	}
	k := binary.PutUvarint(field[:], uint64(n+p.Adjust))
	if n+k > p.max() {
		return nil, tooLarge(p.max())
	}
	buf = append(buf, field[:k]...)
	copy(buf[start+k:], buf[start:start+n])
	copy(buf[start:], field[:k])
	return buf, nil
}

// lead appends to dst what comes before contents of n bytes that stay where
// they are; ok is false if they cannot.
func (p Prefix) lead(dst []byte, n int) (_ []byte, ok bool) {
	length := n + p.constant()
	switch {
	case p.whole() || length < 0 || n+p.head() > p.max():
		return nil, false
	case p.Uvarint:
		return binary.AppendUvarint(dst, uint64(length)), n+binary.MaxVarintLen64 <= p.max()
	case p.width() < 8 && uint64(length)>>(8*p.width()) != 0:
		return nil, false // Seal says why
	}
	dst = append(dst, zeros[:p.width()]...)
	p.put(dst[len(dst)-p.width():], uint64(length))
	return dst, true
}

// plain is Prefix without anything but Max: what most use, and faster.
type plain struct{ max int }

func (p plain) Next(buf []byte, _ int) ([]byte, int, error) {
	if len(buf) < 4 {
		return nil, 4, nil
	}
	n := 4 + int64(binary.BigEndian.Uint32(buf))
	switch {
	case n > int64(p.max):
		return nil, 0, tooLarge(p.max)
	case n > int64(len(buf)):
		return nil, int(n), nil
	}
	return buf[4:n], int(n), nil
}

func (p plain) Open(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

func (p plain) Seal(buf []byte, start int) ([]byte, error) {
	n := len(buf) - start
	switch {
	case n > p.max:
		return nil, tooLarge(p.max)
	case n < 4:
		return nil, errShrunk
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(n-4))
	return buf, nil
}

// fastest returns f, or what does the same faster.
func fastest(f Framer) Framer {
	if p, ok := f.(Prefix); ok && p == (Prefix{Max: p.Max, Width: p.Width}) && p.width() == 4 {
		return &plain{p.max()}
	}
	return f
}
