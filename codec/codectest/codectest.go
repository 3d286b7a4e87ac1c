// Package codectest tests that a codec keeps the rules of [codec.Codec]. Call it
// from the tests of a codec:
//
//	func TestConformance(t *testing.T) { codectest.Test(t, mycodec.New()) }
//
// Each case is a rule. When one fails, the rule is printed beside what was seen.
package codectest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/codec"
)

// A rule is one case of the suite.
type rule struct {
	name  string
	why   string
	bytes bool // makes sense for codecs of nothing but bytes, too
	test  func(c codec.Codec) error
}

var rules = []rule{
	{"name", "a codec has a name, always the same", true, testName},
	{"append", "Append appends to dst, whatever dst holds, and keeps it", true, testAppend},
	{"append-error", "on error, Append returns dst with its content and length", true, testAppendError},
	{"pointer", "a value and a pointer to it have the same encoding", true, testPointer},
	{"round-trip", "Decode undoes Append", false, testRoundTrip},
	{"round-trip-bytes", "Decode undoes Append, for []byte and string", true, testBytes},
	{"replace", "Decode leaves nothing of the previous value", false, testReplace},
	{"target", "Decode refuses what is not a non-nil pointer, by codec.ErrUnsupported", true, testTarget},
	{"unsupported", "Append refuses channels and functions, by codec.ErrUnsupported", true, testUnsupported},
	{"truncated", "no prefix of an encoding is one, and it is refused by codec.ErrTruncated", false, testTruncated},
	{"trailing", "Decode refuses bytes after the value, by codec.ErrTrailing", false, testTrailing},
	{"aliasing", "Decode keeps no reference to its input, Append none to its output", true, testAliasing},
	{"too-large", "a payload of 32 MiB is refused, by codec.ErrTooLarge", true, testTooLarge},
	{"too-deep", "values that contain themselves are refused, by codec.ErrTooDeep", false, testTooDeep},
	{"concurrent", "methods may be called concurrently", true, testConcurrent},
	{"random", "no input makes Decode panic, or take more than its share of memory", true, testRandom},
	{"changed", "no change to a valid input makes Decode panic", false, testChanged},
}

// Test runs the suite on c, which has limits near the defaults of package codec. A codec that refuses structs, by
// [codec.ErrUnsupported], is tested with []byte and string only.
func Test(t *testing.T, c codec.Codec) {
	t.Helper()
	_, err := c.Append(nil, sample())
	onlyBytes := errors.Is(err, codec.ErrUnsupported)
	for _, r := range rules {
		if onlyBytes && !r.bytes {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			if err := r.run(c); err != nil {
				t.Errorf("%v\nrule: %s", err, r.why)
			}
		})
	}
}

// run turns a panic of the codec into an error.
func (r rule) run(c codec.Codec) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("panic: %v", x)
		}
	}()
	return r.test(c)
}

// A Record is a value of many types.
type record struct {
	Name   string
	Number int64
	Small  uint8
	Factor float64
	On     bool
	Data   []byte
	ID     [4]byte
	Tags   []string
	Counts map[string]int
	Inner  *record
	List   []record
	Any    any
}

func sample() record {
	return record{
		Name: "näme \x00\u2028<&>", Number: -1 << 40, Small: 255, Factor: -0.5, On: true,
		Data: []byte{0, 1, 0xff}, ID: [4]byte{1, 2, 3, 4}, Tags: []string{"a", "", "c"},
		Counts: map[string]int{"x": 1, "y": -300, "z": 70000},
		Inner:  &record{Name: "inner", Inner: &record{Tags: []string{}}},
		List:   []record{{Number: 1}, {Any: "text"}},
		Any:    map[string]any{"k": []any{true, nil, "v"}},
	}
}

func testName(c codec.Codec) error {
	if first, second := c.Name(), c.Name(); first == "" || first != second {
		return fmt.Errorf("first %q, then %q", first, second)
	}
	return nil
}

// payload is of a type that every codec supports.
var payload = []byte("some bytes")

func testAppend(c codec.Codec) error {
	want, err := c.Append(nil, payload)
	if err != nil {
		return err
	}
	for _, spare := range []int{0, 1, len(want), 1000} {
		prefix := []byte("prefix")
		dst := append(make([]byte, 0, len(prefix)+spare), prefix...)
		got, err := c.Append(dst, payload)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, append(prefix, want...)) {
			return fmt.Errorf("with room for %d bytes, Append to %q returned %q, want the prefix and %q", spare, prefix, got, want)
		}
	}
	return nil
}

func testAppendError(c codec.Codec) error {
	prefix := []byte("prefix")
	for _, v := range unsupported {
		dst := append(make([]byte, 0, 100), prefix...)
		if got, err := c.Append(dst, v); err == nil || !bytes.Equal(got, prefix) || !bytes.Equal(dst, prefix) {
			return fmt.Errorf("append to %q of %T: %q, %v and dst is now %q, want dst and an error", prefix, v, got, err, dst)
		}
	}
	return nil
}

func testPointer(c codec.Codec) error {
	text := "text"
	for _, pair := range [][2]any{{payload, &payload}, {text, &text}} {
		a, err1 := c.Append(nil, pair[0])
		b, err2 := c.Append(nil, pair[1])
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%T is %q, %T is %q", pair[0], a, pair[1], b)
		}
	}
	return nil
}

// roundTrip encodes and decodes *v, a value of any type.
func roundTrip(c codec.Codec, v any) error {
	data, err := c.Append(nil, v)
	if err != nil {
		return fmt.Errorf("append %T: %w", v, err)
	}
	got := reflect.New(reflect.TypeOf(v).Elem())
	if err := c.Decode(data, got.Interface()); err != nil {
		return fmt.Errorf("decode %q into %T: %w", data, v, err)
	}
	if !reflect.DeepEqual(got.Interface(), v) {
		return fmt.Errorf("got %+v, want %+v, by way of %q", got.Elem(), reflect.ValueOf(v).Elem(), data)
	}
	return nil
}

func ptr[T any](v T) any { return &v }

func testRoundTrip(c codec.Codec) error {
	for _, v := range []any{
		ptr(sample()), ptr(record{}), ptr(struct{}{}), ptr([]record{sample(), {}}),
		ptr(true), ptr(false), ptr(int8(-128)), ptr(int64(-1 << 63)), ptr(int64(1<<63 - 1)), ptr(uint64(1<<64 - 1)),
		ptr(uint16(65535)), ptr(int(-33)), ptr(uint32(0)), ptr(float32(1.5)), ptr(1e300),
		ptr([]int{}), ptr([]int(nil)), ptr([]int{-129, -128, -32, -1, 0, 127, 128, 255, 256, 65535, 65536, 1 << 30}),
		ptr([3]string{"a", "", "c"}), ptr([][]byte{{1}, {}, nil}), ptr([0]int{}),
		ptr(map[string]int{}), ptr(map[string]int(nil)), ptr(map[int]string{-1: "a", 300: "b", 0: ""}),
		ptr(map[string]map[string]bool{"a": {"b": true}, "c": nil}), ptr(map[uint8][]int{7: {1}}),
		ptr((*int)(nil)), ptr(ptr(5).(*int)), ptr(any(nil)), ptr(any("text")), ptr(any([]any{"a", false})),
		ptr(string(bytes.Repeat([]byte("x"), 70000))), ptr(manyKeys(2000)),
	} {
		if err := roundTrip(c, v); err != nil {
			return err
		}
	}
	return nil
}

func manyKeys(n int) map[string]int {
	m := make(map[string]int, n)
	for i := range n {
		m[fmt.Sprint("key", i)] = i
	}
	return m
}

func testBytes(c codec.Codec) error {
	for _, v := range []any{ptr([]byte{}), ptr([]byte{0}), ptr(bytes.Repeat([]byte{0xc1, 0}, 40000)), ptr(""), ptr("text"), ptr("\"{}\\")} {
		if err := roundTrip(c, v); err != nil {
			return err
		}
	}
	return nil
}

func testReplace(c codec.Codec) error {
	data, err := c.Append(nil, record{Name: "new", Tags: []string{"t"}, Counts: map[string]int{"n": 1}})
	if err != nil {
		return err
	}
	got, want := sample(), record{}
	if err := errors.Join(c.Decode(data, &got), c.Decode(data, &want)); err != nil {
		return err
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("into a used value: %+v, into a new one: %+v", got, want)
	}
	return nil
}

func testTarget(c codec.Codec) error {
	data, err := c.Append(nil, payload)
	if err != nil {
		return err
	}
	for _, v := range []any{nil, payload, "text", (*[]byte)(nil), (*string)(nil), 5} {
		if err := c.Decode(data, v); !errors.Is(err, codec.ErrUnsupported) {
			return fmt.Errorf("decode into %T(%v): %v", v, v, err)
		}
	}
	return nil
}

var unsupported = []any{make(chan int), func() {}, struct{ C chan int }{}, complex(1, 2), []func(){nil}}

func testUnsupported(c codec.Codec) error {
	for _, v := range unsupported {
		if _, err := c.Append(nil, v); !errors.Is(err, codec.ErrUnsupported) {
			return fmt.Errorf("append of %T: %v", v, err)
		}
	}
	return nil
}

func testTruncated(c codec.Codec) error {
	data, err := c.Append(nil, sample())
	if err != nil {
		return err
	}
	for n := range data {
		var v record
		if err := c.Decode(data[:n:n], &v); !errors.Is(err, codec.ErrTruncated) {
			return fmt.Errorf("%d of %d bytes: %v", n, len(data), err)
		}
		var a any
		if err := c.Decode(data[:n:n], &a); !errors.Is(err, codec.ErrTruncated) {
			return fmt.Errorf("%d of %d bytes, into an any: %v", n, len(data), err)
		}
	}
	return nil
}

func testTrailing(c codec.Codec) error {
	data, err := c.Append(nil, sample())
	if err != nil {
		return err
	}
	for _, more := range [][]byte{{0}, {'0'}, {0xc0}, data} {
		var v record
		if err := c.Decode(append(bytes.Clone(data), more...), &v); !errors.Is(err, codec.ErrTrailing) {
			return fmt.Errorf("with %.10q at the end: %v", more, err)
		}
	}
	return nil
}

func testAliasing(c codec.Codec) error {
	type pair struct {
		in, out any
	}
	text, data := "some text", bytes.Clone(payload)
	pairs := []pair{{&data, new([]byte)}, {&text, new(string)}}
	s := sample()
	if _, err := c.Append(nil, &s); err == nil {
		pairs = append(pairs, pair{&s, new(record)}, pair{&[]any{"a", map[string]any{"b": "c"}}, new([]any)})
	}
	for _, p := range pairs {
		data, err := c.Append(nil, p.in)
		if err != nil {
			return err
		}
		if err := c.Decode(data, p.out); err != nil {
			return err
		}
		for i := range data {
			data[i] ^= 0x55
		}
		if !reflect.DeepEqual(p.in, p.out) {
			return fmt.Errorf("%T changed with its encoding", p.in)
		}
	}
	return nil
}

// tooLarge is more than any codec should take for one message.
const tooLarge = 32 << 20

func testTooLarge(c codec.Codec) error {
	big := make([]byte, tooLarge)
	if out, err := c.Append([]byte("dst"), big); !errors.Is(err, codec.ErrTooLarge) || string(out) != "dst" {
		return fmt.Errorf("append of %d bytes: %d bytes, %v", len(big), len(out), err)
	}
	if err := c.Decode(big, new([]byte)); !errors.Is(err, codec.ErrTooLarge) {
		return fmt.Errorf("decode of %d bytes: %v", len(big), err)
	}
	return nil
}

func testTooDeep(c codec.Codec) error {
	loop := &record{}
	loop.Inner = loop
	list := []any{nil}
	list[0] = list
	var self any
	self = &self
	m := map[string]any{}
	m["m"] = m
	wide := []any{nil, nil}
	for range 40 {
		wide = []any{wide, wide}
	}
	for _, v := range []any{loop, list, self, m, wide} {
		if _, err := c.Append(nil, v); !errors.Is(err, codec.ErrTooDeep) {
			return fmt.Errorf("%T: %w", v, err)
		}
	}
	return nil
}

func testConcurrent(c codec.Codec) error {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			for j := range 50 {
				v := fmt.Sprint(i, j, string(payload))
				if errs[i] = roundTrip(c, &v); errs[i] != nil {
					return
				}
				s := sample()
				s.Number = int64(i*1000 + j)
				if err := roundTrip(c, &s); err != nil && !errors.Is(err, codec.ErrUnsupported) {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// targets are what arbitrary input is decoded into.
func targets() []any {
	return []any{new(record), new(any), new([]record), new(map[string]any), new(map[string]record), new([]byte), new(string),
		new([]struct{ A [64]int }), new(map[int][]string), new([4]byte), new(int8), new(*****int), new([][][]any), new(map[[2]byte]struct{})}
}

func testRandom(c codec.Codec) error {
	rng := rand.New(rand.NewPCG(1, 2))
	// Bytes that begin something, in one encoding or another.
	const likely = "\x80\x81\x90\x91\x9f\xa0\xa1\xc0\xc4\xc7\xd6\xdd\xdf\xdc\x00{}[]\"\",:null0123e-\\u"
	for range 500 {
		data := make([]byte, rng.IntN(40))
		for i := range data {
			data[i] = byte(rng.Uint32())
			if rng.IntN(3) > 0 {
				data[i] = likely[rng.IntN(len(likely))]
			}
		}
		for _, v := range targets() {
			_ = c.Decode(data, v) // must return
		}
	}
	return nil
}

func testChanged(c codec.Codec) error {
	data, err := c.Append(nil, sample())
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		d := bytes.Clone(data)
		for range 1 + rng.IntN(3) {
			d[rng.IntN(len(d))] = byte(rng.Uint32())
		}
		_ = c.Decode(d, new(record)) // must return
		_ = c.Decode(d, new(any))
	}
	return nil
}
