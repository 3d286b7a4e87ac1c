package link_test

import (
	"reflect"
	"testing"

	"github.com/plexus-net/plexus/codec"
	"github.com/plexus-net/plexus/conn/link"
)

type order struct {
	ID    uint64
	Price int32
	Side  [4]byte
}

type confirmed struct {
	ID   uint64
	Text string
	Tags []string
}

// Both directions have types of their own, with every codec.
func TestCodecs(t *testing.T) {
	sent, got := order{7, -3, [4]byte{'b', 'u', 'y'}}, confirmed{7, "done", []string{"a", "b"}}
	for name, c := range map[string]struct {
		out link.Config[confirmed, order]
		in  link.Config[order, confirmed]
	}{
		"usual": {},
		"json":  {link.Config[confirmed, order]{Codec: link.Coded[confirmed, order]{Codec: codec.JSON(codec.Limits{})}, Framer: link.Delimiter{}}, link.Config[order, confirmed]{Codec: link.Coded[order, confirmed]{Codec: codec.JSON(codec.Limits{})}, Framer: link.Delimiter{}}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			x, y := linkOver(t, a, b, c.out, c.in)
			exchange(t, x, y, sent, got)
		})
	}
	t.Run("binary", func(t *testing.T) {
		for _, little := range []bool{false, true} {
			a, b := tcpPair(t)
			x, y := linkOver(t, a, b,
				link.Config[uint16, order]{Codec: link.Binary[uint16, order]{LittleEndian: little}},
				link.Config[order, uint16]{Codec: link.Binary[order, uint16]{LittleEndian: little}})
			exchange(t, x, y, sent, uint16(0x1234))
		}
	})
	t.Run("strings and bytes", func(t *testing.T) {
		a, b := tcpPair(t)
		x, y := linkOver(t, a, b, link.Config[string, []byte]{}, link.Config[[]byte, string]{})
		exchange(t, x, y, []byte("bytes"), "text")
	})
}

func exchange[A, B any](t *testing.T, x *link.Link[B, A], y *link.Link[A, B], a A, b B) {
	t.Helper()
	must(t, x.Send(noContext, a))
	gotA, err := y.Recv(noContext)
	must(t, err)
	must(t, y.Send(noContext, b))
	gotB, err := x.Recv(noContext)
	must(t, err)
	if !reflect.DeepEqual(gotA, a) || !reflect.DeepEqual(gotB, b) {
		t.Errorf("received %+v and %+v, want %+v and %+v", gotA, gotB, a, b)
	}
}

// A frame that the codec cannot decode ends the link; a message that it cannot
// encode is that Send's affair.
func TestCodecRefuses(t *testing.T) {
	a, b := tcpPair(t)
	x, err := link.New(noContext, a, true, bytesConfig{})
	must(t, err)
	defer x.Close()
	y, err := link.New(noContext, b, false, link.Config[order, func()]{})
	must(t, err)
	defer y.Close()
	if err := y.Send(noContext, func() {}); err == nil || y.Err() != nil {
		t.Errorf("sending a function: %v; the link: %v", err, y.Err())
	}
	must(t, x.Send(noContext, []byte("no msgpack")))
	if _, err := y.Recv(noContext); err == nil || y.Err() == nil {
		t.Errorf("received garbage: %v; the link: %v", err, y.Err())
	}
}
