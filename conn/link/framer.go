package link

import (
	"bytes"
	"errors"
	"fmt"
)

// A Framer cuts a stream into frames. Its methods are called from any
// goroutine and for many links: it has no state. [Prefix], [Delimiter] and
// [Fixed] are the usual ones.
type Framer interface {
	// Next finds the first frame of buf. n is its size on the wire: if
	// n <= len(buf), frame is its contents, within buf. Otherwise the frame
	// is not whole yet, and n the least number of bytes with which it is
	// worth to look again. Of buf, an earlier call has seen the first seen
	// bytes in vain. A frame beyond the Framer's maximum is refused with an
	// error, [ErrTooLarge], as soon as that is known: memory for n bytes may
	// be taken.
	Next(buf []byte, seen int) (frame []byte, n int, err error)
	// Open appends to dst what comes before the contents.
	Open(dst []byte) []byte
	// Seal completes the frame at buf[start:], which is what Open has
	// appended and the contents, and returns buf with it. It refuses contents
	// that Next would not return.
	Seal(buf []byte, start int) ([]byte, error)
}

// ErrTooLarge is a frame beyond the maximum of its [Framer].
var ErrTooLarge = errors.New("link: frame too large")

// defaultMaxFrame is the maximum of framers that were given none.
const defaultMaxFrame = 16 << 20

func tooLarge(max int) error {
	return fmt.Errorf("%w: the framer's Max allows %d bytes", ErrTooLarge, max)
}

// Fixed frames have all the same size, in bytes, at least 1.
type Fixed int

// Next implements [Framer].
func (f Fixed) Next(buf []byte, _ int) ([]byte, int, error) {
	return buf[:min(int(f), len(buf))], int(f), nil
}

// Open implements [Framer].
func (f Fixed) Open(dst []byte) []byte { return dst }

// Seal implements [Framer].
func (f Fixed) Seal(buf []byte, start int) ([]byte, error) {
	if n := len(buf) - start; n != int(f) {
		return nil, fmt.Errorf("link: a message of %d bytes, where frames have a fixed size of %d", n, int(f))
	}
	return buf, nil
}

func (f Fixed) validate() error {
	if f <= 0 {
		return fmt.Errorf("link: Fixed(%d): frames need at least one byte", int(f))
	}
	return nil
}

// Delimiter frames end with a sequence of bytes that their contents do not
// have in them. What is received comes without it.
type Delimiter struct {
	// End is what frames end with. Default "\n".
	End string
	// Max is the largest frame in bytes, without End. Default 16 MiB.
	Max int
}

func (d Delimiter) end() string {
	if d.End == "" {
		return "\n"
	}
	return d.End
}

func (d Delimiter) max() int {
	if d.Max <= 0 {
		return defaultMaxFrame
	}
	return d.Max
}

// Next implements [Framer].
func (d Delimiter) Next(buf []byte, seen int) ([]byte, int, error) {
	end := d.end()
	from := max(0, seen-len(end)+1) // it may have come in part
	var at int
	if len(end) == 1 {
		at = bytes.IndexByte(buf[from:], end[0])
	} else {
		at = bytes.Index(buf[from:], []byte(end))
	}
	if at >= 0 {
		at += from
		if at > d.max() {
			return nil, 0, tooLarge(d.max())
		}
		return buf[:at], at + len(end), nil
	}
	if len(buf) >= d.max()+len(end) {
		return nil, 0, tooLarge(d.max())
	}
	return nil, len(buf) + 1, nil
}

// Open implements [Framer].
func (d Delimiter) Open(dst []byte) []byte { return dst }

// Seal implements [Framer].
func (d Delimiter) Seal(buf []byte, start int) ([]byte, error) {
	end, size := d.end(), len(buf)-start
	if size > d.max() {
		return nil, tooLarge(d.max())
	}
	buf = append(buf, end...)
	// One that begins in the contents and ends in the delimiter counts too.
	if bytes.Index(buf[start:], []byte(end)) != size {
		return nil, fmt.Errorf("link: a message with the delimiter %q in it: choose another End, or a Prefix", end)
	}
	return buf, nil
}

func (d Delimiter) validate() error {
	if d.max() > maxFrame {
		return fmt.Errorf("link: Delimiter.Max is %d, at most %d is possible", d.Max, maxFrame)
	}
	return nil
}
