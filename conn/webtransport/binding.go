package webtransport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The two layers of TLS have to be bound together before anything but the
// encrypted stream can be trusted: nobody checks the outer certificate, so that
// there could be two outer connections, with somebody between. First thing in
// the encrypted stream, the side that dialled therefore tells what only the two
// ends of its QUIC connection know, and the other side compares:
//
//	dialler  ─> 1, 32 bytes of exported keying material     or 0: it is a browser, which cannot know
//	listener ─> 1: the same here                            or 0: then both use the stream alone
//
// What differs ends the connection: somebody is between.
const (
	unbound = 0
	bound   = 1

	proofSize = 32
)

var errBetween = errors.New("webtransport: the outer connection is not the other node's: somebody is between")

// offerBinding is the dialler's part. A nil proof offers none.
func offerBinding(rw io.ReadWriter, proof []byte) (is bool, err error) {
	hello := []byte{unbound}
	if proof != nil {
		hello = append([]byte{bound}, proof...)
	}
	if _, err := rw.Write(hello); err != nil {
		return false, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(rw, answer[:]); err != nil {
		return false, err
	}
	switch {
	case answer[0] == unbound:
		return false, nil
	case answer[0] == bound && proof != nil:
		return true, nil
	}
	return false, fmt.Errorf("webtransport: the answer %d to what binds the layers is none", answer[0])
}

// answerBinding is the listener's part; proof is what it knows itself.
func answerBinding(rw io.ReadWriter, proof []byte) (is bool, err error) {
	var hello [1 + proofSize]byte
	if _, err := io.ReadFull(rw, hello[:1]); err != nil {
		return false, err
	}
	switch hello[0] {
	case unbound:
	case bound:
		if _, err := io.ReadFull(rw, hello[1:]); err != nil {
			return false, err
		}
		if !bytes.Equal(hello[1:], proof) {
			return false, errBetween
		}
		is = true
	default:
		return false, fmt.Errorf("webtransport: the stream begins with %d; want what binds the layers", hello[0])
	}
	answer := []byte{unbound}
	if is {
		answer[0] = bound
	}
	_, err = rw.Write(answer)
	return is, err
}
