package identity

import (
	"crypto/sha256"
	"math/bits"
)

// KeyBits is the width of the key space.
const KeyBits = 256

// A Key is a point of the 256-bit key space, most significant byte first.
type Key [KeyBits / 8]byte

// KeyOf returns the place of data in the key space: its SHA-256. Use it to
// place names, files and other things; nodes stand at [NodeID.Key].
func KeyOf(data []byte) Key { return sha256.Sum256(data) }

// String returns the text form: 52 characters of lower-case base32.
func (k Key) String() string { return encoding.EncodeToString(k[:]) }

// Distance returns the XOR of two keys, the distance of the key space. It is
// zero only between equal keys, symmetric, and keeps the triangle inequality.
func (k Key) Distance(other Key) Key {
	var d Key
	for i := range d {
		d[i] = k[i] ^ other[i]
	}
	return d
}

// CommonPrefix returns how many leading bits two keys share, 0 to 256.
func (k Key) CommonPrefix(other Key) int {
	for i := range k {
		if x := k[i] ^ other[i]; x != 0 {
			return i*8 + bits.LeadingZeros8(x)
		}
	}
	return KeyBits
}

// Closer reports whether a is nearer to k than b is. It allocates nothing.
func (k Key) Closer(a, b Key) bool {
	for i := range k {
		if da, db := a[i]^k[i], b[i]^k[i]; da != db {
			return da < db
		}
	}
	return false
}
