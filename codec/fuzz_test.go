package codec_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/plexus-net/plexus/codec"
)

type fuzzed struct {
	Text   string
	Int    int32
	Uint   uint64
	Float  float64
	On     bool
	Bytes  []byte
	Fixed  [2]byte
	List   []string
	Pair   [2]int8
	Map    map[string]fuzzed
	Nums   map[int16]bool
	Next   *fuzzed
	At     time.Time
	Any    any
	Tagged int `codec:"t" json:"t,omitempty"`
}

// fuzzDecode decodes data into values of several types. What can be decoded has
// to come out the same after it was encoded again.
func fuzzDecode(t *testing.T, c codec.Codec, data []byte) {
	for _, v := range []any{new(fuzzed), new(any), new([]fuzzed), new(map[int]string), new([]big), new([3]uint8), new(string)} {
		if c.Decode(data, v) != nil {
			continue
		}
		again, err := c.Append(nil, v)
		if err != nil {
			continue // wants more room than data did, for what data left out
		}
		back := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := c.Decode(again, back); err != nil {
			t.Fatalf("%T: %v\n%q\n%q", v, err, data, again)
		}
		third, err := c.Append(nil, back)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%T: %v\n%q\n%q\n%q", v, err, data, again, third)
		}
	}
}

func seed(f *testing.F, c codec.Codec) {
	v := fuzzed{Text: "t", Int: -5, Uint: 1 << 60, Float: 1.5, On: true, Bytes: []byte{1}, List: []string{"a"}, Pair: [2]int8{1, -1},
		Map: map[string]fuzzed{"k": {}}, Nums: map[int16]bool{300: true}, Next: &fuzzed{}, At: time.Unix(1e9, 1).UTC(), Any: []any{"x", true}}
	data, err := c.Append(nil, v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
}

func FuzzMsgpackDecode(f *testing.F) {
	c := codec.Canonical(codec.Limits{})
	seed(f, c)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzDecode(t, c, data) })
}

func FuzzJSONDecode(f *testing.F) {
	c := codec.JSON(codec.Limits{})
	seed(f, c)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzDecode(t, c, data) })
}

// Values come back as they were, from every codec.
func FuzzRoundTrip(f *testing.F) {
	f.Add("text", int32(-1), uint64(1), 0.5, true, []byte("b"), int16(5))
	f.Fuzz(func(t *testing.T, text string, i int32, u uint64, x float64, on bool, b []byte, k int16) {
		if x != x {
			return // is not equal to itself
		}
		text = string(bytes.ToValidUTF8([]byte(text), nil)) // JSON has no other
		want := fuzzed{Text: text, Int: i, Uint: u, Float: x, On: on, Bytes: append([]byte{}, b...), List: []string{text},
			Map: map[string]fuzzed{text: {Int: i}}, Nums: map[int16]bool{k: on}, Next: &fuzzed{Text: text}, Any: text}
		for _, c := range []codec.Codec{codec.Default, codec.Canonical(codec.Limits{}), codec.JSON(codec.Limits{})} {
			data, err := c.Append(nil, want)
			if err != nil {
				if x-x != 0 {
					continue // JSON has no infinity
				}
				t.Fatalf("%s: %v", c.Name(), err)
			}
			var got fuzzed
			if err := c.Decode(data, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %+v, %v, want %+v", c.Name(), got, err, want)
			}
		}
	})
}
