package durable

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An Epoch names one life of an end: 16 random bytes.
type Epoch [16]byte

// IsZero reports whether e names nobody.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// An Offer is what an end says of itself on a new carrier.
type Offer struct {
	Epoch      Epoch  // its own
	Peer       Epoch  // the other end's, as it knows it; zero: it has met none
	Taken      uint64 // messages that have come in from Peer
	Window     uint32 // bytes that may be under way to it
	MaxMessage uint32 // bytes of a message
}

// OfferSize is how many bytes AppendOffer appends.
const OfferSize = 16 + 16 + 8 + 4 + 4

// AppendOffer appends the wire form of an offer.
func AppendOffer(b []byte, o Offer) []byte {
	b = append(b, o.Epoch[:]...)
	b = append(b, o.Peer[:]...)
	b = binary.BigEndian.AppendUint64(b, o.Taken)
	b = binary.BigEndian.AppendUint32(b, o.Window)
	return binary.BigEndian.AppendUint32(b, o.MaxMessage)
}

// ParseOffer reads what AppendOffer has appended. Bytes behind it are for later
// versions.
func ParseOffer(b []byte) (o Offer, err error) {
	if len(b) < OfferSize {
		return o, fmt.Errorf("offer has %d bytes, want %d", len(b), OfferSize)
	}
	copy(o.Epoch[:], b)
	copy(o.Peer[:], b[16:])
	o.Taken = binary.BigEndian.Uint64(b[32:])
	o.Window = binary.BigEndian.Uint32(b[40:])
	o.MaxMessage = binary.BigEndian.Uint32(b[44:])
	if o.Epoch.IsZero() {
		return o, errors.New("offer of no epoch")
	}
	return o, nil
}

// Types of frames.
const (
	typeData   = 1
	typeUrgent = 2
	typeClose  = 3
	typeStart  = 4
	typeAck    = 5
	typePing   = 6
	typePong   = 7
	typeAttach = 8
)

const (
	header     = 4
	numberSize = header + 8

	// Overhead is what a message takes in a buffer beyond its bytes.
	Overhead = header

	// MaxReason is how large a reason may be with which a channel is closed.
	MaxReason = 512

	maxWindow = 1 << 30 // that an end is believed to have
)

func putHeader(b []byte, t byte, n int) {
	binary.BigEndian.PutUint32(b, uint32(n)<<8|uint32(t))
}

// parseHeader returns the type and the length of the body.
func parseHeader(b []byte) (t byte, n int) {
	h := binary.BigEndian.Uint32(b)
	return byte(h), int(h >> 8)
}

func appendNumber(b []byte, t byte, n uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8<<8|uint32(t))
	return binary.BigEndian.AppendUint64(b, n)
}

func appendEmpty(b []byte, t byte) []byte { return append(b, 0, 0, 0, t) }

func putUint64(b []byte, n uint64) { binary.BigEndian.PutUint64(b, n) }

// AttachFrame is how many bytes the frame takes that moves a channel.
const AttachFrame = numberSize

// AppendAttach appends a frame that moves the channel to its carrier, for an end
// that decides and tells the other by itself.
func AppendAttach(b []byte, number uint64) []byte { return appendNumber(b, typeAttach, number) }

// ParseAttach reads a frame that moves the channel to its carrier.
func ParseAttach(b []byte) (number uint64, err error) {
	if len(b) < numberSize {
		return 0, fmt.Errorf("frame of %d bytes, want %d", len(b), numberSize)
	}
	if t, n := parseHeader(b); t != typeAttach || n != 8 {
		return 0, fmt.Errorf("frame of type %d and %d bytes, want attach", t, n)
	}
	if number = binary.BigEndian.Uint64(b[header:]); number == 0 {
		return 0, errors.New("attach has number 0")
	}
	return number, nil
}
