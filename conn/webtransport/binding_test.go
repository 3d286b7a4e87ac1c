package webtransport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

// run runs both parts over a pipe.
func runBinding(dialler, listener []byte) (offered, answered bool, offerErr, answerErr error) {
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		answered, answerErr = answerBinding(b, listener)
		b.Close()
	}()
	offered, offerErr = offerBinding(a, dialler)
	a.Close()
	<-done
	return offered, answered, offerErr, answerErr
}

func TestBinding(t *testing.T) {
	same := bytes.Repeat([]byte{7}, proofSize)
	other := bytes.Repeat([]byte{8}, proofSize)
	if o, a, err1, err2 := runBinding(same, same); !o || !a || err1 != nil || err2 != nil {
		t.Errorf("one QUIC connection: %t, %t, %v, %v; want it bound", o, a, err1, err2)
	}
	if o, a, err1, err2 := runBinding(nil, same); o || a || err1 != nil || err2 != nil {
		t.Errorf("a browser: %t, %t, %v, %v; want it unbound and no error", o, a, err1, err2)
	}
	if o, a, err1, err2 := runBinding(same, other); o || a || err1 == nil || !errors.Is(err2, errBetween) {
		t.Errorf("two QUIC connections: %t, %t, %v, %v; want an error at both ends", o, a, err1, err2)
	}
}

// An end that says anything else is refused, and never bound.
func FuzzBinding(f *testing.F) {
	f.Add([]byte{unbound}, true)
	f.Add([]byte{bound}, true)
	f.Add([]byte{2}, false)
	f.Add(append([]byte{bound}, make([]byte, proofSize)...), true)
	f.Fuzz(func(t *testing.T, said []byte, listens bool) {
		proof := bytes.Repeat([]byte{7}, proofSize)
		other := func() io.ReadWriter {
			return struct {
				io.Reader
				io.Writer
			}{bytes.NewReader(said), io.Discard}
		}
		if listens {
			is, err := answerBinding(other(), proof)
			if want := len(said) > proofSize && said[0] == bound && bytes.Equal(said[1:1+proofSize], proof); is != want || is && err != nil {
				t.Errorf("after %x a listener is bound: %t, %v", said, is, err)
			}
			return
		}
		for _, p := range [][]byte{nil, proof} {
			is, err := offerBinding(other(), p)
			if is && (p == nil || len(said) == 0 || said[0] != bound || err != nil) {
				t.Errorf("after %x a dialler is bound with the proof %x: %v", said, p, err)
			}
		}
	})
}
