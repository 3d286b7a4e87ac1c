package identity

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// ID-2 of the reference, which has 32 bits and counts them from the other end:
// bits(0,1)=1, (0,2)=2, (0,3)=2, (0,MAX)=32. Here at the low end of 256.
func TestCommonPrefix(t *testing.T) {
	for _, tt := range []struct {
		a, b Key
		want int
	}{
		{Key{}, Key{}, 256},
		{Key{9: 9}, Key{9: 9}, 256},
		{Key{}, Key{31: 1}, 255},
		{Key{}, Key{31: 2}, 254},
		{Key{}, Key{31: 3}, 254},
		{Key{}, Key{28: 0xff, 29: 0xff, 30: 0xff, 31: 0xff}, 224},
		{Key{}, Key{0: 0x80}, 0},
		{Key{}, Key{0: 0x01}, 7},
		{Key{0: 0x12, 1: 0x34}, Key{0: 0x12, 1: 0x35}, 15},
	} {
		if got := tt.a.CommonPrefix(tt.b); got != tt.want {
			t.Errorf("%v and %v share %d bits, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// The laws of the XOR metric, and that Closer and CommonPrefix agree with it.
func TestDistanceLaws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() (k Key) {
		for i := range k {
			k[i] = byte(r.Uint32() & r.Uint32N(4)) // often alike
		}
		return k
	}
	less := func(a, b Key) bool { return strings.Compare(string(a[:]), string(b[:])) < 0 }
	for range 2000 {
		a, b, c := random(), random(), random()
		if a.Distance(a) != (Key{}) || (a.Distance(b) == Key{}) != (a == b) {
			t.Fatalf("the distance of %v and %v is zero only if they are equal", a, b)
		}
		if a.Distance(b) != b.Distance(a) {
			t.Fatalf("the distance of %v and %v is not symmetric", a, b)
		}
		if got, want := c.Closer(a, b), less(c.Distance(a), c.Distance(b)); got != want {
			t.Fatalf("%v.Closer(%v, %v) = %t, want %t, as the distances say", c, a, b, got, want)
		}
		if c.Closer(a, a) || a != b && c.Closer(a, b) == c.Closer(b, a) {
			t.Fatalf("of %v and %v exactly one is closer to %v, and no key than itself", a, b, c)
		}
		if p, q := c.CommonPrefix(a), c.CommonPrefix(b); p > q && !c.Closer(a, b) {
			t.Fatalf("%v shares more bits with %v than with %v but is not closer", c, a, b)
		}
		if overflow, sum := add(a.Distance(b), b.Distance(c)); !overflow && less(sum, a.Distance(c)) {
			t.Fatalf("triangle inequality broken by %v, %v and %v", a, b, c)
		}
	}
}

func add(a, b Key) (overflow bool, sum Key) {
	carry := 0
	for i := len(a) - 1; i >= 0; i-- {
		carry += int(a[i]) + int(b[i])
		sum[i] = byte(carry)
		carry >>= 8
	}
	return carry != 0, sum
}

// ID-4's fixed vector of a hash: "hello" stands at its SHA-256.
func TestKeyOf(t *testing.T) {
	k := KeyOf([]byte("hello"))
	if got, want := fmt.Sprintf("%x", k[:]), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; got != want {
		t.Errorf("KeyOf(hello) = %s, want %s", got, want)
	}
	id := testKey(t, 1).ID()
	if id.Key() != KeyOf(id[:]) {
		t.Error("a node does not stand at the SHA-256 of its ID")
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	id, a, b := testKey(t, 1).ID(), Key{1}, Key{2}
	if n := testing.AllocsPerRun(100, func() {
		k := id.Key()
		k.Closer(a, b)
		k.CommonPrefix(a)
		k.Distance(b)
	}); n != 0 {
		t.Errorf("the arithmetic of keys allocates %v times", n)
	}
}

func ExampleKey_Closer() {
	key, a, b := Key{0b0100}, Key{0b0111}, Key{0b1100}
	fmt.Println(key.Closer(a, b)) // 0011 < 1000
	// Output: true
}

func ExampleKeyOf() {
	fmt.Println(KeyOf([]byte("hello")))
	// Output: ftze3os7wcrq4jxihmvmlopctynrmhs4d6tuexttaqzwfe4ltasa
}
