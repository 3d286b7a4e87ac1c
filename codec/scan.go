package codec

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"slices"
)

// What decoded values take beside their contents, in bytes, on the high side:
// headers and what the libraries allocate on the way.
const (
	costSlice     = 32
	costMap       = 80
	costAnyNumber = 8
	costAnyText   = 24
	costAnyList   = 56
	mapGroup      = 8   // entries that a map has room for at least
	mapInline     = 128 // bytes of a key or value that are kept in place
)

// A budget counts what decoding a value would cost.
type budget struct {
	limits   *Limits
	elements int
	memory   int64
	most     int64 // of memory
}

// charge adds an allocation of n bytes.
func (b *budget) charge(n int64) error {
	if n == 0 {
		return nil
	}
	// Sizes are rounded up to classes that are at most a quarter apart.
	return b.chargeExactly(n + n/4 + 16)
}

func (b *budget) chargeExactly(n int64) error {
	// Nothing overflows: a Go type has less than 2^48 bytes.
	if b.memory += n; b.memory > b.most {
		return fmt.Errorf("%w: would take more than %d bytes of memory, which Limits.Expansion = %d allows for its size",
			ErrTooLarge, b.most, b.limits.Expansion)
	}
	return nil
}

// chargeEach charges n elements of size bytes.
func (b *budget) chargeEach(n int, size int64) error {
	if size > 0 && int64(n) > b.most/size {
		return b.charge(b.most + 1)
	}
	return b.charge(int64(n) * size)
}

// chargeMap charges a map of count entries, if they are known, without these.
func (b *budget) chargeMap(n *node, count int) error {
	if count == 0 {
		return b.chargeExactly(costMap)
	}
	return b.charge(costMap + mapGroup*(inline(n.key)+inline(n.elem)+1))
}

func inline(n *node) int64 {
	if n.size > mapInline {
		return 8
	}
	return n.size
}

// chargeEntry charges the i-th entry of a map. There is room for the first ones.
// For those after these, maps grow by doubling, and those that hold them were
// allocated in all sizes before. Keys and values are made and then copied.
func (b *budget) chargeEntry(n *node, i int) error {
	cost := 16 + n.key.size + n.elem.size
	if i >= mapGroup {
		cost += 4 * (inline(n.key) + inline(n.elem) + 1)
	}
	for _, part := range [...]*node{n.key, n.elem} {
		if part.size > mapInline {
			cost += part.size + part.size/4
		}
	}
	return b.chargeExactly(cost)
}

// count counts n elements.
func (b *budget) count(n int) error {
	b.elements += n
	if b.elements > b.limits.Elements {
		return fmt.Errorf("%w: more than Limits.Elements = %d array elements, map entries and unknown fields",
			ErrTooLarge, b.limits.Elements)
	}
	return nil
}

func (b *budget) nest(depth int) error {
	if depth > b.limits.Depth {
		return fmt.Errorf("%w: more than Limits.Depth = %d levels", ErrTooDeep, b.limits.Depth)
	}
	return nil
}

// keySets are the sets of keys of the maps that a scanner is inside of, one
// above the other in one table, so that scanning allocates nothing once the
// table is large enough. A set is a hash table with linear probing. Each slot
// holds, of one key, 32 bits of its hash and where it stands in the input; zero
// is free. The hash is seeded: a remote cannot choose keys that collide.
type keySets struct {
	budget
	slots []uint64
	peak  int // the most slots that were charged
}

// reset makes k ready for an input of size bytes.
func (k *keySets) reset(l *Limits, size int) {
	k.budget = budget{limits: l, most: freeMemory + int64(size)*int64(l.Expansion)}
	k.peak = 0
	if k.slots = k.slots[:0]; cap(k.slots) > keepSlots {
		k.slots = nil
	}
}

// A keySet is the uppermost set.
type keySet struct {
	base int // its slots begin here and end where the table does
	used int
}

const (
	minSlots  = 16
	keepSlots = 8192 // in a table that goes back to its pool
)

var keySeed = maphash.MakeSeed()

// hashKey hashes the contents of a key. class keeps kinds of keys apart.
func hashKey(class byte, b []byte) uint32 {
	return uint32(maphash.Bytes(keySeed, b)>>32) ^ uint32(class)
}

// open begins a set for about n keys.
func (k *keySets) open(n int) (keySet, error) {
	size := minSlots
	for size < 2*n {
		size *= 2
	}
	s := keySet{base: len(k.slots)}
	return s, k.extend(size)
}

// extend adds n slots, which are free.
func (k *keySets) extend(n int) error {
	old := len(k.slots)
	if old+n > max(k.peak, minSlots) {
		k.peak = old + n
		if err := k.charge(8 * int64(k.peak)); err != nil {
			return err
		}
	}
	k.slots = slices.Grow(k.slots, n)[:old+n]
	clear(k.slots[old:])
	return nil
}

func (k *keySets) close(s keySet) { k.slots = k.slots[:s.base] }

// add adds the key at offset at, unless same finds it equal to one in the set.
func (k *keySets) add(s *keySet, hash uint32, at int, same func(a, b int) bool) error {
	if 2*(s.used+1) > len(k.slots)-s.base {
		if err := k.grow(s); err != nil {
			return err
		}
	}
	table := k.slots[s.base:]
	mask := uint32(len(table) - 1)
	i := hash & mask
	for ; table[i] != 0; i = (i + 1) & mask {
		if uint32(table[i]>>32) == hash && same(int(uint32(table[i]))-1, at) {
			return ErrDuplicateKey
		}
	}
	table[i] = uint64(hash)<<32 | uint64(at+1)
	s.used++
	return nil
}

// grow doubles the uppermost set.
func (k *keySets) grow(s *keySet) error {
	size := len(k.slots) - s.base
	if err := k.extend(2 * size); err != nil {
		return err
	}
	table := k.slots[s.base+size:]
	mask := uint32(len(table) - 1)
	for _, slot := range k.slots[s.base : s.base+size] {
		if slot == 0 {
			continue
		}
		i := uint32(slot>>32) & mask
		for table[i] != 0 {
			i = (i + 1) & mask
		}
		table[i] = slot
	}
	copy(k.slots[s.base:], table)
	k.slots = k.slots[:s.base+2*size]
	return nil
}

// A walker looks at a value before it is encoded, where its type does not say
// how deep it goes: the libraries would not return from one that contains itself.
type walker struct {
	plans  *planner
	limits *Limits
	seen   int
}

// walk looks at rv, which is depth containers and hops pointers deep.
func (w *walker) walk(rv reflect.Value, n *node, depth, hops int) error {
	if !n.dynamic {
		return nil
	}
	// Each value takes a byte at least. This also ends values that have many
	// ways to the same inner value.
	if w.seen++; w.seen > w.limits.Size {
		return w.limits.checkSize(w.seen)
	}
	if hops > 16+4*depth {
		return fmt.Errorf("%w: pointers that lead to themselves", ErrTooDeep)
	}
	switch n.kind {
	case kindAny:
		if rv.IsNil() {
			return nil
		}
		rv = rv.Elem()
		p := w.plans.of(rv.Type())
		if p.inner != nil {
			return p.inner
		}
		return w.walk(rv, p.root, depth, hops+1)
	case kindPointer:
		if rv.IsNil() {
			return nil
		}
		return w.walk(rv.Elem(), n.elem, depth, hops+1)
	}
	if depth++; depth > w.limits.Depth {
		return fmt.Errorf("%w: more than Limits.Depth = %d levels", ErrTooDeep, w.limits.Depth)
	}
	return w.children(rv, n, depth, hops)
}

func (w *walker) children(rv reflect.Value, n *node, depth, hops int) error {
	switch n.kind {
	case kindSlice, kindArray:
		for i := range rv.Len() {
			if err := w.walk(rv.Index(i), n.elem, depth, hops); err != nil {
				return err
			}
		}
	case kindMap:
		for it := rv.MapRange(); it.Next(); {
			if err := w.walk(it.Value(), n.elem, depth, hops); err != nil {
				return err
			}
		}
	case kindStruct, kindTuple:
		for _, f := range n.fields {
			fv, err := rv.FieldByIndexErr(f.path)
			if err != nil {
				continue // within an embedded pointer that is nil
			}
			if err := w.walk(fv, f.node, depth, hops); err != nil {
				return err
			}
		}
	}
	return nil
}

// top walks a value, or what it points to, of which n is the plan.
func (w *walker) top(rv reflect.Value, n *node) error {
	if rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			return nil
		}
		rv = rv.Elem()
	}
	return w.walk(rv, n, 0, 0)
}
