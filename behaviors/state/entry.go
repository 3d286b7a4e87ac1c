package state

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/plexus-net/plexus/identity"
)

// Sizes of the format.
const (
	MaxKey   = 256      // bytes of a key
	MaxValue = 64 << 10 // bytes of a value

	entryVersion  = 1
	entryHead     = 1 + 1 + 8 + identity.NodeIDSize + 2 + 4 // before the key
	entryOverhead = entryHead + ed25519.SignatureSize
	maxEntry      = entryOverhead + MaxKey + MaxValue

	flagTombstone = 1 // of an entry
)

// signDomain comes before what is signed, so that a signature made here never
// passes for one made elsewhere.
const signDomain = "plexus/state/entry/v1"

// Why an entry or message cannot be read.
var (
	errMalformed = errors.New("state: malformed")
	errVersion   = errors.New("state: version not known here")
)

// A keyHash is where a key stands in the order that replicas compare entries
// in; its first byte is the bucket.
type keyHash [16]byte

func hashKey(key string) keyHash {
	sum := sha256.Sum256([]byte(key))
	return keyHash(sum[:])
}

func (h keyHash) compare(other keyHash) int { return bytes.Compare(h[:], other[:]) }

// An entry is one write: a key's value, or its deletion. It never changes. raw
// holds the bytes that the writer signed and the signature, and is what travels.
type entry struct {
	key    string
	value  []byte // aliases raw
	stamp  Stamp
	writer identity.NodeID
	dead   bool // tombstone
	raw    []byte
	hash   keyHash
	sum    [32]byte // SHA-256 of raw; set by keep
}

// signer and verifier are replaced in tests that need many signatures.
type (
	signer   func(key identity.PrivateKey, message []byte) []byte
	verifier func(id identity.NodeID, message, sig []byte) bool
)

// checkKey reports keys that no replica would take.
func checkKey(key string) error {
	if key == "" {
		return errors.New("state: key is empty")
	}
	if len(key) > MaxKey {
		return &LimitError{Limit: "key size", Max: MaxKey, Want: uint64(len(key))}
	}
	if !validKey(key) {
		return errors.New("state: key is not UTF-8, or contains a zero byte")
	}
	return nil
}

func validKey(key string) bool { return utf8.ValidString(key) && strings.IndexByte(key, 0) < 0 }

// appendBody appends the part of an entry that is signed.
func appendBody(dst []byte, e *entry) []byte {
	flags := byte(0)
	if e.dead {
		flags = flagTombstone
	}
	dst = append(dst, entryVersion, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.stamp))
	dst = append(dst, e.writer[:]...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(e.key)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.value)))
	dst = append(dst, e.key...)
	return append(dst, e.value...)
}

// signed returns what the signature of an entry is made over.
func signed(domain string, body []byte) []byte {
	msg := make([]byte, 0, len(signDomain)+1+len(domain)+len(body))
	msg = append(msg, signDomain...)
	msg = append(msg, byte(len(domain)))
	msg = append(msg, domain...)
	return append(msg, body...)
}

// seal makes the entry of a write by the holder of key.
func seal(key identity.PrivateKey, sign signer, domain, name string, value []byte, dead bool, stamp Stamp) *entry {
	e := &entry{key: name, value: value, stamp: stamp, writer: key.ID(), dead: dead}
	raw := appendBody(make([]byte, 0, entryOverhead+len(name)+len(value)), e)
	raw = append(raw, sign(key, signed(domain, raw))...)
	sealed, err := parseEntry(raw)
	if err != nil {
		panic("state: what was sealed cannot be parsed: " + err.Error()) // a bug: sizes and key are checked before
	}
	sealed.sum = sha256.Sum256(raw)
	return &sealed
}

// parseEntry reads an entry and checks all of it but the signature. The result
// aliases raw.
func parseEntry(raw []byte) (entry, error) {
	if len(raw) == 0 {
		return entry{}, errMalformed
	}
	if raw[0] != entryVersion {
		return entry{}, errVersion
	}
	if len(raw) < entryOverhead || raw[1]&^flagTombstone != 0 {
		return entry{}, errMalformed
	}
	e := entry{
		dead:   raw[1]&flagTombstone != 0,
		stamp:  Stamp(binary.BigEndian.Uint64(raw[2:])),
		writer: identity.NodeID(raw[10:42]),
		raw:    raw,
	}
	k, v := int(binary.BigEndian.Uint16(raw[42:])), binary.BigEndian.Uint32(raw[44:])
	if k == 0 || k > MaxKey || v > MaxValue || len(raw) != entryOverhead+k+int(v) || e.dead && v != 0 {
		return entry{}, errMalformed
	}
	key := raw[entryHead : entryHead+k]
	e.key = string(key)
	if !validKey(e.key) {
		return entry{}, errMalformed
	}
	e.value = raw[entryHead+k : entryHead+k+int(v) : entryHead+k+int(v)]
	e.hash = hashKey(e.key)
	return e, nil
}

// verify reports whether the writer of e signed it.
func (e *entry) verify(verify verifier, domain string) bool {
	body, sig := e.raw[:len(e.raw)-ed25519.SignatureSize], e.raw[len(e.raw)-ed25519.SignatureSize:]
	return verify(e.writer, signed(domain, body), sig)
}

// keep returns e with memory of its own.
func (e *entry) keep() *entry {
	raw := bytes.Clone(e.raw)
	kept := *e
	off := entryHead + len(e.key)
	kept.raw, kept.value = raw, raw[off:off+len(e.value):off+len(e.value)]
	kept.sum = sha256.Sum256(raw)
	return &kept
}

// after reports whether e wins over other, an entry of the same key. The order
// is total: by stamp, by writer, and between two different entries that a
// writer gave one stamp, which an honest one never does, by their bytes.
func (e *entry) after(other *entry) bool {
	return cmp.Or(cmp.Compare(e.stamp, other.stamp), e.writer.Compare(other.writer), bytes.Compare(e.raw, other.raw)) > 0
}

// size is what an entry counts against MaxBytes.
func (e *entry) size() int { return len(e.raw) }
