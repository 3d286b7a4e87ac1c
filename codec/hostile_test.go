package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/codec"
)

type big struct{ A [64]int }

type node struct {
	Next *node
	Kids []node
}

// shape is input of many bytes for which a target takes much memory.
type shape struct {
	name string
	data []byte
	v    any
}

func rep(s string, n int) string { return strings.Repeat(s, n) }

// array32 is n times s as a msgpack array.
func array32(s string, n int) []byte {
	return append([]byte{0xdd, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, rep(s, n)...)
}

func jsonArray(s string, n int) []byte {
	return []byte("[" + strings.TrimSuffix(rep(s+",", n), ",") + "]")
}

// entries is a map of n small keys.
func entries(n int) []byte {
	b := []byte{0xde, byte(n >> 8), byte(n)}
	for i := range n {
		b = append(b, 0xcd, byte(i>>8), byte(i), 0xc0)
	}
	return b
}

func named(n int) []byte {
	b := []byte{0xde, byte(n >> 8), byte(n)}
	for i := range n {
		b = append(b, 0xa3, byte('0'+i>>12), byte('0'+i>>6&63), byte('0'+i&63), 0x01)
	}
	return b
}

func jsonNamed(n int, value string) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%x":%s`, i, value)
	}
	return []byte("{" + b.String()[1:] + "}")
}

func msgpackShapes(n int) []shape {
	nested := string(array32("\x90", 100))
	return []shape{
		{"nils into structs", array32("\xc0", n), new([]big)},
		{"empty maps into structs", array32("\x80", n), new([]big)},
		{"nils into arrays", array32("\xc0", n), new([][64]int)},
		{"empty maps into pointers", array32("\x80", n), new([]*big)},
		{"ints into any", array32("\x01", n), new(any)},
		{"larger ints into any", array32("\xcd\xff\xff", n), new(any)},
		{"strings into any", array32("\xa1x", n), new(any)},
		{"bytes into any", array32("\xc4\x01x", n), new(any)},
		{"times into any", array32("\xd6\xff\x00\x00\x00\x00", n), new(any)},
		{"empty arrays into any", array32("\x90", n), new(any)},
		{"empty maps into any", array32("\x80", n), new(any)},
		{"tiny maps into any", array32("\x81\xa0\xc0", n), new(any)},
		{"arrays of arrays into any", array32(nested, n/100), new(any)},
		{"nested into any", array32(rep("\x91", 20)+"\x01", n/20), new(any)},
		{"empty strings", array32("\xa0", n), new([]string)},
		{"short strings", array32("\xa1x", n), new([]string)},
		{"empty slices", array32("\x90", n), new([][]string)},
		{"tiny maps", array32("\x81\x01\xc0", n), new([]map[int]string)},
		{"tiny large maps", array32("\x81\x01\xc0", n), new([]map[int]big)},
		{"nodes", array32("\x82\xa4Next\x80\xa4Kids\x91\x80", n), new([]node)},
		{"small map", entries(9), new(map[int]int)},
		{"map", entries(min(n, 40000)), new(map[int]int)},
		{"map of big", entries(min(n, 40000)), new(map[int]big)},
		{"map of arrays that just doubled", entries(14337), new(map[int][15]int64)},
		{"map of strings", named(min(n, 40000)), new(map[string]int)},
		{"map into any", named(min(n, 40000)), new(any)},
		{"unknown fields", named(min(n, 40000)), new(big)},
		{"unknown elements", []byte("\x81\xa1x" + string(array32("\x81\x01\xc0", n))), new(big)},
	}
}

func jsonShapes(n int) []shape {
	return []shape{
		{"nulls into structs", jsonArray("null", n), new([]big)},
		{"empty objects into structs", jsonArray("{}", n), new([]big)},
		{"empty arrays into arrays", jsonArray("[]", n), new([][0]int)},
		{"empty objects into pointers", jsonArray("{}", n), new([]*big)},
		{"ints into any", jsonArray("0", n), new(any)},
		{"strings into any", jsonArray(`"x"`, n), new(any)},
		{"empty strings into any", jsonArray(`""`, n), new(any)},
		{"empty arrays into any", jsonArray("[]", n), new(any)},
		{"empty objects into any", jsonArray("{}", n), new(any)},
		{"tiny objects into any", jsonArray(`{"":0}`, n), new(any)},
		{"nested into any", jsonArray(rep("[", 20)+rep("]", 20), n/20), new(any)},
		{"empty strings", jsonArray(`""`, n), new([]string)},
		{"empty slices", jsonArray(`[]`, n), new([][]string)},
		{"ints", jsonArray(`1`, n), new([]int)},
		{"bytes", jsonArray(`1`, n), new([]byte)},
		{"tiny maps", jsonArray(`{"1":null}`, n), new([]map[int]string)},
		{"map", jsonNamed(min(n, 40000), "1"), new(map[string]int)},
		{"map of big", jsonNamed(min(n, 40000), "null"), new(map[string]big)},
		{"map into any", jsonNamed(min(n, 40000), "1"), new(any)},
		{"unknown fields", jsonNamed(min(n, 40000), "1"), new(struct{ Zz int })},
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Decoding n bytes allocates at most Expansion times n, and what is free,
// whatever the bytes and the target are.
func TestMemoryIsBounded(t *testing.T) {
	n := 12000
	if raceEnabled {
		n = 1000
	}
	for _, c := range []struct {
		make   func(codec.Limits) codec.Codec
		shapes []shape
	}{
		{codec.Msgpack, append(msgpackShapes(n), msgpackShapes(500)...)},
		{codec.JSON, append(jsonShapes(n), jsonShapes(500)...)},
	} {
		for _, expansion := range []int{4, 64, 1024} {
			with := c.make(codec.Limits{Elements: 1 << 30, Expansion: expansion})
			for _, s := range c.shapes {
				s.check(t, with, expansion)
			}
		}
	}
}

func (s shape) check(t *testing.T, c codec.Codec, expansion int) {
	decode := func() error { return c.Decode(s.data, reflect.New(reflect.TypeOf(s.v).Elem()).Interface()) }
	var err error
	got := uint64(math.MaxUint64)
	for range 3 { // the first fills pools, which are emptied at times
		got = min(got, allocated(func() { err = decode() }))
	}
	if most := uint64(64<<10 + expansion*len(s.data)); got > most {
		t.Errorf("%s: %s: %d bytes of input took %d with Expansion %d, want at most %d (error: %v)",
			c.Name(), s.name, len(s.data), got, expansion, most, err)
	}
	if err != nil && !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("%s: %s: %v, want none or ErrTooLarge", c.Name(), s.name, err)
	}
	if err != nil && expansion == 1024 && !strings.Contains(s.name, "big") && !strings.Contains(s.name, "struct") {
		t.Errorf("%s: %s: %v, although the limit is generous", c.Name(), s.name, err)
	}
	if testing.Verbose() && expansion >= 64 {
		t.Logf("%s, Expansion %d, %s: %d bytes, %.1f each, %v", c.Name(), expansion, s.name, len(s.data), float64(got)/float64(len(s.data)), err)
	}
}

// What is refused by the scan costs next to nothing.
func TestRefusalIsCheap(t *testing.T) {
	c := codec.Msgpack(codec.Limits{})
	for name, data := range map[string][]byte{
		"nils":            array32("\xc0", 60000),
		"claimed array":   {0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0},
		"claimed map":     {0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0},
		"claimed string":  {0xdb, 0xff, 0xff, 0xff, 0xff, 0xc0},
		"claimed bytes":   {0xc6, 0x7f, 0xff, 0xff, 0xff, 0xc0},
		"claimed nesting": bytes.Repeat([]byte{0x91}, 1<<20),
	} {
		var v []big
		if n := testing.AllocsPerRun(20, func() {
			if err := c.Decode(data, &v); err == nil {
				t.Fatalf("%s was accepted", name)
			}
		}); n > 12 && !raceEnabled || allocated(func() { _ = c.Decode(data, &v) }) > 4096 {
			t.Errorf("%s: %v allocations to refuse it", name, n)
		}
	}
}

// several is a struct with fields of several kinds.
type several struct {
	A int
	B []byte
	C map[string]int
	T time.Time
	I int8
	F float32
	R [3]byte
	L [2]int
}

var long = rep("k", 40)

var refused = []struct {
	name, data string
	v          any
	want       error
}{
	{"nothing", "", new(several), codec.ErrTruncated},
	{"never used", "\xc1", new(any), codec.ErrInvalid},
	{"claimed array", "\xdd\xff\xff\xff\xff\xc0", new(any), codec.ErrTruncated},
	{"claimed map", "\xdf\xff\xff\xff\xff\xc0", new(several), codec.ErrTruncated},
	{"claimed bytes", "\xc6\xff\xff\xff\xff\xc0", new(any), codec.ErrTruncated},
	{"claimed time", "\xd7\xff\x00", new(time.Time), codec.ErrInvalid}, // times encode themselves
	{"trailing", "\x80\x80", new(several), codec.ErrTrailing},
	{"deep", rep("\x91", 33) + "\xc0", new(any), codec.ErrTooDeep},
	{"deep, unknown", "\x81\xa1x" + rep("\x91", 32) + "\xc0", new(several), codec.ErrTooDeep},
	{"deep, recursive", rep("\x81\xa4Next", 33) + "\x80", new(node), codec.ErrTooDeep},
	{"elements", string(array32("\xc0", 70000)), new([]bool), codec.ErrTooLarge},
	{"elements, unknown", "\x81\xa1x" + string(array32("\xc0", 70000)), new(several), codec.ErrTooLarge},
	{"field twice", "\x82\xa1A\x01\xa1A\x02", new(several), codec.ErrDuplicateKey},
	{"field twice, otherwise encoded", "\x82\xa1A\x01\xd9\x01A\x02", new(several), codec.ErrDuplicateKey},
	{"unknown field twice", "\x82\xa1x\x01\xa1x\x02", new(several), codec.ErrDuplicateKey},
	{"key twice", "\x82\xa1x\x01\xa1x\x02", new(map[string]int), codec.ErrDuplicateKey},
	{"key twice, as bytes", "\x82\xa1x\x01\xc4\x01x\x02", new(map[string]int), codec.ErrDuplicateKey},
	{"key twice in any", "\x82\xa1x\x01\xda\x00\x01x\x02", new(any), codec.ErrDuplicateKey},
	{"number twice", "\x82\x05\x01\xcc\x05\x02", new(map[int]int), codec.ErrDuplicateKey},
	{"negative twice", "\x82\xff\x01\xd1\xff\xff\x02", new(map[int]int), codec.ErrDuplicateKey},
	{"key twice in a field", "\x81\xa1C\x82\xa1x\x01\xa1x\x02", new(several), codec.ErrDuplicateKey},
	{"key twice, unknown", "\x81\xa1x\x82\x05\x01\x05\x02", new(several), codec.ErrDuplicateKey},
	{"long key twice", "\x82\xd9\x28" + long + "\x01\xd9\x28" + long + "\x02", new(map[string]int), codec.ErrDuplicateKey},
	{"nil key", "\x81\xc0\x01", new(map[string]int), codec.ErrInvalid},
	{"array key", "\x81\x90\x01", new(any), codec.ErrInvalid},
	{"number key in any", "\x81\x01\x01", new(any), codec.ErrInvalid},
	{"array key, unknown", "\x81\xa1x\x81\x90\x01", new(several), codec.ErrInvalid},
	{"string as map", "\xa4\xa1x\x01\xa1", new(map[string]int), codec.ErrInvalid},
	{"map as slice", "\x81\x01\x01", new([]int), codec.ErrInvalid},
	{"array as struct", "\x91\x01", new(several), codec.ErrInvalid},
	{"array as bytes", "\x81\xa1B\x91\x01", new(several), codec.ErrInvalid},
	{"string as number", "\x81\xa1A\xa11", new(several), codec.ErrInvalid},
	{"too large a number", "\x81\xa1A\xcf\xff\xff\xff\xff\xff\xff\xff\xff", new(several), codec.ErrInvalid},
	{"too large a number for int8", "\x81\xa1I\xcc\x80", new(several), codec.ErrInvalid},
	{"too small a number for int8", "\x81\xa1I\xd1\xff\x7f", new(several), codec.ErrInvalid},
	{"too large a float", "\x81\xa1F\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", new(several), codec.ErrInvalid},
	{"negative for uint", "\xff", new(uint), codec.ErrInvalid},
	{"too large a number for any", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", new(any), codec.ErrInvalid},
	{"number as bool", "\x01", new(bool), codec.ErrInvalid},
	{"short byte array", "\x81\xa1R\xc4\x02xx", new(several), codec.ErrInvalid},
	{"long byte array", "\x81\xa1R\xc4\x04xxxx", new(several), codec.ErrInvalid},
	{"short array", "\x81\xa1L\x91\x01", new(several), codec.ErrInvalid},
	{"extension", "\xc7\x01\x05x", new(any), codec.ErrInvalid},
	{"empty extension", "\x92\xc7\x00\x05\x01", new(any), codec.ErrInvalid},
	{"empty extension, unknown", "\x82\xa1x\xc7\x00\x05\xa1y\x01", new(several), codec.ErrInvalid},
	{"fixed extension", "\xd4\x05x", new(any), codec.ErrInvalid},
	{"time of another type", "\xd6\x05xxxx", new(any), codec.ErrInvalid},
	{"time of 5 bytes", "\xc7\x05\xffxxxxx", new(any), codec.ErrInvalid},
	{"text as time", "\x81\xa1T\xa4xxxx", new(several), codec.ErrInvalid},
	{"number as field name", "\x81\x01\x01", new(several), codec.ErrInvalid},
	{"empty field name", "\x81\xa0\x01", new(several), codec.ErrInvalid},
	{"field name that is not UTF-8", "\x81\xa2\xffx\x01", new(several), codec.ErrInvalid},
	{"nil embedded in time", "\x81\xa1T\xd6", new(several), codec.ErrTruncated},
}

func TestRefused(t *testing.T) {
	for _, tt := range refused {
		if err := codec.Default.Decode([]byte(tt.data), tt.v); !errors.Is(err, tt.want) {
			t.Errorf("%s: %q into %T: %v, want %v", tt.name, tt.data, tt.v, err, tt.want)
		}
	}
}

func TestRefusedJSON(t *testing.T) {
	type S struct {
		A int
		L [2]int
		K map[string]int
	}
	c := codec.JSON(codec.Limits{})
	for _, tt := range []struct {
		data string
		v    any
		want error
	}{
		{``, new(S), codec.ErrTruncated},
		{` `, new(S), codec.ErrTruncated},
		{`{"A":`, new(S), codec.ErrTruncated},
		{`{"A":1`, new(S), codec.ErrTruncated},
		{`"\u00`, new(string), codec.ErrTruncated},
		{`[1,`, new(any), codec.ErrTruncated},
		{`-`, new(int), codec.ErrTruncated},
		{`1e`, new(int), codec.ErrTruncated},
		{`nul`, new(any), codec.ErrTruncated},
		{`{} {}`, new(S), codec.ErrTrailing},
		{`01`, new(any), codec.ErrTrailing},
		{`{"A":1,"A":2}`, new(S), codec.ErrDuplicateKey},
		{`{"A":1,"a":2}`, new(S), codec.ErrDuplicateKey},
		{`{"A":1,"\u0041":2}`, new(S), codec.ErrDuplicateKey},
		{`{"K":{"Az":1,"\u0041z":2}}`, new(S), codec.ErrDuplicateKey},
		{`{"x":1,"x":2}`, new(any), codec.ErrDuplicateKey},
		{`{"x":1,"x":2}`, new(S), codec.ErrDuplicateKey},
		{"{\"\xff\":1,\"\xfe\":2}", new(any), codec.ErrDuplicateKey},
		{`{"\ud83d\ude00":1,"😀":2}`, new(any), codec.ErrDuplicateKey},
		{`{"\ud83d":1,"\ufffd":2}`, new(any), codec.ErrDuplicateKey},
		{`{"1":1,"01":2}`, new(map[int]int), codec.ErrInvalid},
		{`{"x":1,}`, new(any), codec.ErrInvalid},
		{`[1,]`, new(any), codec.ErrInvalid},
		{`[1 2]`, new(any), codec.ErrInvalid},
		{`{1:2}`, new(any), codec.ErrInvalid},
		{`{"a" 2}`, new(any), codec.ErrInvalid},
		{`+1`, new(any), codec.ErrInvalid},
		{`"\x"`, new(any), codec.ErrInvalid},
		{`"\u00g0"`, new(any), codec.ErrInvalid},
		{"\"\x01\"", new(any), codec.ErrInvalid},
		{`trie`, new(any), codec.ErrInvalid},
		{`1.x`, new(any), codec.ErrInvalid},
		{`{"L":[1]}`, new(S), codec.ErrInvalid},
		{`{"L":[1,2,3]}`, new(S), codec.ErrInvalid},
		{`{"A":"text"}`, new(S), codec.ErrInvalid},
		{`{"A":1e9999}`, new(S), codec.ErrInvalid},
		{rep("[", 33) + rep("]", 33), new(any), codec.ErrTooDeep},
		{rep("[", 1<<20), new(any), codec.ErrTooDeep},
		{string(jsonArray("1", 70000)), new([]int), codec.ErrTooLarge},
		{rep(" ", 1<<20+1), new(any), codec.ErrTooLarge},
	} {
		if err := c.Decode([]byte(tt.data), tt.v); !errors.Is(err, tt.want) {
			t.Errorf("%.40q into %T: %v, want %v", tt.data, tt.v, err, tt.want)
		}
	}
}
