// Package wire is the binary format that two nodes speak over a connection.
// docs/wire.md describes it byte by byte; golden vectors in the tests pin it.
//
// Everything is a frame: a prefix of four bytes, then a body. Integers are
// big-endian.
//
//	0       3      4
//	+-------+------+----------------------+
//	| len   | type | body, len bytes      |
//	+-------+------+----------------------+
//
// Decoders take untrusted bytes: they cap every size before they allocate, keep
// no reference to their input but where they say so, and never panic.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// Version is the protocol version that this package speaks.
const Version = 1

// A Type tells frames apart.
type Type uint8

// The frame types. Zero is not one, so that zeroed memory is no frame.
const (
	TypeHello     Type = iota + 1 // first frame of each side: who I am
	TypeReady                     // the sender admits the connection
	TypeDirect                    // message to a connection
	TypePeer                      // message to the behaviour at the other end
	TypeRouted                    // message that may go on
	TypeCredit                    // more may be sent
	TypeGoodbye                   // the sender closes the connection
	TypePing                      // asks for TypePong with the same body
	TypePong                      // answers TypePing
	TypeServices                  // the sender's services have changed
	TypeReport                    // a message was not delivered
	TypeRefused                   // the sender does not know a frame type or service
	TypeDatagrams                 // datagrams will follow: listen for them
)

// Sizes.
const (
	PrefixSize = 4
	MaxBody    = 1<<24 - 1

	DirectHeader = 4
	PeerHeader   = 16
	RoutedHeader = 84
	ReportBody   = 80
)

// ErrMalformed is wrapped by the errors of all decoders.
var ErrMalformed = errors.New("wire: malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// AppendPrefix appends the prefix of a frame whose body has n bytes.
func AppendPrefix(dst []byte, t Type, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n)<<8|uint32(t))
}

// Prefix reads the prefix at the start of b, which has at least PrefixSize bytes.
func Prefix(b []byte) (t Type, n int) {
	v := binary.BigEndian.Uint32(b)
	return Type(v), int(v >> 8)
}

// appendFrame appends a prefix and the body that fill appends.
func appendFrame(dst []byte, t Type, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = fill(AppendPrefix(dst, t, 0))
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-PrefixSize)<<8|uint32(t))
	return dst
}

// AppendDirect appends the header of a direct message, to be followed by a
// payload of n bytes.
func AppendDirect(dst []byte, service identity.ServiceID, kind conn.Kind, n int) []byte {
	dst = AppendPrefix(dst, TypeDirect, DirectHeader+n)
	return binary.BigEndian.AppendUint32(dst, uint32(service)<<16|uint32(kind))
}

// Direct splits the body of a direct message. The payload is part of b.
func Direct(b []byte) (service identity.ServiceID, kind conn.Kind, payload []byte, err error) {
	if len(b) < DirectHeader {
		return 0, 0, nil, malformed("direct message of %d bytes", len(b))
	}
	v := binary.BigEndian.Uint32(b)
	return identity.ServiceID(v >> 16), conn.Kind(v), b[DirectHeader:], nil
}

// Flags of peer and routed messages.
const FlagReport = 1 << 0 // the sender wants to know if it is not delivered

// A Peer is the header of a message to the behaviour at the other end.
type Peer struct {
	Service, From identity.ServiceID
	Kind          conn.Kind
	Flags         uint16
	ID            uint64
}

// AppendPeer appends the header, to be followed by a payload of n bytes.
func AppendPeer(dst []byte, h *Peer, n int) []byte {
	dst = AppendPrefix(dst, TypePeer, PeerHeader+n)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Service)<<48|uint64(h.Kind)<<32|uint64(h.From)<<16|uint64(h.Flags))
	return binary.BigEndian.AppendUint64(dst, h.ID)
}

// ParsePeer splits the body of a peer message. The payload is part of b.
func ParsePeer(b []byte) (h Peer, payload []byte, err error) {
	if len(b) < PeerHeader {
		return h, nil, malformed("peer message of %d bytes", len(b))
	}
	v := binary.BigEndian.Uint64(b)
	h = Peer{Service: identity.ServiceID(v >> 48), Kind: conn.Kind(v >> 32), From: identity.ServiceID(v >> 16), Flags: uint16(v), ID: binary.BigEndian.Uint64(b[8:])}
	return h, b[PeerHeader:], nil
}

// A Routed is the header of a message that may go on. Relays change TTL and
// Hops in place and read nothing behind the header.
type Routed struct {
	Rule          router.Rule
	TTL, Hops     uint8
	Flags         uint8
	Service, From identity.ServiceID
	Kind          conn.Kind
	ID            uint64
	Origin        identity.NodeID
	Target        [32]byte
}

// Route returns where the message goes.
func (h *Routed) Route() router.Route {
	return router.Route{Rule: h.Rule, Service: h.Service, Target: h.Target}
}

// AppendRouted appends the header, to be followed by a payload of n bytes.
func AppendRouted(dst []byte, h *Routed, n int) []byte {
	dst = AppendPrefix(dst, TypeRouted, RoutedHeader+n)
	dst = append(dst, byte(h.Rule), h.TTL, h.Hops, h.Flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Service)<<48|uint64(h.Kind)<<32|uint64(h.From)<<16) // the low 16 bits: length of the extension
	dst = binary.BigEndian.AppendUint64(dst, h.ID)
	dst = append(dst, h.Origin[:]...)
	return append(dst, h.Target[:]...)
}

// ParseRouted splits the body of a routed message. The payload is part of b.
// Extensions, which later versions may put before the payload, are skipped.
func ParseRouted(b []byte) (h Routed, payload []byte, err error) {
	if len(b) < RoutedHeader {
		return h, nil, malformed("routed message of %d bytes", len(b))
	}
	v := binary.BigEndian.Uint64(b[4:])
	h = Routed{Rule: router.Rule(b[0]), TTL: b[1], Hops: b[2], Flags: b[3],
		Service: identity.ServiceID(v >> 48), Kind: conn.Kind(v >> 32), From: identity.ServiceID(v >> 16),
		ID: binary.BigEndian.Uint64(b[12:]), Origin: identity.NodeID(b[20:52]), Target: [32]byte(b[52:84])}
	switch h.Rule {
	case router.RuleNode, router.RuleKey, router.RuleService:
	default:
		return h, nil, malformed("routed message with rule %d", h.Rule)
	}
	ext := int(uint16(v))
	if ext > len(b)-RoutedHeader {
		return h, nil, malformed("extension of %d bytes in a routed message of %d", ext, len(b))
	}
	return h, b[RoutedHeader+ext:], nil
}

// Forwarded changes the hop counts in the body of a routed message.
func Forwarded(b []byte, ttl, hops uint8) { b[1], b[2] = ttl, hops }

// A Report tells the origin of a message that it was not delivered.
type Report struct {
	TTL      uint8
	Code     ReportCode
	To       identity.ServiceID // the service that sent the message
	Kind     conn.Kind
	Service  identity.ServiceID // the service that the message was for
	ID       uint64
	Reporter identity.NodeID
	Target   identity.NodeID // the origin of the message
}

// A ReportCode says why a message was not delivered.
type ReportCode uint8

// The codes.
const (
	ReportNoRoute ReportCode = iota + 1
	ReportNoService
	ReportQueueFull
	ReportTooLarge
)

// AppendReport appends a whole frame.
func AppendReport(dst []byte, r *Report) []byte {
	dst = AppendPrefix(dst, TypeReport, ReportBody)
	dst = append(dst, r.TTL, byte(r.Code))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.To))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Kind))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Service))
	dst = binary.BigEndian.AppendUint64(dst, r.ID)
	dst = append(dst, r.Reporter[:]...)
	return append(dst, r.Target[:]...)
}

// ParseReport reads the body of a report.
func ParseReport(b []byte) (r Report, err error) {
	if len(b) < ReportBody {
		return r, malformed("report of %d bytes", len(b))
	}
	return Report{TTL: b[0], Code: ReportCode(b[1]), To: identity.ServiceID(binary.BigEndian.Uint16(b[2:])),
		Kind: conn.Kind(binary.BigEndian.Uint16(b[4:])), Service: identity.ServiceID(binary.BigEndian.Uint16(b[6:])),
		ID: binary.BigEndian.Uint64(b[8:]), Reporter: identity.NodeID(b[16:48]), Target: identity.NodeID(b[48:80])}, nil
}

// AppendCredit appends a whole frame: n more bytes of a service may be sent.
// Service 0 stands for routed messages.
func AppendCredit(dst []byte, service identity.ServiceID, n uint32) []byte {
	dst = AppendPrefix(dst, TypeCredit, 6)
	dst = binary.BigEndian.AppendUint16(dst, uint16(service))
	return binary.BigEndian.AppendUint32(dst, n)
}

// ParseCredit reads the body of a credit.
func ParseCredit(b []byte) (service identity.ServiceID, n uint32, err error) {
	if len(b) < 6 {
		return 0, 0, malformed("credit of %d bytes", len(b))
	}
	return identity.ServiceID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:]), nil
}

// maxReason is how much of a reason crosses the wire.
const maxReason = 256

// AppendGoodbye appends a whole frame.
func AppendGoodbye(dst []byte, code conn.Code, reason string) []byte {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	dst = AppendPrefix(dst, TypeGoodbye, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

// ParseGoodbye reads the body of a goodbye.
func ParseGoodbye(b []byte) (*conn.CloseError, error) {
	if len(b) < 2 {
		return nil, malformed("goodbye of %d bytes", len(b))
	}
	reason := b[2:min(len(b), 2+maxReason)]
	return &conn.CloseError{Code: conn.Code(binary.BigEndian.Uint16(b)), Reason: printable(reason), Remote: true}, nil
}

// printable makes text from a remote safe to log.
func printable(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		if c < ' ' || c > '~' {
			c = '?'
		}
		out[i] = c
	}
	return string(out)
}

// AppendPing appends a ping or pong with a token.
func AppendPing(dst []byte, t Type, token uint64) []byte {
	return binary.BigEndian.AppendUint64(AppendPrefix(dst, t, 8), token)
}

// ParsePing reads the body of a ping or pong.
func ParsePing(b []byte) (token uint64, err error) {
	if len(b) < 8 {
		return 0, malformed("ping of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// AppendRefused appends a whole frame: frames of type t, or for a service,
// are not understood. Service 0: the type itself is unknown.
func AppendRefused(dst []byte, t Type, service identity.ServiceID) []byte {
	dst = append(AppendPrefix(dst, TypeRefused, 3), byte(t))
	return binary.BigEndian.AppendUint16(dst, uint16(service))
}

// ParseRefused reads the body of a refusal.
func ParseRefused(b []byte) (t Type, service identity.ServiceID, err error) {
	if len(b) < 3 {
		return 0, 0, malformed("refusal of %d bytes", len(b))
	}
	return Type(b[0]), identity.ServiceID(binary.BigEndian.Uint16(b[1:])), nil
}

// AppendReady appends the frame of a sender that has said so much, to anybody,
// and that decides that the connection has a number of its session, if it does.
func AppendReady(dst []byte, said, number uint64) []byte {
	dst = binary.BigEndian.AppendUint64(AppendPrefix(dst, TypeReady, 16), said)
	return binary.BigEndian.AppendUint64(dst, number)
}

// ParseReady reads the body of a ready; one that is empty counts nothing.
func ParseReady(b []byte) (said, number uint64) {
	if len(b) >= 16 {
		said, number = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	return said, number
}
