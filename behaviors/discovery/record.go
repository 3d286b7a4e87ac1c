package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// Limits of a record. They are part of the protocol: a record beyond them is
// refused by every node.
const (
	maxRecord      = 2048              // bytes of a record, signature included
	maxAddresses   = 16                // addresses of a record
	maxServices    = 64                // services of a record
	maxAddressText = 255               // bytes of the text of an address
	maxServiceName = 64                // bytes of the name of a service
	maxLifetime    = 24 * time.Hour    // of a record
	maxSequence    = uint64(1)<<62 - 1 // so that adding to it never overflows
)

// The fixed parts of the layout.
const (
	recordVersion = 1
	headerSize    = 1 + identity.NodeIDSize + 8 + 4 // version, node, sequence, lifetime
	signatureSize = 64
	minRecord     = headerSize + 1 + 1 + signatureSize
)

// signDomain goes in front of what is signed, so that a signature made for a
// record never passes for anything else.
const signDomain = "plexus/discovery record v1\x00"

// What is wrong with a record.
var (
	errRecordSize      = errors.New("discovery: record has a wrong size")
	errRecordVersion   = errors.New("discovery: record has an unknown version")
	errRecordLayout    = errors.New("discovery: record is malformed")
	errRecordSignature = errors.New("discovery: signature of record is wrong")
)

// A record is what a node says of itself, decoded.
type record struct {
	id        identity.NodeID
	sequence  uint64        // milliseconds since the Unix epoch, never repeated by the node
	lifetime  time.Duration // whole milliseconds; zero: the node leaves
	addresses []identity.Address
	services  []conn.Service
}

// appendRecord appends the signed form of r. What exceeds a limit is an error:
// the caller has made r.
func appendRecord(dst []byte, r *record, key identity.PrivateKey) ([]byte, error) {
	start := len(dst)
	dst, err := appendBody(dst, r)
	if err != nil {
		return dst[:start], err
	}
	dst = append(dst, key.Sign(signed(dst[start:]))...)
	if len(dst)-start > maxRecord {
		return dst[:start], fmt.Errorf("discovery: own record has %d bytes, at most %d are allowed; advertise fewer addresses or services", len(dst)-start, maxRecord)
	}
	return dst, nil
}

// appendBody appends r without its signature.
func appendBody(dst []byte, r *record) ([]byte, error) {
	if len(r.addresses) > maxAddresses {
		return dst, fmt.Errorf("discovery: %d addresses, at most %d are allowed", len(r.addresses), maxAddresses)
	}
	if len(r.services) > maxServices {
		return dst, fmt.Errorf("discovery: %d services, at most %d are allowed", len(r.services), maxServices)
	}
	dst = append(dst, recordVersion)
	dst = append(dst, r.id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.sequence)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.lifetime/time.Millisecond))
	dst = append(dst, byte(len(r.addresses)))
	for _, a := range r.addresses {
		text := a.String()
		if len(text) > maxAddressText {
			return dst, fmt.Errorf("discovery: address of %d bytes, at most %d are allowed", len(text), maxAddressText)
		}
		dst = append(append(dst, byte(len(text))), text...)
	}
	dst = append(dst, byte(len(r.services)))
	for _, s := range r.services {
		if len(s.Name) > maxServiceName {
			return dst, fmt.Errorf("discovery: name of service %d has %d bytes, at most %d are allowed", s.ID, len(s.Name), maxServiceName)
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Version)
		dst = append(append(dst, byte(len(s.Name))), s.Name...)
	}
	return dst, nil
}

// signed returns what the signature of body covers.
func signed(body []byte) []byte {
	return append(append(make([]byte, 0, len(signDomain)+len(body)), signDomain...), body...)
}

// peekRecord reads the fixed part of a record: enough to know whether the rest
// is of interest.
func peekRecord(b []byte) (r record, err error) {
	if len(b) < minRecord || len(b) > maxRecord {
		return r, errRecordSize
	}
	if b[0] != recordVersion {
		return r, errRecordVersion
	}
	copy(r.id[:], b[1:])
	r.sequence = binary.BigEndian.Uint64(b[1+identity.NodeIDSize:])
	r.lifetime = time.Duration(binary.BigEndian.Uint32(b[1+identity.NodeIDSize+8:])) * time.Millisecond
	if r.sequence > maxSequence || r.lifetime > maxLifetime {
		return r, errRecordLayout
	}
	return r, nil
}

// decodeRecord reads a record without looking at its signature. Addresses that
// this node cannot read or should not dial are left out: a later version may
// have other ones. Bytes between the services and the signature are skipped.
func decodeRecord(b []byte) (record, error) {
	r, err := peekRecord(b)
	if err != nil {
		return r, err
	}
	in := reader{b: b[headerSize : len(b)-signatureSize]}
	n := int(in.byte())
	if n > maxAddresses {
		return r, errRecordLayout
	}
	for range n {
		a, err := identity.ParseAddress(string(in.take(int(in.byte()))))
		if err == nil && dialable(a) {
			r.addresses = append(r.addresses, a)
		}
	}
	n = int(in.byte())
	if n > maxServices {
		return r, errRecordLayout
	}
	for range n {
		var s conn.Service
		s.ID = identity.ServiceID(in.uint16())
		s.Version = in.uint32()
		size := int(in.byte())
		if size > maxServiceName {
			return r, errRecordLayout
		}
		if s.Name = string(in.take(size)); s.ID != 0 {
			r.services = append(r.services, s)
		}
	}
	if in.short {
		return r, errRecordLayout
	}
	return r, nil
}

// verifyRecord checks the signature of a record that decodeRecord has read. It
// costs a thousand times what decoding does: it comes last.
func verifyRecord(ctx context.Context, b []byte, id identity.NodeID) error {
	cut := len(b) - signatureSize
	if !env.Checked(ctx, func() bool { return id.Verify(signed(b[:cut]), b[cut:]) }, id[:], b) {
		return errRecordSignature
	}
	return nil
}

// A fingerprint names a record in announcements and requests: the first eight
// bytes of the SHA-256 of all its bytes.
type fingerprint uint64

func fingerprintOf(b []byte) fingerprint {
	sum := sha256.Sum256(b)
	return fingerprint(binary.BigEndian.Uint64(sum[:]))
}

// contentOf hashes what a record says, without when it was said. The XOR of
// these over all live records is the digest of anti-entropy: renewals do not
// change it.
func contentOf(b []byte) uint64 {
	h := sha256.New()
	h.Write(b[1 : 1+identity.NodeIDSize])
	h.Write(b[headerSize : len(b)-signatureSize])
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// dialable reports whether another node could make use of an address: its host
// is one host, and its port is a port. Unix sockets have neither: they are of one
// machine, and nobody is to be talked into dialling any socket of theirs.
func dialable(a identity.Address) bool {
	if a.IsZero() {
		return false
	}
	if a.Scheme == "mem" {
		return a.Host != ""
	}
	host, port, err := net.SplitHostPort(a.Host)
	if err != nil || host == "" || port == "0" {
		return false
	}
	bare, _, _ := strings.Cut(host, "%")
	ip := net.ParseIP(bare)
	return ip == nil || !ip.IsUnspecified() && !ip.IsMulticast() && !ip.Equal(net.IPv4bcast)
}

// A reader takes big-endian fields off a buffer. Past the end it returns zeros
// and remembers.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}
