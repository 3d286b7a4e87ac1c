package codec

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"

	mp "github.com/hashicorp/go-msgpack/v2/codec"
)

// A plan is what the scanners know about a Go type: what may stand on the wire
// for it, and how much memory that becomes. It mirrors what the decoding
// library will do, and refuses the types for which the two could differ.
//
//	Go type ──(reflection, once)──> plan ──> root ─┬─ field ── elem ...
//	                                               └─ field ── key, elem ...
//
// The nodes of recursive types form cycles.
type plan struct {
	root  *node
	self  self  // how values that are a whole payload encode themselves
	err   error // why the type cannot be a payload
	inner error // why the type cannot be within one; then root is nil
}

type kind uint8

const (
	kindAny kind = iota
	kindBool
	kindInt
	kindUint
	kindFloat
	kindString
	kindBytes     // a slice of bytes
	kindByteArray // msgpack only; in JSON an array as any other
	kindArray
	kindSlice
	kindMap
	kindStruct
	kindTuple // a struct encoded as an array
	kindTime
	kindSelf // encodes itself
	kindPointer
)

type node struct {
	kind kind
	typ  reflect.Type
	bits int   // of a number
	len  int   // of an array
	size int64 // of the Go value in memory
	key  *node
	elem *node

	fields   []field        // of a struct, in the order on the wire
	index    map[string]int // of fields by name
	embedded int64          // memory of embedded pointers

	dynamic bool // holds an any or is recursive: the type does not bound its depth
	plain   bool // of scalars and strings only: its encoding is within any limits
	depth   int  // of a plain node
	flagged bool // the three above are set
}

type field struct {
	name string
	node *node
	path []int // for reflect.Value.FieldByIndex
}

// find returns the field of this name, or -1. Fields mostly come in order, so
// that it looks at the one at hint first.
func (n *node) find(name []byte, hint int) int {
	if hint < len(n.fields) && n.fields[hint].name == string(name) {
		return hint
	}
	if i, ok := n.index[string(name)]; ok {
		return i
	}
	return -1
}

// A planner makes plans, one per type, and keeps them: there are no more of them
// than there are types in the program.
type planner struct {
	json  bool
	plans sync.Map // reflect.Type to *plan
}

var (
	msgpackPlans = &planner{}
	jsonPlans    = &planner{json: true}
)

// of returns the plan for a value that is a whole payload.
func (p *planner) of(t reflect.Type) *plan {
	if pl, ok := p.plans.Load(t); ok {
		return pl.(*plan)
	}
	b := &builder{json: p.json, nodes: map[reflect.Type]*node{}}
	root, err := b.build(t)
	pl := &plan{root: root}
	if err != nil {
		pl.root, pl.inner = nil, fmt.Errorf("%w: type %v: %w", ErrUnsupported, t, err)
	}
	if !p.json {
		pl.self = selfOf(t)
	}
	if pl.self == selfNone {
		pl.err = pl.inner
	}
	for _, n := range b.nodes {
		b.flags(n, map[*node]bool{})
	}
	kept, _ := p.plans.LoadOrStore(t, pl)
	return kept.(*plan)
}

// ofValue is of for the type of a value that is not nil, or what it points to.
func (p *planner) ofValue(v any) *plan {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return p.of(t)
}

// A builder builds the nodes of one plan.
type builder struct {
	json  bool
	nodes map[reflect.Type]*node
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	anySliceType = reflect.TypeFor[[]any]()
	anyMapType   = reflect.TypeFor[map[string]any]()

	// Types with a meaning to the msgpack library that only its users know.
	foreign = []reflect.Type{
		reflect.TypeFor[mp.Selfer](), reflect.TypeFor[mp.MissingFielder](), reflect.TypeFor[mp.MapBySlice](),
	}
	foreignTypes = []reflect.Type{
		reflect.TypeFor[mp.Raw](), reflect.TypeFor[mp.RawExt](), reflect.TypeFor[reflect.Value](),
	}
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func implements(t, iface reflect.Type) bool {
	return t.Implements(iface) || reflect.PointerTo(t).Implements(iface)
}

// encodesItself reports whether the library calls methods of t.
func (b *builder) encodesItself(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false
	}
	if b.json {
		return implements(t, jsonUnmarshaler) || implements(t, textUnmarshaler)
	}
	return implements(t, binaryMarshaler) && implements(t, binaryUnmarshaler)
}

func (b *builder) build(t reflect.Type) (*node, error) {
	if n := b.nodes[t]; n != nil {
		return n, nil
	}
	n := &node{typ: t, size: int64(t.Size())}
	b.nodes[t] = n
	if !b.json {
		if err := checkForeign(t); err != nil {
			return nil, err
		}
		if t == timeType {
			n.kind = kindTime
			return n, nil
		}
	}
	if b.encodesItself(t) {
		n.kind = kindSelf
		return n, nil
	}
	return n, b.fill(n, t)
}

func checkForeign(t reflect.Type) error {
	for _, f := range foreignTypes {
		if t == f {
			return fmt.Errorf("%v is not for messages", t)
		}
	}
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return nil
	}
	for _, f := range foreign {
		if implements(t, f) {
			return fmt.Errorf("%v implements %v of go-msgpack, which this package does not use; implement encoding.BinaryMarshaler", t, f)
		}
	}
	return nil
}

func (b *builder) fill(n *node, t reflect.Type) (err error) {
	switch t.Kind() {
	case reflect.Bool:
		n.kind = kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n.kind, n.bits = kindInt, t.Bits()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n.kind, n.bits = kindUint, t.Bits()
	case reflect.Float32, reflect.Float64:
		n.kind, n.bits = kindFloat, t.Bits()
	case reflect.String:
		n.kind = kindString
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("interface %v: only any can be decoded into", t)
		}
		n.kind, n.elem = kindAny, n
	case reflect.Pointer:
		n.kind = kindPointer
		if err := checkPointer(t); err != nil {
			return err
		}
		n.elem, err = b.build(t.Elem())
	case reflect.Slice, reflect.Array:
		return b.fillList(n, t)
	case reflect.Map:
		return b.fillMap(n, t)
	case reflect.Struct:
		return b.fillStruct(n, t)
	default:
		return fmt.Errorf("%v has no encoding", t)
	}
	return err
}

// checkPointer refuses pointers to nothing else than pointers.
func checkPointer(t reflect.Type) error {
	e := t
	for range 8 {
		if e = e.Elem(); e.Kind() != reflect.Pointer {
			return nil
		}
	}
	return fmt.Errorf("%v has too many indirections", t)
}

func (b *builder) fillList(n *node, t reflect.Type) (err error) {
	isBytes := t.Elem() == reflect.TypeFor[byte]()
	if b.json { // which takes named bytes too, but has no form for arrays of them
		isBytes = t.Elem().Kind() == reflect.Uint8
	}
	n.kind = kindSlice
	switch {
	case t.Kind() == reflect.Array && isBytes && !b.json:
		n.kind, n.len = kindByteArray, t.Len()
	case t.Kind() == reflect.Array:
		n.kind, n.len = kindArray, t.Len()
	case isBytes:
		n.kind = kindBytes
	}
	n.elem, err = b.build(t.Elem())
	return err
}

func (b *builder) fillMap(n *node, t reflect.Type) (err error) {
	n.kind = kindMap
	if n.key, err = b.build(t.Key()); err != nil {
		return err
	}
	switch k := n.key.kind; {
	case k == kindString, k == kindInt, k == kindUint:
	case k == kindBool && !b.json, k == kindByteArray && n.key.len > 0:
	case k == kindSelf && b.json && t.Key().Kind() != reflect.Interface && implements(t.Key(), textUnmarshaler):
	case k == kindSelf && !b.json && (t.Key().Kind() == reflect.Struct || t.Key().Kind() == reflect.Array):
	default:
		return fmt.Errorf("%v cannot be the key of a map", t.Key())
	}
	n.elem, err = b.build(t.Elem())
	return err
}

// flags sets dynamic, plain and depth of n, for which it looks at all of the
// nodes below, once. path are those above.
func (b *builder) flags(n *node, path map[*node]bool) {
	if path[n] || n.kind == kindAny {
		n.dynamic = true // and so is every node on the way here
		return
	}
	if n.flagged {
		return
	}
	path[n] = true
	n.plain = true
	below := func(c *node) {
		if c != nil {
			b.flags(c, path)
			n.dynamic = n.dynamic || c.dynamic
			n.plain = n.plain && c.plain
			n.depth = max(n.depth, c.depth)
		}
	}
	switch n.kind {
	case kindStruct, kindTuple:
		for _, f := range n.fields {
			below(f.node)
		}
		n.depth++
		n.plain = n.plain && n.embedded == 0
	case kindArray, kindSlice, kindMap, kindPointer:
		below(n.elem)
		n.plain = false
	}
	n.plain = n.plain && !n.dynamic
	n.flagged = true
	delete(path, n)
}
