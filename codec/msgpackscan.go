package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// A msgpackScanner checks msgpack against a plan, in one pass that allocates
// nothing, as doc.go says.
type msgpackScanner struct {
	keySets
	data []byte
	off  int
	same func(a, b int) bool // s.sameKey, made once
}

func newMsgpackScanner() *msgpackScanner {
	s := &msgpackScanner{}
	s.same = s.sameKey
	return s
}

// scan checks that data is one value of n.
func (s *msgpackScanner) scan(data []byte, n *node, l *Limits) error {
	s.reset(l, len(data))
	s.data, s.off = data, 0
	err := s.value(n, 0)
	s.data = nil
	if err == nil && s.off < len(data) {
		return fmt.Errorf("%w: %d of %d bytes are left", ErrTrailing, len(data)-s.off, len(data))
	}
	return err
}

// value checks one value of n, or of any kind if n is nil, which is skipped. It
// is depth containers deep.
func (s *msgpackScanner) value(n *node, depth int) error {
	h, err := s.head()
	if err != nil {
		return err
	}
	if n == nil {
		return s.skip(h, depth)
	}
	if h.class == classNil {
		return nil
	}
	for n.kind == kindPointer {
		n = n.elem
		if err := s.charge(n.size); err != nil {
			return err
		}
	}
	if n.kind == kindAny {
		return s.any(h, depth)
	}
	if h.class == classArray || h.class == classMap {
		return s.composite(h, n, depth+1)
	}
	return s.scalar(h, n)
}

func (s *msgpackScanner) scalar(h head, n *node) error {
	ok := false
	switch n.kind {
	case kindBool:
		ok = h.class == classBool
	case kindInt:
		ok = h.class == classUint && h.num <= math.MaxInt64>>(64-n.bits) ||
			h.class == classNegative && int64(h.num) >= math.MinInt64>>(64-n.bits)
	case kindUint:
		ok = h.class == classUint && h.num <= math.MaxUint64>>(64-n.bits)
	case kindFloat:
		ok = s.float(h, n.bits)
	case kindString, kindBytes, kindSelf:
		if h.class == classString || h.class == classBytes {
			return s.charge(int64(h.n))
		}
	case kindByteArray:
		ok = (h.class == classString || h.class == classBytes) && h.n == n.len
	case kindTime:
		ok = h.class == classTime
	}
	if !ok {
		return s.mismatch(h, n)
	}
	return nil
}

func (s *msgpackScanner) float(h head, bits int) bool {
	switch {
	case h.class == classFloat && h.n == 8 && bits == 32:
		f := math.Abs(math.Float64frombits(binary.BigEndian.Uint64(s.data[h.at:])))
		return !(f > math.MaxFloat32) || math.IsInf(f, 0)
	case h.class == classUint:
		return h.num <= math.MaxInt64
	}
	return h.class == classFloat || h.class == classNegative
}

func (s *msgpackScanner) mismatch(h head, n *node) error {
	switch {
	case h.class == classUint || h.class == classNegative:
		return s.invalid("the integer %d is no %v", int64(h.num), n.typ)
	case n.kind == kindByteArray || n.kind == kindArray || n.kind == kindTuple:
		return s.invalid("%s of %d is no %v", classNames[h.class], h.n, n.typ)
	}
	return s.invalid("%s is no %v", classNames[h.class], n.typ)
}

// composite checks an array or a map, the depth-th around itself.
func (s *msgpackScanner) composite(h head, n *node, depth int) error {
	if err := s.nest(depth); err != nil {
		return err
	}
	switch {
	case n.kind == kindSlice && h.class == classArray:
		if err := s.chargeExactly(costSlice); err != nil {
			return err
		}
		if err := s.chargeEach(h.n, n.elem.size); err != nil {
			return err
		}
		return s.list(h, n.elem, depth)
	case n.kind == kindArray && h.class == classArray && h.n == n.len:
		return s.list(h, n.elem, depth)
	case n.kind == kindMap && h.class == classMap:
		return s.mapping(h, n, depth)
	case n.kind == kindStruct && h.class == classMap:
		return s.structure(h, n, depth)
	case n.kind == kindTuple && h.class == classArray && h.n == len(n.fields):
		if err := s.charge(n.embedded); err != nil {
			return err
		}
		for _, f := range n.fields {
			if err := s.value(f.node, depth); err != nil {
				return err
			}
		}
		return nil
	}
	return s.mismatch(h, n)
}

func (s *msgpackScanner) list(h head, elem *node, depth int) error {
	if err := s.count(h.n); err != nil {
		return err
	}
	for range h.n {
		if err := s.value(elem, depth); err != nil {
			return err
		}
	}
	return nil
}

// mapping checks the entries of a map.
func (s *msgpackScanner) mapping(h head, n *node, depth int) error {
	if err := s.count(h.n); err != nil {
		return err
	}
	if err := s.chargeMap(n, h.n); err != nil {
		return err
	}
	set, err := s.open(h.n)
	if err != nil {
		return err
	}
	for i := range h.n {
		if err := s.mapKey(&set, n.key); err != nil {
			return err
		}
		if err := s.chargeEntry(n, i); err != nil {
			return err
		}
		if err := s.value(n.elem, depth); err != nil {
			return err
		}
	}
	s.close(set)
	return nil
}

// mapKey checks a key of a map: a scalar that is not nil.
func (s *msgpackScanner) mapKey(set *keySet, n *node) error {
	at := s.off
	h, err := s.head()
	if err != nil {
		return err
	}
	if n != nil {
		if err := s.scalar(h, n); err != nil {
			return err
		}
	}
	return s.addKey(set, h, at)
}

func (s *msgpackScanner) addKey(set *keySet, h head, at int) error {
	var hash uint32
	switch h.class {
	case classString, classBytes:
		hash = hashKey(0, s.data[h.at:h.at+h.n])
	case classUint, classNegative, classBool:
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], h.num)
		hash = hashKey(byte(h.class), b[:])
	default:
		return s.invalid("%s as the key of a map", classNames[h.class])
	}
	if err := s.add(set, hash, at, s.same); err != nil {
		return fmt.Errorf("%w: before byte %d", err, s.off)
	}
	return nil
}

// sameKey reports whether the keys at a and b, which were read before, decode to
// the same value, however they are encoded.
func (s *msgpackScanner) sameKey(a, b int) bool {
	off := s.off
	defer func() { s.off = off }()
	s.off = a
	x, _ := s.head()
	s.off = b
	y, _ := s.head()
	if isText := x.class == classString || x.class == classBytes; isText {
		return (y.class == classString || y.class == classBytes) &&
			string(s.data[x.at:x.at+x.n]) == string(s.data[y.at:y.at+y.n])
	}
	return x.class == y.class && x.num == y.num
}

// structure checks the fields of a struct that is a map.
func (s *msgpackScanner) structure(h head, n *node, depth int) error {
	if err := s.charge(n.embedded); err != nil {
		return err
	}
	var seen fieldSet
	unknown := keySet{base: -1}
	next := 0
	for left := h.n; left > 0; left-- {
		at := s.off
		k, err := s.head()
		if err != nil {
			return err
		}
		if k.class != classString {
			return s.invalid("%s as the name of a field of %v", classNames[k.class], n.typ)
		}
		name := s.data[k.at : k.at+k.n]
		i := n.find(name, next)
		if i < 0 {
			if unknown.base < 0 {
				if unknown, err = s.open(min(left, minSlots/2)); err != nil {
					return err
				}
			}
			if err := s.unknownField(&unknown, k, name, at, depth); err != nil {
				return err
			}
			continue
		}
		if !seen.add(i) {
			return fmt.Errorf("%w: %q of %v", ErrDuplicateKey, name, n.typ)
		}
		if err := s.value(n.fields[i].node, depth); err != nil {
			return err
		}
		next = i + 1
	}
	if unknown.base >= 0 {
		s.close(unknown)
	}
	return nil
}

// unknownField checks a field that will be skipped. The library looks names up
// in a table where they are separated by bytes that UTF-8 does not have, and
// takes the first byte for granted: other names could be found in it by mistake.
func (s *msgpackScanner) unknownField(set *keySet, k head, name []byte, at, depth int) error {
	if len(name) == 0 || !utf8.Valid(name) {
		return s.invalid("%.32q as the name of a field", name)
	}
	if err := s.count(1); err != nil {
		return err
	}
	if err := s.charge(int64(len(name))); err != nil {
		return err
	}
	if err := s.addKey(set, k, at); err != nil {
		return err
	}
	return s.value(nil, depth)
}

// any checks what is decoded into an interface.
func (s *msgpackScanner) any(h head, depth int) error {
	switch h.class {
	case classUint:
		if h.num > math.MaxInt64 {
			return s.invalid("the integer %d, which an any, where it is an int64, cannot hold", h.num)
		}
	case classString, classBytes, classTime:
		if err := s.chargeExactly(costAnyText); err != nil {
			return err
		}
		return s.charge(int64(h.n))
	case classArray:
		if err := s.chargeExactly(costAnyList); err != nil {
			return err
		}
		return s.composite(h, anySlice, depth+1)
	case classMap:
		return s.composite(h, anyMap, depth+1)
	}
	return s.chargeExactly(costAnyNumber)
}

// What arrays and maps become in an any.
var (
	anySlice = msgpackPlans.of(anySliceType).root
	anyMap   = msgpackPlans.of(anyMapType).root
)

// skip checks a value of which nothing is kept.
func (s *msgpackScanner) skip(h head, depth int) error {
	if h.class != classArray && h.class != classMap {
		return nil
	}
	if err := s.nest(depth + 1); err != nil {
		return err
	}
	if h.class == classArray {
		return s.list(h, nil, depth+1)
	}
	if err := s.count(h.n); err != nil {
		return err
	}
	set, err := s.open(h.n)
	if err != nil {
		return err
	}
	for range h.n {
		if err := s.mapKey(&set, nil); err != nil {
			return err
		}
		if err := s.value(nil, depth+1); err != nil {
			return err
		}
	}
	s.close(set)
	return nil
}
