// Package frames has the buffer that readers collect bytes in until they make
// whole frames.
package frames

// Sizes of a buffer: it grows as reads fill it, and shrinks again when they have
// become small, so that an idle connection holds little.
const (
	minSize   = 2 << 10
	maxSize   = 256 << 10 // but for frames that are larger
	calmReads = 32        // small reads in a row before it shrinks
)

// A Buffer holds what has been read and not yet parsed. The zero Buffer is
// empty. One goroutine owns it.
type Buffer struct {
	b    []byte
	r, w int // b[r:w] has been read and not yet parsed
	calm int
}

// Hold returns a buffer that holds a copy of p.
func Hold(p []byte) Buffer {
	if len(p) == 0 {
		return Buffer{}
	}
	return Buffer{b: append([]byte(nil), p...), w: len(p)}
}

// Bytes returns what waits to be parsed. It is valid until Room is called.
func (r *Buffer) Bytes() []byte { return r.b[r.r:r.w] }

// Empty reports whether nothing waits to be parsed.
func (r *Buffer) Empty() bool { return r.r == r.w }

// Used takes n bytes off the front.
func (r *Buffer) Used(n int) { r.r += n }

// Room makes space to read into and returns it. need is the size of the frame
// that waits, if it is known.
func (r *Buffer) Room(need int) []byte {
	switch {
	case r.b == nil:
		r.b = make([]byte, minSize)
	case r.r == r.w:
		r.r, r.w = 0, 0
		if r.calm >= calmReads && len(r.b) > minSize {
			r.b, r.calm = make([]byte, minSize), 0
		}
	case r.w == len(r.b) && r.r > 0 || r.r+need > len(r.b) && r.w-r.r < len(r.b)/2:
		copy(r.b, r.b[r.r:r.w])
		r.r, r.w = 0, r.w-r.r
	}
	if r.w == len(r.b) {
		r.grow()
	}
	return r.b[r.w:]
}

func (r *Buffer) grow() {
	b := make([]byte, max(minSize, 2*len(r.b)))
	r.w = copy(b, r.b[r.r:r.w])
	r.r, r.b = 0, b
}

// Filled notes that n bytes were read into what Room returned.
func (r *Buffer) Filled(n int) {
	r.w += n
	switch {
	case r.w == len(r.b) && len(r.b) < maxSize:
		r.calm = 0
		r.grow()
	case r.w > len(r.b)/4:
		r.calm = 0
	default:
		r.calm++
	}
}
