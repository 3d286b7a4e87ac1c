package discovery

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// The kinds of messages. Their values are part of the wire format.
const (
	kindRecords  conn.Kind = 1 // records, whole
	kindAnnounce conn.Kind = 2 // fingerprints of records that the sender has
	kindRequest  conn.Kind = 3 // fingerprints of records that the sender wants
	kindDigest   conn.Kind = 4 // a hash of all that the sender knows
	kindLink     conn.Kind = 5 // what the sender thinks of this connection
)

// Limits of messages.
const (
	maxMessage  = 64 << 10 // bytes of any message
	pageBytes   = 32 << 10 // bytes after which a page of records ends
	pageEntries = 4096     // fingerprints of a page of announcements
	maxRequest  = 256      // fingerprints of a request, and records of a message
	entryHeader = 4 + 2    // age and length of a record
)

// Flags, the first byte of records and announcements.
const (
	flagEnd   = 1 // of records: this ends the answer to a request
	flagReply = 1 // of announcements: the sender wants the receiver's in return
)

// errMessage is what is wrong with a message that is not the protocol.
var errMessage = errors.New("discovery: malformed message")

// appendEntry appends a record to a message of records.
func appendEntry(dst, rec []byte, age time.Duration) []byte {
	ms := min(max(age/time.Millisecond, 0), math.MaxUint32)
	dst = binary.BigEndian.AppendUint32(dst, uint32(ms))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(rec)))
	return append(dst, rec...)
}

// decodeRecords calls f with each record of a message, which aliases b, until
// f says no. It returns the flags.
func decodeRecords(b []byte, f func(rec []byte, age time.Duration) bool) (flags byte, err error) {
	if len(b) == 0 || len(b) > maxMessage {
		return 0, errMessage
	}
	in := reader{b: b[1:]}
	for n := 0; len(in.b) > 0; n++ {
		age := time.Duration(in.uint32()) * time.Millisecond
		rec := in.take(int(in.uint16()))
		if in.short || n == maxRequest {
			return 0, errMessage
		}
		if !f(rec, age) {
			break
		}
	}
	return b[0], nil
}

// appendFingerprints appends fingerprints to a message.
func appendFingerprints(dst []byte, fps []fingerprint) []byte {
	for _, fp := range fps {
		dst = binary.BigEndian.AppendUint64(dst, uint64(fp))
	}
	return dst
}

// decodeFingerprints reads a list of at most limit fingerprints.
func decodeFingerprints(b []byte, limit int) ([]fingerprint, error) {
	if len(b)%8 != 0 || len(b)/8 > limit {
		return nil, errMessage
	}
	fps := make([]fingerprint, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		fps = append(fps, fingerprint(binary.BigEndian.Uint64(b)))
	}
	return fps, nil
}

// A digest is what two nodes compare to see that they know the same.
type digest struct {
	count uint32 // live records, the own one included
	hash  uint64 // XOR of the contentOf of each
}

func (d digest) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, d.count)
	return binary.BigEndian.AppendUint64(dst, d.hash)
}

// decodeDigest reads a digest and skips what follows it.
func decodeDigest(b []byte) (d digest, err error) {
	in := reader{b: b}
	d.count, d.hash = in.uint32(), in.uint64()
	if in.short {
		err = errMessage
	}
	return d, err
}

// A linkState is what one end of a connection thinks of it.
type linkState byte

// The states. Their values are part of the wire format.
const (
	linkNeeded linkState = iota // the sender needs it
	linkIdle                    // the sender could do without it
	linkDrop                    // the sender proposes to close it
	linkAgree                   // the sender no longer counts on it: close it
)

// A linkReport is the message about a connection.
type linkReport struct {
	state linkState
	count uint16 // the connections of the sender
}

func (l linkReport) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(append(dst, byte(l.state)), l.count)
}

// decodeLink reads a report and skips what follows it. States of later versions
// read as needed, which is always safe.
func decodeLink(b []byte) (l linkReport, err error) {
	in := reader{b: b}
	l.state, l.count = linkState(in.byte()), in.uint16()
	if in.short {
		err = errMessage
	}
	if l.state > linkAgree {
		l.state = linkNeeded
	}
	return l, err
}
