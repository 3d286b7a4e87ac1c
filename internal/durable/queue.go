package durable

import (
	"slices"
	"sync"
)

// Sizes of chunks: a queue that was empty begins with a small one, and goes on
// with larger ones the more there is in it.
var chunkSizes = [...]int{4 << 10, 32 << 10, 256 << 10}

var chunks [len(chunkSizes)]sync.Pool

// A chunk holds whole frames, one after the other.
type chunk struct {
	b      []byte
	frames uint64 // in b
	next   *chunk
}

// A queue holds the frames of messages that the other end is not known to have
// consumed: those that were sent, and behind them those that wait. Its owner
// guards it.
//
//	head          at              tail
//	[acked|....]->[sent|waiting]->[waiting|room]
type queue struct {
	head, tail *chunk
	off        int    // bytes of head that are acked
	gone       uint64 // frames of head that are acked

	at     *chunk // where to send from; nil: there is nothing
	atOff  int
	atGone uint64 // frames of at before atOff

	acked, sent, last uint64 // numbers: consumed by the other end; sent on this carrier; appended
	ever              uint64 // sent on any carrier
	ackPos, sentPos   uint64 // bytes, counted from the beginning
	endPos            uint64

	pin *chunk // is being written: not to be used again

	keeps    bool   // collect is used
	fresh    *chunk // where what was not collected begins; nil: there is nothing
	freshOff int
}

// bytes returns how much the queue holds.
func (q *queue) bytes() int { return int(q.endPos - q.ackPos) }

// add appends a frame and returns where its body of n bytes goes.
func (q *queue) add(t byte, n int) []byte {
	size := header + n
	c := q.tail
	if c == nil || cap(c.b)-len(c.b) < size {
		c = newChunk(size, q.bytes())
		if q.tail == nil {
			q.head = c
		} else {
			q.tail.next = c
		}
		q.tail = c
	}
	if q.at == nil {
		q.at, q.atOff, q.atGone = c, len(c.b), c.frames
	}
	if q.keeps && q.fresh == nil {
		q.fresh, q.freshOff = c, len(c.b)
	}
	at := len(c.b)
	c.b = c.b[:at+size]
	c.frames++
	putHeader(c.b[at:], t, n)
	q.last++
	q.endPos += uint64(size)
	return c.b[at+header:]
}

// newChunk returns a chunk with room for size bytes, for a queue that holds some
// already.
func newChunk(size, held int) *chunk {
	for i, n := range chunkSizes {
		if size > n || held >= n && i < len(chunkSizes)-1 {
			continue
		}
		if c, ok := chunks[i].Get().(*chunk); ok {
			return c
		}
		size = n
		break
	}
	return &chunk{b: make([]byte, 0, size)}
}

func (q *queue) recycle(c *chunk) {
	c.next = nil
	if c == q.pin {
		return // the writer still reads it: let it go
	}
	c.b, c.frames = c.b[:0], 0
	if i := slices.Index(chunkSizes[:], cap(c.b)); i >= 0 {
		chunks[i].Put(c)
	}
}

// collect returns the messages that were added since the last call, where they
// lie. They stay there until they are acked.
func (q *queue) collect() (list [][]byte) {
	for c, off := q.fresh, q.freshOff; c != nil; c, off = c.next, 0 {
		for off < len(c.b) {
			t, n := parseHeader(c.b[off:])
			if off += header + n; t != typeClose {
				list = append(list, c.b[off-n:off:off])
			}
		}
	}
	q.fresh = nil
	return list
}

// fits reports whether there is a frame to send, of a number up to most, that
// takes at most room bytes.
func (q *queue) fits(room int, most uint64) bool {
	if q.at == nil || q.sent >= most {
		return false
	}
	_, n := parseHeader(q.at.b[q.atOff:])
	return header+n <= room
}

// take returns what to write next, at most room bytes of whole frames of numbers
// up to most, and pins it until release is called.
func (q *queue) take(room int, most uint64) []byte {
	if !q.fits(room, most) {
		return nil
	}
	c := q.at
	to, frames := len(c.b), c.frames-q.atGone
	if to-q.atOff > room || frames > most-q.sent {
		to, frames = q.within(room, most-q.sent)
	}
	b := c.b[q.atOff:to]
	q.pin = c
	q.sent += frames
	q.ever = max(q.ever, q.sent)
	q.sentPos += uint64(len(b))
	q.atOff, q.atGone = to, q.atGone+frames
	q.step()
	return b
}

// within returns how far the frames of a chunk go that room has place for, and
// that are no more than most.
func (q *queue) within(room int, most uint64) (to int, frames uint64) {
	to = q.atOff
	for to < len(q.at.b) && frames < most {
		_, n := parseHeader(q.at.b[to:])
		if n += header; n > room {
			break
		}
		to, room = to+n, room-n
		frames++
	}
	return to, frames
}

// step goes on to the next chunk if at is at the end of one.
func (q *queue) step() {
	if q.atOff < len(q.at.b) {
		return
	}
	q.at, q.atOff, q.atGone = q.at.next, 0, 0
}

// release ends what take began.
func (q *queue) release() { q.pin = nil }

// ack drops the frames up to a number, which was sent. It returns whether that
// is news.
func (q *queue) ack(number uint64) bool {
	if number <= q.acked {
		return false
	}
	if number > q.sent { // of an earlier carrier: it need not be sent again
		q.forward(number)
	}
	for q.acked < number {
		c := q.head
		if rest := c.frames - q.gone; c.next != nil && q.acked+rest <= number {
			q.ackPos += uint64(len(c.b) - q.off)
			q.acked += rest
			q.head, q.off, q.gone = c.next, 0, 0
			q.recycle(c)
			continue
		}
		_, n := parseHeader(c.b[q.off:])
		q.off += header + n
		q.ackPos += uint64(header + n)
		q.gone++
		q.acked++
	}
	if q.acked == q.last {
		q.recycle(q.head)
		q.head, q.tail, q.off, q.gone = nil, nil, 0, 0
		q.at = nil
	}
	return true
}

// forward moves the place to send from to behind a number.
func (q *queue) forward(number uint64) {
	for q.sent < number {
		_, n := parseHeader(q.at.b[q.atOff:])
		q.atOff += header + n
		q.sentPos += uint64(header + n)
		q.atGone++
		q.sent++
		q.step()
	}
}

// rewind has everything behind a number sent again. It returns how much of it
// was sent before.
func (q *queue) rewind(number uint64) (frames, bytes uint64) {
	q.sent, q.sentPos = q.acked, q.ackPos
	q.at, q.atOff, q.atGone = q.head, q.off, q.gone
	if q.at != nil {
		q.step()
	}
	q.forward(min(number, q.last))
	at := *q
	at.forward(max(q.sent, q.ever))
	return at.sent - q.sent, at.sentPos - q.sentPos
}

// reset forgets what was ever sent, and returns it. What waits is numbered from
// 1 on.
func (q *queue) reset() (sent [][]byte) {
	sent = q.copies(q.ever)
	q.ack(q.ever)
	q.last -= q.acked
	q.acked, q.sent, q.ever = 0, 0, 0
	return sent
}

// rest returns copies of the messages that are not acked.
func (q *queue) rest() [][]byte { return q.copies(q.last) }

// copies returns those up to a number, and has what is behind it sent next.
func (q *queue) copies(number uint64) (list [][]byte) {
	q.rewind(q.acked)
	for q.sent < number {
		t, n := parseHeader(q.at.b[q.atOff:])
		if t != typeClose {
			list = append(list, append([]byte(nil), q.at.b[q.atOff+header:q.atOff+header+n]...))
		}
		q.forward(q.sent + 1)
	}
	return list
}

// drop empties the queue.
func (q *queue) drop() {
	q.head, q.tail, q.at, q.fresh = nil, nil, nil, nil
	q.acked, q.sent, q.ackPos, q.sentPos = q.last, q.last, q.endPos, q.endPos
}
