package behaviortest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// mark is what messages are overwritten with after their callback.
var mark = bytes.Repeat([]byte{0xdb, 0x5c}, 4)

// markKind and markConn are the kind and connection of an overwritten message.
const (
	markKind conn.Kind       = 0x5cdb
	markConn identity.ConnID = 0x5cdb5cdb5cdb5cdb
)

// overwrite spoils a message that its receiver no longer may use.
func overwrite(m *conn.Message) {
	fill(m.Payload)
	payload := m.Payload
	*m = conn.Message{Service: 0x5cdb, Kind: markKind, FromService: 0x5cdb, Conn: markConn, Payload: payload}
	fill(m.From[:])
}

func fill(p []byte) {
	for i := range p {
		p[i] = mark[i%2]
	}
}

// A corpus is what hostile messages are made from: messages that may be valid.
type corpus struct {
	messages []conn.Message
}

// The bounds of a corpus and of the messages made from it.
const (
	maxCorpus  = 200
	maxPayload = 64 << 10
)

// add keeps a message.
func (c *corpus) add(kind conn.Kind, payload []byte) {
	if len(c.messages) < maxCorpus && len(payload) <= maxPayload {
		c.messages = append(c.messages, conn.Message{Kind: kind, Payload: bytes.Clone(payload)})
	}
}

// message makes a hostile or valid message.
func (c *corpus) message(r *rand.Rand) (conn.Kind, []byte) {
	if n := len(c.messages); n > 0 && r.IntN(2) == 0 {
		m := c.messages[r.IntN(n)]
		if r.IntN(3) == 0 {
			return m.Kind, bytes.Clone(m.Payload)
		}
		return m.Kind, mutate(r, m.Payload, c.messages[r.IntN(n)].Payload)
	}
	return c.kind(r), payload(r)
}

// kind draws a kind: small, known, reserved or any.
func (c *corpus) kind(r *rand.Rand) conn.Kind {
	switch n := len(c.messages); r.IntN(8) {
	case 0:
		return conn.KindReserved + conn.Kind(r.IntN(16))
	case 1:
		return 0xffff
	case 2:
		if k := conn.Kind(r.Uint32()); k != markKind {
			return k
		}
		return 0
	case 3, 4, 5:
		if n > 0 {
			return c.messages[r.IntN(n)].Kind
		}
		fallthrough
	default:
		return conn.Kind(r.IntN(12))
	}
}

// shapes are well-formed and malformed starts of msgpack and JSON: what decoders
// that trust their input fall over.
var shapes = [][]byte{
	nil, {},
	{0xc0}, {0xc1}, {0xc2}, {0x00}, {0xff}, {0x80}, {0x90}, {0xa0}, // nil, never used, false, 0, -1, {}, [], ""
	{0xca, 0x7f, 0xc0, 0, 0}, {0xcb, 0xff, 0xf0, 0, 0, 0, 0, 0, 0}, // NaN, -Inf
	{0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}, // the largest and the smallest integer
	{0xc6, 0xff, 0xff, 0xff, 0xff}, {0xdb, 0xff, 0xff, 0xff, 0xff, 'x'}, // 4 GiB of bytes, of text
	{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff}, {0xdd, 0x00, 0xff, 0xff, 0xff}, // 4 G elements, 4 G pairs, 16 M elements
	{0xc9, 0xff, 0xff, 0xff, 0xff, 1}, {0xd4, 0xff, 0}, // extensions
	{0xc4, 0x10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},                    // 16 bytes
	{0xb0, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p'}, // a string
	{0xa4, 0xff, 0xfe, 0xfd, 0xfc},                                                   // a string that is not UTF-8
	{0x82, 0xa1, 'a', 0x01, 0xa1, 'a', 0x02}, {0x81, 0xc0, 0xc0}, {0x81, 0x80, 0x80}, // maps with strange keys
	bytes.Repeat([]byte{0x91}, 5000), bytes.Repeat([]byte{0x81, 0xa1, 'a'}, 5000), // deep nesting
	[]byte("null"), []byte("{}"), []byte("[]"), []byte(`""`), []byte("-1"), []byte("1e999"), []byte(`{"a":{"a":null}}`),
	bytes.Repeat([]byte("["), 5000),
	bytes.Repeat([]byte{0}, 32), bytes.Repeat([]byte{0xff}, 32),
}

// sizes are those of random payloads.
var sizes = []int{1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 33, 64, 100, 255, 256, 1024, 1500, 4096, 65535}

// payload makes a payload that knows nothing of the protocol.
func payload(r *rand.Rand) []byte {
	switch r.IntN(5) {
	case 0, 1:
		return bytes.Clone(shapes[r.IntN(len(shapes))])
	case 2: // a length, as many protocols begin, and too few bytes
		p := binary.BigEndian.AppendUint32(nil, r.Uint32())
		return append(p, random(r, r.IntN(40))...)
	case 3:
		return mutate(r, shapes[r.IntN(len(shapes))], shapes[r.IntN(len(shapes))])
	}
	return random(r, sizes[r.IntN(len(sizes))])
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, 0, n+8)
	for len(p) < n {
		p = binary.LittleEndian.AppendUint64(p, r.Uint64())
	}
	return p[:n:n]
}

// mutate returns p with some of it changed.
func mutate(r *rand.Rand, p, other []byte) []byte {
	p = bytes.Clone(p)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(p) + 1)
		switch op := r.IntN(6); {
		case op == 0:
			p = p[:at] // cut
		case op == 1:
			p = append(p, random(r, 1+r.IntN(16))...) // longer
		case op == 2:
			p = append(p[:at:at], other[r.IntN(len(other)+1):]...) // crossed
		case at == len(p):
		case op == 3:
			p[at] ^= 1 << r.IntN(8)
		case op == 4:
			p[at] = []byte{0, 0x7f, 0x80, 0xff}[r.IntN(4)]
		default:
			p[at] = byte(r.Uint32())
		}
	}
	return p[:min(len(p), maxPayload)]
}
