package codec

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	mp "github.com/hashicorp/go-msgpack/v2/codec"
)

type (
	Base  struct{ B1, B2 int }
	Other struct{ O int }
	lower struct{ L int }
	Named int
	wide  struct {
		Plain    int
		Renamed  int `codec:"r"`
		ViaJSON  int `json:"j"`
		Both     int `codec:"c" json:"x"`
		Opt      int `codec:",omitempty"`
		Hidden   int `codec:"-"`
		private  int
		Base     // inlined
		*Other   // inlined, allocated
		lower    // inlined, though it is not exported
		Named    // under its name
		Sub      Base
		In       any
		Embedded Base `codec:"e"`
	}
	tuple struct {
		//lint:ignore U1000 its tag is read
		_struct bool `codec:",toarray"`
		Z, A    int
	}
)

// The fields that the plan knows are those that the libraries encode.
func TestPlanKnowsTheFields(t *testing.T) {
	v := wide{Opt: 1, Other: &Other{}, private: 1}
	keys := func(m map[string]any) []string {
		var names []string
		for k := range m {
			names = append(names, k)
		}
		slices.Sort(names)
		return names
	}
	for _, c := range []struct {
		codec Codec
		plans *planner
	}{{Default, msgpackPlans}, {JSON(Limits{}), jsonPlans}} {
		data, err := c.codec.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]any{}
		if err := c.codec.Decode(data, &m); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range c.plans.of(reflect.TypeOf(v)).root.fields {
			got = append(got, f.name)
		}
		slices.Sort(got)
		if !slices.Equal(got, keys(m)) {
			t.Errorf("%s: the plan has %v, encoded were %v", c.codec.Name(), got, keys(m))
		}
		var back wide
		if err := c.codec.Decode(data, &back); err != nil || back.Opt != 1 || back.Other == nil {
			t.Errorf("%s: %v, %+v", c.codec.Name(), err, back)
		}
	}
}

func TestTuple(t *testing.T) {
	data, err := Default.Append(nil, tuple{Z: 1, A: 2})
	if err != nil || string(data) != "\x92\x01\x02" {
		t.Fatalf("%q, %v", data, err)
	}
	var v tuple
	if err := Default.Decode(data, &v); err != nil || v.Z != 1 || v.A != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	for _, s := range []string{"\x91\x01", "\x93\x01\x02\x03", "\x81\xa1Z\x01"} {
		if err := Default.Decode([]byte(s), &v); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// The table of names of the library has the name of a field, 0xff, its index,
// a separator, and the name of the next field. A name that spans two entries
// would be found there, and its value go to a field that was not checked for it.
func TestNamesAcrossTheTable(t *testing.T) {
	type S struct {
		A int
		B []struct{ X [1000]int }
	}
	sep := func(name string) string { return string([]byte{0xfe - name[0]&63 - byte(len(name)&63)}) }
	name := "A\xff\x00\x00" + sep("B") + "B"
	data := append([]byte{0x81, 0xa0 | byte(len(name))}, name...)
	data = append(data, 0xdc, 0x10, 0x00)
	data = append(data, strings.Repeat("\xc0", 0x1000)...)
	var v S
	if err := Default.Decode(data, &v); !errors.Is(err, ErrInvalid) || v.B != nil {
		t.Errorf("%v, B has %d elements", err, len(v.B))
	}
}

type loop *loop

type selfer struct{ mp.Selfer }

func TestUnsupportedTypes(t *testing.T) {
	type recursive struct{ *recursive }
	fields := make([]reflect.StructField, maxFields+1)
	for i := range fields {
		fields[i] = reflect.StructField{Name: "F" + strings.Repeat("x", i), Type: reflect.TypeFor[int]()}
	}
	both, onlyMsgpack := []*planner{msgpackPlans, jsonPlans}, []*planner{msgpackPlans}
	for _, tt := range []struct {
		t     reflect.Type
		plans []*planner
	}{
		{reflect.TypeFor[chan int](), both},
		{reflect.TypeFor[func()](), both},
		{reflect.TypeFor[complex64](), both},
		{reflect.TypeFor[uintptr](), both},
		{reflect.TypeFor[io.Reader](), both},
		{reflect.TypeFor[[]error](), both},
		{reflect.TypeFor[loop](), both},
		{reflect.TypeFor[map[float64]int](), both},
		{reflect.TypeFor[map[any]int](), both},
		{reflect.TypeFor[map[*int]int](), both},
		{reflect.TypeFor[map[struct{ A int }]int](), both},
		{reflect.TypeFor[struct{ C chan int }](), both},
		{reflect.TypeFor[struct {
			Base
			B1 int
		}](), both},
		{reflect.TypeFor[struct{ *lower }](), both},
		{reflect.TypeFor[recursive](), both},
		{reflect.TypeFor[struct {
			É int
		}](), both},
		{reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"it's"`}}), both},
		{reflect.StructOf(fields), both},
		{reflect.TypeFor[mp.Raw](), onlyMsgpack},
		{reflect.TypeFor[[]mp.RawExt](), onlyMsgpack},
		{reflect.TypeFor[selfer](), onlyMsgpack},
		{reflect.TypeFor[mp.MsgpackSpecRpcMultiArgs](), nil},
		{reflect.TypeFor[struct {
			_struct bool `codec:",int"`
		}](), onlyMsgpack},
	} {
		for _, p := range tt.plans {
			if got := p.of(tt.t); !errors.Is(got.err, ErrUnsupported) {
				t.Errorf("%v (JSON: %v): %v", tt.t, p.json, got.err)
			}
		}
	}
}

// Keys with equal hashes are told apart, and sets grow within sets.
func TestKeySets(t *testing.T) {
	var k keySets
	l := Limits{}.orDefaults()
	k.reset(&l, 1<<20)
	same := func(a, b int) bool { return a == b }
	outer, err := k.open(0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := k.add(&outer, uint32(i%7), i, same); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		inner, err := k.open(3)
		if err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			if err := k.add(&inner, 5, j, same); err != nil {
				t.Fatalf("%d, %d: %v", i, j, err)
			}
		}
		k.close(inner)
	}
	for i := range 1000 {
		if err := k.add(&outer, uint32(i%7), i, same); err != ErrDuplicateKey {
			t.Fatalf("%d again: %v", i, err)
		}
	}
}
