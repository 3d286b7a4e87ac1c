package endpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/durable"
)

// helloFrame is the first frame of an end that offers o.
func helloFrame(o durable.Offer) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(helloSize)<<8|typeHello)
	return durable.AppendOffer(append(append(b, magic...), version), o)
}

// FuzzHello reads whatever may come first on a connection, in one piece and byte
// by byte.
func FuzzHello(f *testing.F) {
	good := helloFrame(durable.Offer{Epoch: durable.Epoch{1}, Taken: 2, Window: 3, MaxMessage: 4})
	f.Add(good)
	f.Add(good[:20])
	f.Add(append([]byte{0, 0, 5, typeRefused, 0, byte(conn.CodeRejected)}, "why"...))
	f.Add([]byte{0, 0, 0, typeHello})
	f.Add([]byte{0xff, 0xff, 0xff, typeHello})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readHello(bytes.NewReader(b))
		o1, err1 := readHello(iotest.OneByteReader(bytes.NewReader(b)))
		if o != o1 || (err == nil) != (err1 == nil) || err != nil && err.Error() != err1.Error() {
			t.Errorf("in one piece %v, %v; byte by byte %v, %v", o, err, o1, err1)
		}
		if err == nil && !bytes.Equal(helloFrame(o)[4:], b[4:4+helloSize]) {
			t.Errorf("%x is read as %+v", b, o)
		}
	})
}

// FuzzReason reads why a connection was refused, or a channel closed: what is
// shown to people is printable and short.
func FuzzReason(f *testing.F) {
	f.Add(reasonOf(&conn.CloseError{Code: conn.CodeShutdown, Reason: "good night"}))
	f.Add(reasonOf(errors.New(strings.Repeat("long ", 100))))
	f.Add([]byte{0})
	f.Add([]byte{0, 1, '\n', 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		ce := parseReason(b)
		if !ce.Remote || len(ce.Reason) > maxReason {
			t.Errorf("%x is read as %+v", b, ce)
		}
		for _, c := range []byte(ce.Reason) {
			if c < ' ' || c > '~' {
				t.Errorf("%x is read as %q", b, ce.Reason)
			}
		}
		again := parseReason(reasonOf(ce))
		if len(b) >= 2 && (again.Code != ce.Code || again.Reason != ce.Reason) {
			t.Errorf("%+v is passed on as %+v", ce, again)
		}
	})
}

// A frame that claims to be large is refused before it is read.
func TestHelloOfAnySize(t *testing.T) {
	r := &counting{r: io.MultiReader(bytes.NewReader([]byte{0xff, 0xff, 0xff, typeHello}), neverEnding{})}
	if _, err := readHello(r); err != errNoEndpoint || r.n > 4 {
		t.Errorf("readHello = %v, after %d bytes", err, r.n)
	}
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }
