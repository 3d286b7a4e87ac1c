package codec

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// growth is how many times what it holds in the end encoding/json allocates for
// a slice, whose length it does not know beforehand.
const growth = 5

// A jsonScanner checks JSON against a plan, in one pass that allocates nothing,
// as doc.go says. What is not of the wanted type it leaves to encoding/json,
// which skips it.
type jsonScanner struct {
	keySets
	data   []byte
	off    int
	texts  [2][]byte // keys in comparison
	same   func(a, b int) bool
	escape bool // the last string has escapes or is not UTF-8
}

func newJSONScanner() *jsonScanner {
	s := &jsonScanner{}
	s.same = s.sameKey
	return s
}

// scan checks that data is one value of n.
func (s *jsonScanner) scan(data []byte, n *node, l *Limits) error {
	s.reset(l, len(data))
	s.data, s.off = data, 0
	err := s.value(n, 0)
	if err == nil {
		if _, end := s.peek(); end == nil {
			err = fmt.Errorf("%w: %d of %d bytes are left", ErrTrailing, len(data)-s.off, len(data))
		}
	}
	s.data = nil
	for i := range s.texts {
		if cap(s.texts[i]) > keepBuffer {
			s.texts[i] = nil
		}
	}
	return err
}

func (s *jsonScanner) truncated() error {
	return fmt.Errorf("%w: after %d bytes", ErrTruncated, len(s.data))
}

func (s *jsonScanner) invalid(format string, args ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrInvalid, s.off, fmt.Sprintf(format, args...))
}

// peek returns the next byte that is not white space.
func (s *jsonScanner) peek() (byte, error) {
	for ; s.off < len(s.data); s.off++ {
		switch c := s.data[s.off]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, nil
		}
	}
	return 0, s.truncated()
}

// expect takes the byte c, after white space.
func (s *jsonScanner) expect(c byte) error {
	got, err := s.peek()
	if err != nil {
		return err
	}
	if got != c {
		return s.invalid("%q where %q was expected", got, c)
	}
	s.off++
	return nil
}

// value checks one value of n, or of any kind if n is nil, which is skipped.
func (s *jsonScanner) value(n *node, depth int) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c == 'n' {
		return s.literal("null")
	}
	for n != nil && n.kind == kindPointer {
		n = n.elem
		if err := s.charge(n.size); err != nil {
			return err
		}
	}
	if c == '[' || c == '{' {
		return s.composite(c, n, depth+1)
	}
	start := s.off
	if err := s.scalar(c); err != nil || n == nil {
		return err
	}
	switch text := int64(s.off - start); {
	case n.kind == kindAny && c != '"':
		return s.chargeExactly(costAnyNumber)
	case n.kind == kindAny:
		if err := s.chargeExactly(costAnyText); err != nil {
			return err
		}
		return s.charge(text - 2)
	case n.kind == kindString || n.kind == kindBytes || n.kind == kindSelf:
		return s.charge(text)
	}
	return nil
}

func (s *jsonScanner) composite(c byte, n *node, depth int) error {
	if err := s.nest(depth); err != nil {
		return err
	}
	isAny := n != nil && n.kind == kindAny
	if c == '{' {
		if isAny {
			n = jsonMap
		}
		return s.object(n, depth)
	}
	if isAny {
		n = jsonSlice
		if err := s.chargeExactly(costAnyList); err != nil {
			return err
		}
	}
	return s.array(n, depth)
}

// What arrays and objects become in an any.
var (
	jsonSlice = jsonPlans.of(anySliceType).root
	jsonMap   = jsonPlans.of(anyMapType).root
)

func (s *jsonScanner) scalar(c byte) error {
	switch {
	case c == '"':
		_, err := s.text()
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	return s.invalid("%q begins no value", c)
}

func (s *jsonScanner) literal(want string) error {
	for i := range len(want) {
		if s.off >= len(s.data) {
			return s.truncated()
		}
		if s.data[s.off] != want[i] {
			return s.invalid("%q is not in %s", s.data[s.off], want)
		}
		s.off++
	}
	return nil
}

func (s *jsonScanner) number() error {
	if s.data[s.off] == '-' {
		s.off++
	}
	if s.off < len(s.data) && s.data[s.off] == '0' {
		s.off++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.off < len(s.data) && s.data[s.off] == '.' {
		s.off++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.off < len(s.data) && s.data[s.off]|0x20 == 'e' {
		s.off++
		if s.off < len(s.data) && (s.data[s.off] == '+' || s.data[s.off] == '-') {
			s.off++
		}
		return s.digits()
	}
	return nil
}

// digits takes one digit or more.
func (s *jsonScanner) digits() error {
	start := s.off
	for s.off < len(s.data) && '0' <= s.data[s.off] && s.data[s.off] <= '9' {
		s.off++
	}
	switch {
	case s.off > start:
		return nil
	case s.off >= len(s.data):
		return s.truncated()
	}
	return s.invalid("%q where a digit was expected", s.data[s.off])
}

// text takes a string and returns what is between its quotes.
func (s *jsonScanner) text() ([]byte, error) {
	s.off++
	s.escape = false
	for start := s.off; s.off < len(s.data); s.off++ {
		switch c := s.data[s.off]; {
		case c == '"':
			s.off++
			return s.data[start : s.off-1], nil
		case c < ' ':
			return nil, s.invalid("%q in a string", c)
		case c >= 0x80:
			s.escape = true // perhaps
		case c == '\\':
			s.escape = true
			if err := s.escaped(); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.truncated()
}

// escaped takes an escape but for its last byte.
func (s *jsonScanner) escaped() error {
	if s.off++; s.off >= len(s.data) {
		return s.truncated()
	}
	if c := s.data[s.off]; c != 'u' {
		if strings.IndexByte(`"\/bfnrt`, c) < 0 {
			return s.invalid("%q after a backslash", c)
		}
		return nil
	}
	for range 4 {
		if s.off++; s.off >= len(s.data) {
			return s.truncated()
		}
		if c := s.data[s.off] | 0x20; (c < '0' || c > '9' || s.data[s.off] < '0') && (c < 'a' || c > 'f') {
			return s.invalid("%q in a \\u escape", s.data[s.off])
		}
	}
	return nil
}

// next takes what is between elements, or the end of them, which it reports.
func (s *jsonScanner) next(i int, end byte) (more bool, err error) {
	c, err := s.peek()
	if err != nil {
		return false, err
	}
	if c == end {
		s.off++
		return false, nil
	}
	if i == 0 {
		return true, nil
	}
	if err := s.expect(','); err != nil {
		return false, err
	}
	if c, err = s.peek(); err == nil && c == end {
		return false, s.invalid("%q after a comma", c)
	}
	return true, err
}

func (s *jsonScanner) array(n *node, depth int) error {
	var elem *node
	size := int64(0) // to be charged for each element
	if n != nil {
		switch n.kind {
		case kindSlice, kindBytes:
			elem, size = n.elem, growth*n.elem.size
			if err := s.chargeExactly(costSlice); err != nil {
				return err
			}
		case kindArray:
			elem = n.elem
		}
	}
	s.off++
	i := 0
	for ; ; i++ {
		more, err := s.next(i, ']')
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := s.count(1); err != nil {
			return err
		}
		if err := s.chargeExactly(size); err != nil {
			return err
		}
		if err := s.value(elem, depth); err != nil {
			return err
		}
	}
	if n != nil && n.kind == kindArray && i != n.len {
		return s.invalid("an array of %d is no %v", i, n.typ)
	}
	return nil
}

func (s *jsonScanner) object(n *node, depth int) error {
	if n != nil {
		switch n.kind {
		case kindStruct:
			if err := s.charge(n.embedded); err != nil {
				return err
			}
		case kindMap:
			if err := s.chargeMap(n, 1); err != nil {
				return err
			}
		default:
			n = nil
		}
	}
	s.off++
	var seen fieldSet
	set, err := s.open(0)
	if err != nil {
		return err
	}
	hint := 0
	for i := 0; ; i++ {
		more, err := s.next(i, '}')
		if err != nil {
			return err
		}
		if !more {
			break
		}
		elem, err := s.member(n, i, &set, &seen, &hint)
		if err != nil {
			return err
		}
		if err := s.value(elem, depth); err != nil {
			return err
		}
	}
	s.close(set)
	return nil
}

// member takes the nth key and the colon, and returns the node of the value.
func (s *jsonScanner) member(n *node, nth int, set *keySet, seen *fieldSet, hint *int) (*node, error) {
	at := s.off
	if s.data[at] != '"' {
		return nil, s.invalid("%q where a key was expected", s.data[at])
	}
	key, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.escape {
		key = unquote(&s.texts[0], key)
	}
	if n != nil && n.kind == kindStruct {
		if i := n.findFold(key, *hint); i >= 0 {
			*hint = i + 1
			if !seen.add(i) {
				return nil, fmt.Errorf("%w: %q of %v", ErrDuplicateKey, key, n.typ)
			}
			return n.fields[i].node, s.expect(':')
		}
	}
	var elem *node
	if n != nil && n.kind == kindMap {
		if elem, err = n.elem, s.mapKey(n, nth, key); err != nil {
			return nil, err
		}
	}
	if err := s.count(1); err != nil {
		return nil, err
	}
	if err := s.add(set, hashKey(0, key), at, s.same); err != nil {
		return nil, fmt.Errorf("%w: %.32q", err, key)
	}
	return elem, s.expect(':')
}

// mapKey checks and charges a key of a map, whose entry it charges too.
func (s *jsonScanner) mapKey(n *node, nth int, key []byte) error {
	if k := n.key.kind; k == kindInt || k == kindUint {
		digits := strings.TrimPrefix(string(key), "-")
		if digits == "" || digits[0] < '0' || digits[0] > '9' || digits[0] == '0' && len(key) > 1 {
			return s.invalid("%.32q as a key of %v", key, n.typ)
		}
	}
	if err := s.charge(int64(len(key))); err != nil {
		return err
	}
	return s.chargeEntry(n, nth)
}

// sameKey reports whether the keys at a and b, which were read before, are equal.
func (s *jsonScanner) sameKey(a, b int) bool {
	off := s.off
	defer func() { s.off = off }()
	var keys [2][]byte
	for i, at := range [2]int{a, b} {
		s.off = at
		keys[i], _ = s.text()
		if s.escape {
			keys[i] = unquote(&s.texts[i], keys[i])
		}
	}
	return string(keys[0]) == string(keys[1])
}

// unquote resolves the escapes of a string, as encoding/json does, to buf.
func unquote(buf *[]byte, text []byte) []byte {
	b := (*buf)[:0]
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			r, n := utf8.DecodeRune(text[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		c := text[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, n := unquoteRune(text[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		b = append(b, c)
	}
	*buf = b
	return b
}

// unquoteRune reads the four digits of an escape, and the escape after it if
// both are a pair.
func unquoteRune(text []byte) (r rune, n int) {
	r = hexRune(text)
	if len(text) >= 10 && text[4] == '\\' && text[5] == 'u' {
		if pair := utf16.DecodeRune(r, hexRune(text[6:])); pair != utf8.RuneError {
			return pair, 10
		}
	}
	return r, 4
}

func hexRune(text []byte) rune {
	u, _ := strconv.ParseUint(string(text[:4]), 16, 32)
	return rune(u)
}
