package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// NodeIDSize is the length of a node ID in bytes.
const NodeIDSize = ed25519.PublicKeySize

// nodeIDText is the length of a node ID in its text form.
const nodeIDText = 52

// encoding is the text form of node IDs and keys: base32 (RFC 4648), lower
// case, without padding.
var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// A NodeID names a node: it is the node's ed25519 public key. The zero NodeID
// names no node.
type NodeID [NodeIDSize]byte

// ParseNodeID reads the text form that [NodeID.String] writes: 52 characters
// of lower-case base32. The error says what is wrong and where.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	if err := decodeText(id[:], s); err != nil {
		return NodeID{}, fmt.Errorf("identity: node ID %s: %w", strconv.Quote(shorten(s)), err)
	}
	return id, nil
}

// decodeText reads exactly 32 bytes of base32 text into dst.
func decodeText(dst []byte, s string) error {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return fmt.Errorf("character %d is %q: only a-z and 2-7 may appear", i+1, rune(c))
		}
	}
	if len(s) != nodeIDText {
		return fmt.Errorf("has %d characters, want %d", len(s), nodeIDText)
	}
	var buf [NodeIDSize + 1]byte
	if _, err := encoding.Decode(buf[:], []byte(s)); err != nil {
		return err
	}
	copy(dst, buf[:NodeIDSize])
	// 52 characters carry 260 bits: the last four must be zero, or two texts
	// would name one node.
	if encoding.EncodeToString(dst) != s {
		return fmt.Errorf("character %d is %q: the unused low bits of the last character must be zero", nodeIDText, rune(s[nodeIDText-1]))
	}
	return nil
}

// shorten keeps error messages about hostile input short.
func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// String returns the text form: 52 characters of lower-case base32.
func (id NodeID) String() string { return encoding.EncodeToString(id[:]) }

// Short returns the first eight characters of the text form, for people to
// tell nodes apart in logs and tables. It does not name a node: use String
// where it is read back.
func (id NodeID) Short() string { return encoding.EncodeToString(id[:5]) }

// IsZero reports whether id names no node.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// Compare orders IDs by their bytes: -1, 0 or 1.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// Key returns the node's place in the key space: the SHA-256 of its ID.
func (id NodeID) Key() Key { return sha256.Sum256(id[:]) }

// Verify reports whether sig is the node's signature of message, made by
// [PrivateKey.Sign]. A malformed signature, or an ID that is no public key, is
// simply not a valid signature. Nor is any signature valid under an ID for which
// everybody can sign, such as the zero ID.
func (id NodeID) Verify(message, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && !id.weak() && ed25519.Verify(id[:], message, sig)
}

// weak reports whether id is a point of small order: one without a private key,
// for which signatures can be made without any. crypto/ed25519 accepts these.
func (id NodeID) weak() bool {
	id[NodeIDSize-1] &^= 0x80 // the sign of x
	return slices.Contains(weakIDs[:], id)
}

// weakIDs are the encodings of the points of order 1, 2, 4 and 8, by y.
var weakIDs = [...]NodeID{
	{}, // 0
	{1},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	nearPrime(0xec), // p-1
	nearPrime(0xed), // p, which is 0 again
	nearPrime(0xee), // p+1, which is 1 again
}

// nearPrime encodes 2^255 - 256 + low; p is 2^255 - 19.
func nearPrime(low byte) NodeID {
	id := NodeID(bytes.Repeat([]byte{0xff}, NodeIDSize))
	id[0], id[NodeIDSize-1] = low, 0x7f
	return id
}

// MarshalText returns the text form. It never fails.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form, as [ParseNodeID] does.
func (id *NodeID) UnmarshalText(text []byte) error {
	parsed, err := ParseNodeID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// MarshalBinary returns the 32 bytes of the ID. It never fails.
func (id NodeID) MarshalBinary() ([]byte, error) { return bytes.Clone(id[:]), nil }

// AppendBinary appends the 32 bytes of the ID. It never fails.
func (id NodeID) AppendBinary(dst []byte) ([]byte, error) { return append(dst, id[:]...), nil }

// UnmarshalBinary reads the 32 bytes of an ID.
func (id *NodeID) UnmarshalBinary(data []byte) error {
	if len(data) != NodeIDSize {
		return fmt.Errorf("identity: node ID has %d bytes, want %d", len(data), NodeIDSize)
	}
	copy(id[:], data)
	return nil
}

// A ConnID names a connection within one node. IDs count up from 1 and are
// never reused; zero names no connection.
type ConnID uint64

// String returns the ID in decimal.
func (id ConnID) String() string { return strconv.FormatUint(uint64(id), 10) }

// A ServiceID names a service of a node, 1 to 65535. Zero names none.
type ServiceID uint16

// String returns the ID in decimal.
func (id ServiceID) String() string { return strconv.FormatUint(uint64(id), 10) }

// ParseServiceID reads a service ID in decimal, 1 to 65535.
func ParseServiceID(s string) (ServiceID, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("identity: service ID %s is not a number from 1 to 65535", strconv.Quote(shorten(s)))
	}
	return ServiceID(n), nil
}

// errShortKey is shared by the parsers of key material.
var errShortKey = errors.New("not an ed25519 key")
