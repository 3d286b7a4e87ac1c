package wire

import (
	"bytes"
	"errors"
	"testing"
)

// Every decoder takes any bytes: it returns, with an error of this package or
// with a value that encodes to bytes which decode to the same.

func corpus(f *testing.F, names ...string) {
	for _, name := range names {
		f.Add(body(f, name))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
}

// wellFormed checks the error of a decoder.
func wellFormed(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, ErrMalformed) {
		t.Fatalf("error %v is not ErrMalformed", err)
	}
	return err == nil
}

func FuzzFrame(f *testing.F) {
	for _, g := range goldens {
		f.Add(g.got)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) >= PrefixSize {
			typ, n := Prefix(b)
			if n < 0 || n > MaxBody {
				t.Fatalf("a frame of %d bytes", n)
			}
			if !bytes.Equal(AppendPrefix(nil, typ, n), b[:PrefixSize]) {
				t.Fatalf("prefix %x is not what type %d with %d bytes makes", b[:PrefixSize], typ, n)
			}
			b = b[PrefixSize:]
			frame := b[:min(n, len(b))]
			for _, decode := range decoders {
				wellFormed(t, decode(frame))
			}
			b = b[len(frame):]
		}
	})
}

func FuzzHello(f *testing.F) {
	corpus(f, "hello")
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHello(b)
		if !wellFormed(t, err) {
			return
		}
		if len(h.Network) > MaxName || len(h.Services) > MaxServices || h.RoutedWindow > MaxWindow {
			t.Fatalf("read %+v", h)
		}
		again, err := ParseHello(AppendHello(nil, h)[PrefixSize:])
		if err != nil || !bytes.Equal(AppendHello(nil, again), AppendHello(nil, h)) {
			t.Fatalf("%+v does not survive: %+v, %v", h, again, err)
		}
	})
}

func FuzzServices(f *testing.F) {
	corpus(f, "services", "no services")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseServices(b)
		if !wellFormed(t, err) {
			return
		}
		for _, x := range s {
			if x.ID == 0 || len(x.Name) > MaxName || x.Window > MaxWindow {
				t.Fatalf("read %+v", x)
			}
		}
		if len(s) > MaxServices || ServicesSize(s) != len(b) {
			t.Fatalf("%d bytes made %d services of %d bytes", len(b), len(s), ServicesSize(s))
		}
	})
}

func FuzzRouted(f *testing.F) {
	corpus(f, "routed")
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := ParseRouted(b)
		if !wellFormed(t, err) {
			return
		}
		ext := len(b) - RoutedHeader - len(payload)
		head := AppendRouted(nil, &h, ext+len(payload))[PrefixSize:]
		head[10], head[11] = b[10], b[11]
		if ext < 0 || !bytes.Equal(head, b[:RoutedHeader]) {
			t.Fatalf("header %x was read as %+v", b[:RoutedHeader], h)
		}
	})
}

func FuzzReport(f *testing.F) {
	corpus(f, "report")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if wellFormed(t, err) && !bytes.Equal(AppendReport(nil, &r)[PrefixSize:], b[:ReportBody]) {
			t.Fatalf("%x was read as %+v", b, r)
		}
	})
}

func FuzzPeer(f *testing.F) {
	corpus(f, "peer")
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := ParsePeer(b)
		if wellFormed(t, err) && !bytes.Equal(append(AppendPeer(nil, &h, len(payload)), payload...)[PrefixSize:], b) {
			t.Fatalf("%x was read as %+v", b, h)
		}
	})
}
