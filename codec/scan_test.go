package codec

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

type scanned struct {
	Text  string
	Int   int8
	Uint  uint32
	Float float32
	On    bool
	Bytes []byte
	Fixed [2]byte
	List  []uint16
	Pair  [2]*int
	Map   map[string]scanned
	Nums  map[int16][]any
	Keys  map[[2]byte]bool
	Next  *scanned
	At    time.Time
	Any   any
	Tuple tuple
}

// What the scanner lets through, the library decodes: they agree on what every
// byte means, or else the one would have checked what the other does not do.
func FuzzMsgpackScan(f *testing.F) {
	one := 1
	v := scanned{Text: "t", Int: -5, Uint: 70000, Float: 1.5, On: true, Bytes: []byte{1}, List: []uint16{300}, Pair: [2]*int{&one, nil},
		Map: map[string]scanned{"k": {}}, Nums: map[int16][]any{300: {true}}, Keys: map[[2]byte]bool{{1, 2}: true},
		Next: &scanned{}, At: time.Unix(1e9, 1), Any: []any{map[string]any{"x": -1000}}, Tuple: tuple{Z: 1}}
	data, err := Default.Append(nil, v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	c := newMsgpack("test", Limits{}, false)
	types := []reflect.Type{reflect.TypeFor[scanned](), reflect.TypeFor[any](), reflect.TypeFor[[]scanned](),
		reflect.TypeFor[map[int8]scanned](), reflect.TypeFor[[2]tuple](), reflect.TypeFor[wide]()}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, typ := range types {
			d := c.decoders.Get().(*msgpackDecoder)
			broken, err := d.decode(data, reflect.New(typ).Interface(), msgpackPlans.of(typ).root, &c.limits)
			if broken {
				t.Fatalf("%v: %q passed the scanner, but: %v", typ, data, err)
			}
			c.decoders.Put(d)
		}
	})
}

// Maps with many keys are checked in linear time: few keys are compared, and all
// are found near where their hashes, which a sender does not know, put them.
func TestKeysAreCheckedInLinearTime(t *testing.T) {
	const n = 30000
	l := Limits{}.orDefaults()
	data := []byte{0xde, n >> 8, n & 0xff}
	for i := range n {
		data = append(data, fmt.Sprintf("\xa6%06x\xc0", i)...)
	}
	s := newMsgpackScanner()
	compared := 0
	s.same = func(a, b int) bool { compared++; return s.sameKey(a, b) }
	if err := s.scan(data, msgpackPlans.of(reflect.TypeFor[struct{}]()).root, &l); err != nil {
		t.Fatal(err)
	}
	const size = 65536 // the power of two that is at least 2n
	off := 0
	for i, slot := range s.slots[:size] {
		if slot != 0 {
			off += (i - int(slot>>32)) & (size - 1)
		}
	}
	if compared > n/100 || off > 4*n {
		t.Errorf("%d keys: %d comparisons and %d steps between slots", n, compared, off)
	}
}
