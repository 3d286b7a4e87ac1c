package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/codec"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Types that encode themselves, by the methods of their pointers.
type (
	appender  struct{ n byte }
	generated struct{ n byte }
	marshaler struct{ n byte }
	faulty    struct{ n byte }
)

func (a *appender) AppendBinary(b []byte) ([]byte, error) { return append(b, 'a', a.n), nil }
func (a *appender) UnmarshalBinary(b []byte) error        { return one('a', b, &a.n) }

func (g *generated) MarshalMsg(b []byte) ([]byte, error) { return append(b, 'g', g.n), nil }
func (g *generated) UnmarshalMsg(b []byte) ([]byte, error) {
	if len(b) < 2 {
		return b, errors.New("short")
	}
	return b[2:], one('g', b[:2], &g.n)
}

func (m marshaler) MarshalBinary() ([]byte, error)     { return []byte{'m', m.n}, nil }
func (m *marshaler) UnmarshalBinary(data []byte) error { return one('m', data, &m.n) }

func (f faulty) AppendBinary(b []byte) ([]byte, error) {
	switch f.n {
	case 0:
		return append(b, "half"...), errors.New("fault")
	case 1:
		return nil, nil
	case 2:
		return append(b, make([]byte, 2<<20)...), nil
	}
	panic("fault")
}
func (f *faulty) UnmarshalBinary(data []byte) error { panic(fmt.Sprint("fault ", data[5])) }

func one(tag byte, b []byte, n *byte) error {
	if len(b) != 2 || b[0] != tag {
		return fmt.Errorf("%q", b)
	}
	*n = b[1]
	return nil
}

func TestSelfEncoding(t *testing.T) {
	for _, c := range []codec.Codec{codec.Default, codec.Canonical(codec.Limits{})} {
		for _, tt := range []struct {
			v    any
			want string
		}{
			{[]byte("raw"), "raw"}, {"text", "text"},
			{appender{5}, "a\x05"}, {&appender{5}, "a\x05"},
			{generated{5}, "g\x05"}, {&generated{5}, "g\x05"},
			{marshaler{5}, "m\x05"}, {&marshaler{5}, "m\x05"},
			{netip.MustParseAddr("1.2.3.4"), "\x01\x02\x03\x04"},
			{struct{ M marshaler }{marshaler{5}}, "\x81\xa1M\xc4\x02m\x05"},
			{struct{ M *marshaler }{}, "\x81\xa1M\xc0"},
			{map[marshaler]bool{{5}: true}, "\x81\xc4\x02m\x05\xc3"},
		} {
			data, err := c.Append([]byte("> "), tt.v)
			if err != nil || string(data) != "> "+tt.want {
				t.Errorf("%T: %q, %v, want %q after the prefix", tt.v, data, err, tt.want)
				continue
			}
			typ := reflect.TypeOf(tt.v)
			if typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			got := reflect.New(typ)
			if err := c.Decode(data[2:], got.Interface()); err != nil {
				t.Errorf("%T: %v", tt.v, err)
			}
			if want := reflect.Indirect(reflect.ValueOf(tt.v)).Interface(); !reflect.DeepEqual(got.Elem().Interface(), want) {
				t.Errorf("got %v, want %v", got.Elem(), want)
			}
		}
	}
}

func TestSelfEncodingFaults(t *testing.T) {
	for n, want := range []error{nil, codec.ErrUnsupported, codec.ErrTooLarge, codec.ErrUnsupported} {
		out, err := codec.Default.Append([]byte("dst"), faulty{byte(n)})
		if string(out) != "dst" || err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%d: %q, %v, want dst and %v", n, out, err, want)
		}
	}
	for _, tt := range []struct {
		data string
		v    any
		want error
	}{
		{"", new(faulty), codec.ErrInvalid},
		{"\x81\xa1F\xc4\x00", new(struct{ F faulty }), codec.ErrInvalid},
		{"g", new(generated), codec.ErrInvalid},
		{"g\x01x", new(generated), codec.ErrTrailing},
		{"x\x01", new(appender), codec.ErrInvalid},
		{strings.Repeat("x", 1<<20+1), new(appender), codec.ErrTooLarge},
		{"", (*appender)(nil), codec.ErrUnsupported},
	} {
		if err := codec.Default.Decode([]byte(tt.data), tt.v); !errors.Is(err, tt.want) {
			t.Errorf("%.20q into %T: %v, want %v", tt.data, tt.v, err, tt.want)
		}
	}
	if _, err := codec.Default.Append(nil, (*appender)(nil)); !errors.Is(err, codec.ErrUnsupported) {
		t.Errorf("nil pointer: %v", err)
	}
}

// What a pointer to an any encodes is decoded into one, whatever it holds.
func TestAny(t *testing.T) {
	at := time.Unix(1e9, 5).UTC()
	for _, c := range []codec.Codec{codec.Default, codec.JSON(codec.Limits{})} {
		for _, v := range []any{nil, true, "text", []any{"a", nil}, map[string]any{"k": []any{}}} {
			data, err := c.Append(nil, &v)
			var got any
			if err := errors.Join(err, c.Decode(data, &got)); err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("%s: got %#v, %v, want %#v", c.Name(), got, err, v)
			}
		}
	}
	for in, want := range map[any]any{5: int64(5), uint16(300): int64(300), -5: int64(-5), float32(1.5): 1.5, at: at, [2]byte{1, 2}: []byte{1, 2}} {
		data, err := codec.Default.Append(nil, &in)
		var got any
		if err := errors.Join(err, codec.Default.Decode(data, &got)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %#v, %v, want %#v", got, err, want)
		}
	}
	for _, v := range []any{map[int]string{1: ""}, uint64(1 << 63), make(chan int), func() {}, []any{struct{ F func() }{}}} {
		if _, err := codec.Default.Append(nil, &v); err == nil {
			t.Errorf("%T in an any was encoded, but cannot be decoded", v)
		}
	}
}

func TestTimes(t *testing.T) {
	type S struct{ A, B, C time.Time }
	want := S{A: time.Unix(1, 0).UTC(), B: time.Unix(1e9, 999999999).UTC(), C: time.Date(1, 2, 3, 4, 5, 6, 7, time.UTC)}
	data, err := codec.Default.Append(nil, want)
	var got S
	if err := errors.Join(err, codec.Default.Decode(data, &got)); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestCanonical(t *testing.T) {
	type key [3]byte
	type S struct {
		Text  map[string]int
		Num   map[int]string
		Bytes map[key]bool
		Self  map[marshaler]int
		Any   any
	}
	build := func(order func(int) int) S {
		s := S{map[string]int{}, map[int]string{}, map[key]bool{}, map[marshaler]int{}, map[string]any{}}
		for i := range 50 {
			i = order(i)
			s.Text[fmt.Sprint(i)], s.Num[i-25], s.Bytes[key{byte(i), 1}] = i, "x", true
			s.Self[marshaler{byte(i)}], s.Any.(map[string]any)[fmt.Sprint(i)] = i, int64(i)
		}
		return s
	}
	c := codec.Canonical(codec.Limits{})
	a, err := c.Append(nil, build(func(i int) int { return i }))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if b, err := c.Append(nil, build(func(i int) int { return 49 - i })); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("equal values have different encodings (%v)", err)
		}
	}
	var got S
	if err := codec.Default.Decode(a, &got); err != nil || !reflect.DeepEqual(got, build(func(i int) int { return i })) {
		t.Errorf("got %v, %v", got, err)
	}
}

// Append refuses what Decode, with the same limits, would.
func TestLimitsOfAppend(t *testing.T) {
	l := codec.Limits{Size: 100, Depth: 3, Elements: 10, Expansion: 8}
	deep := &node{Next: &node{Next: &node{Next: &node{}}}}
	for _, c := range []codec.Codec{codec.Msgpack(l), codec.Canonical(l), codec.JSON(l)} {
		for _, tt := range []struct {
			v    any
			want error
		}{
			{struct{ S string }{strings.Repeat("x", 100)}, codec.ErrTooLarge},
			{make([]bool, 11), codec.ErrTooLarge},
			{[][]bool{make([]bool, 5), make([]bool, 5)}, codec.ErrTooLarge},
			{deep, codec.ErrTooDeep},
			{[][][][]int{{{{1}}}}, codec.ErrTooDeep},
			{struct {
				A struct{ B struct{ C struct{ D int } } }
			}{}, codec.ErrTooDeep},
			{[]any{[]any{[]any{[]any{}}}}, codec.ErrTooDeep},
			{make([]*[9999]int, 10), nil},
			{[][]int{{1}}, nil},
		} {
			_, err := c.Append(nil, tt.v)
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %T: %v, want %v", c.Name(), tt.v, err, tt.want)
			}
		}
	}
	err := codec.Msgpack(l).Decode(make([]byte, 101), new([]byte))
	if !errors.Is(err, codec.ErrTooLarge) || !strings.Contains(err.Error(), "Limits.Size allows 100") {
		t.Errorf("%v does not name the limit", err)
	}
}

func TestAllocations(t *testing.T) {
	payload := make([]byte, 1000)
	buf := make([]byte, 0, 2000)
	var into []byte
	var boxedIn any = payload
	small := &five{"name", 1 << 40, 2.5, true, []byte("data")}
	encoded, err := codec.Default.Append(nil, small)
	if err != nil {
		t.Fatal(err)
	}
	var got five
	self := &appender{5}
	for _, tt := range []struct {
		name string
		most float64
		f    func() error
	}{
		{"encode bytes", 0, func() error { _, err := codec.Default.Append(buf, boxedIn); return err }},
		{"encode bytes by pointer", 0, func() error { _, err := codec.Default.Append(buf, &payload); return err }},
		{"decode bytes", 0, func() error { return codec.Default.Decode(payload, &into) }},
		{"encode a struct", 0, func() error { _, err := codec.Default.Append(buf, small); return err }},
		{"decode a struct", 2, func() error { return codec.Default.Decode(encoded, &got) }}, // its string and its bytes
		{"encode what encodes itself", 0, func() error { _, err := codec.Default.Append(buf, self); return err }},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := tt.f(); err != nil {
				t.Error(err)
			}
		}); n > tt.most && !raceEnabled {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, n, tt.most)
		}
	}
}

type five struct {
	Name   string
	Number int64
	Factor float64
	On     bool
	Data   []byte
}

func BenchmarkEncode(b *testing.B) {
	v := &five{"name", 1 << 40, 2.5, true, []byte("data")}
	m := &map[string]int{"a": 1, "b": 2, "c": 3}
	for _, c := range []codec.Codec{codec.Default, codec.Canonical(codec.Limits{}), codec.JSON(codec.Limits{})} {
		for _, v := range []any{v, m} {
			b.Run(fmt.Sprintf("%s/%T", c.Name(), v), func(b *testing.B) {
				buf := make([]byte, 0, 512)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Append(buf, v); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []codec.Codec{codec.Default, codec.JSON(codec.Limits{})} {
		data, err := c.Append(nil, &five{"name", 1 << 40, 2.5, true, []byte("data")})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.Name(), func(b *testing.B) {
			var v five
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Decode(data, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBytes(b *testing.B) {
	data, buf := make([]byte, 100), make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		out, err := codec.Default.Append(buf, &data)
		if err == nil {
			err = codec.Default.Decode(out, &data)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
