package kcp

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"
)

// Openings go before the packets of KCP. All have one size, so that no answer is
// larger than what was asked:
//
//	0        7    8              12                 28
//	+--------+----+--------------+------------------+
//	| plxkcp1| op | conversation | cookie           |
//	+--------+----+--------------+------------------+
//
// Their fifth byte is none of KCP's commands.
const (
	openingSize = 28
	cookieSize  = 16

	opAsk    = 1 // dialling: a cookie for this conversation, please; the cookie is zero
	opCookie = 2 // listening: here it is
	opOpen   = 3 // dialling: what follows is this conversation
)

var magic = []byte("plxkcp1")

// An opening is one packet of these.
type opening struct {
	op           byte
	conversation uint32
	cookie       [cookieSize]byte
}

// parseOpening reads a packet, and reports whether it is an opening.
func parseOpening(p []byte) (o opening, ok bool) {
	if len(p) != openingSize || !bytes.HasPrefix(p, magic) {
		return o, false
	}
	o.op, o.conversation = p[len(magic)], binary.BigEndian.Uint32(p[8:])
	copy(o.cookie[:], p[12:])
	return o, o.op >= opAsk && o.op <= opOpen
}

func (o opening) packet() [openingSize]byte {
	var p [openingSize]byte
	copy(p[:], magic)
	p[len(magic)] = o.op
	binary.BigEndian.PutUint32(p[8:], o.conversation)
	copy(p[12:], o.cookie[:])
	return p
}

// What KCP's own packets look like.
const (
	kcpHead    = 24
	kcpFirst   = 81 // commands
	kcpLast    = 84
	kcpWindow  = 84 // the command that does nothing but tell a window
	kcpPackets = 128
)

// conversationOf returns the conversation of a packet of KCP.
func conversationOf(p []byte) (uint32, bool) {
	if len(p) < kcpHead || p[4] < kcpFirst || p[4] > kcpLast {
		return 0, false
	}
	return binary.LittleEndian.Uint32(p), true
}

// greeting returns a packet of KCP that carries nothing, with which a
// conversation may begin.
func greeting(conversation uint32) [kcpHead]byte {
	var p [kcpHead]byte
	binary.LittleEndian.PutUint32(p[:], conversation)
	p[4] = kcpWindow
	binary.LittleEndian.PutUint16(p[6:], kcpPackets)
	return p
}

// cookieLife is for how long a cookie is good; it may be twice as long.
const cookieLife = 15 * time.Second

// A bakery makes cookies, and knows its own: it keeps none. A cookie says that
// whoever brings it receives what is sent to an address. It may be used by one
// goroutine at a time.
type bakery struct {
	mac   hash.Hash
	since time.Time
	sum   []byte
}

func newBakery() *bakery {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return &bakery{mac: hmac.New(sha256.New, secret), since: time.Now()}
}

// cookie returns the cookie of now.
func (b *bakery) cookie(from netip.AddrPort, conversation uint32) [cookieSize]byte {
	return b.bake(from, conversation, b.batch())
}

// knows reports whether a cookie is of this bakery, for these, and fresh.
func (b *bakery) knows(cookie [cookieSize]byte, from netip.AddrPort, conversation uint32) bool {
	now := b.batch()
	for _, batch := range []uint64{now, now - 1} { // one before the first matches nobody
		if want := b.bake(from, conversation, batch); hmac.Equal(want[:], cookie[:]) {
			return true
		}
	}
	return false
}

func (b *bakery) batch() uint64 { return uint64(time.Since(b.since) / cookieLife) }

func (b *bakery) bake(from netip.AddrPort, conversation uint32, batch uint64) (cookie [cookieSize]byte) {
	var p [16 + 2 + 4 + 8]byte
	ip := from.Addr().As16()
	copy(p[:], ip[:])
	binary.BigEndian.PutUint16(p[16:], from.Port())
	binary.BigEndian.PutUint32(p[18:], conversation)
	binary.BigEndian.PutUint64(p[22:], batch)
	b.mac.Reset()
	b.mac.Write(p[:])
	b.sum = b.mac.Sum(b.sum[:0])
	copy(cookie[:], b.sum)
	return cookie
}
