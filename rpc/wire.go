package rpc

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// Calls are messages of three kinds. Each starts with a header, whose first
// byte is the length of the header, itself included: a reader skips what it
// does not know at the end of it. Integers are big endian.
//
//	request   0      header length h, 15 to 255
//	          1..8   call ID, chosen by the caller
//	          9..12  time left for the call in milliseconds, rounded up; 0: not said
//	          13     length n of the method's name, 1 to 64
//	          14..   name
//	          h..    payload
//
//	answer    0      header length h, 10 to 255
//	          1..8   call ID of the request
//	          9      code: 0 for success, else a Code
//	          h..    payload; for an error its text, UTF-8, at most 1024 bytes
//
//	cancel    0      header length, 9 to 255
//	          1..8   call ID of the request
//
// Time travels as what is left of it, never as a date: clocks differ.
const (
	kindRequest = conn.KindReserved + 1
	kindAnswer  = conn.KindReserved + 2
	kindCancel  = conn.KindReserved + 3
)

const (
	maxName = 64   // bytes of a method's name
	maxText = 1024 // bytes of the text of an error

	idEnd         = 9 // header length and call ID, which all headers start with
	requestHeader = 14
	answerHeader  = 10
)

// appendRequest appends the header of a request.
func appendRequest(dst []byte, id uint64, left time.Duration, method string) []byte {
	dst = append(dst, byte(requestHeader+len(method)))
	dst = binary.BigEndian.AppendUint64(dst, id)
	dst = binary.BigEndian.AppendUint32(dst, milliseconds(left))
	dst = append(dst, byte(len(method)))
	return append(dst, method...)
}

// milliseconds rounds up, so that a call always has some time left.
func milliseconds(d time.Duration) uint32 {
	ms := (max(d, 1) + time.Millisecond - 1) / time.Millisecond
	if ms <= 0 || ms > math.MaxUint32 { // the sum overflows near the longest duration
		return math.MaxUint32
	}
	return uint32(ms)
}

// parseID reads what all headers start with, and returns the rest of the header
// and the payload.
func parseID(p []byte) (id uint64, header, payload []byte, ok bool) {
	if len(p) < idEnd {
		return 0, nil, nil, false
	}
	n := int(p[0])
	if n < idEnd || n > len(p) {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint64(p[1:]), p[idEnd:n], p[n:], true
}

// parseRequest reads what follows the ID in the header of a request.
func parseRequest(header []byte) (left time.Duration, method []byte, ok bool) {
	if len(header) < requestHeader-idEnd {
		return 0, nil, false
	}
	n := int(header[4])
	name := header[requestHeader-idEnd:]
	if n == 0 || n > maxName || n > len(name) {
		return 0, nil, false
	}
	return time.Duration(binary.BigEndian.Uint32(header)) * time.Millisecond, name[:n], true
}

// appendAnswer appends the header of an answer.
func appendAnswer(dst []byte, id uint64, code Code) []byte {
	dst = append(dst, answerHeader)
	dst = binary.BigEndian.AppendUint64(dst, id)
	return append(dst, byte(code))
}

// parseAnswer reads what follows the ID in the header of an answer.
func parseAnswer(header []byte) (code Code, ok bool) {
	if len(header) < answerHeader-idEnd {
		return 0, false
	}
	return Code(header[0]), true
}

// appendCancel appends a cancel message.
func appendCancel(dst []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, idEnd), id)
}
