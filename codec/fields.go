package codec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// maxFields is how many fields a struct may have: as many as a fieldSet holds,
// and few enough that the library's table of names, which mixes them with
// indexes, is unambiguous.
const maxFields = 128

// A fieldSet is a set of fields of one struct.
type fieldSet [maxFields / 64]uint64

// add reports whether i was not in the set.
func (s *fieldSet) add(i int) bool {
	bit := uint64(1) << (i % 64)
	was := s[i/64] & bit
	s[i/64] |= bit
	return was == 0
}

// fillStruct finds the fields of t as the libraries do. Where these have rules
// for names that occur twice, it refuses.
func (b *builder) fillStruct(n *node, t reflect.Type) error {
	n.kind = kindStruct
	if err := b.structOptions(n, t); err != nil {
		return err
	}
	if err := b.addFields(n, t, nil, nil); err != nil {
		return err
	}
	if len(n.fields) > maxFields {
		return fmt.Errorf("%v has %d fields, at most %d are allowed", t, len(n.fields), maxFields)
	}
	if n.kind == kindStruct && !b.json {
		slices.SortFunc(n.fields, func(x, y field) int { return strings.Compare(x.name, y.name) })
	}
	n.index = make(map[string]int, len(n.fields))
	for i, f := range n.fields {
		if _, twice := n.index[f.name]; twice {
			return fmt.Errorf("%v has two fields that are encoded as %q", t, f.name)
		}
		n.index[f.name] = i
	}
	return nil
}

// structOptions reads the tag of the field _struct, which is an idea of the
// msgpack library.
func (b *builder) structOptions(n *node, t reflect.Type) error {
	f, ok := t.FieldByName("_struct")
	if !ok || b.json {
		return nil
	}
	_, options, _ := strings.Cut(b.tag(f), ",")
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "toarray":
			n.kind = kindTuple
		case "int", "uint", "float":
			return fmt.Errorf("%v: option %q of _struct is not supported", t, o)
		}
	}
	return nil
}

func (b *builder) tag(f reflect.StructField) string {
	if tag := f.Tag.Get("codec"); tag != "" && !b.json {
		return tag
	}
	return f.Tag.Get("json")
}

// addFields adds the fields of t, which is embedded in n.typ at path by way of
// the types above.
func (b *builder) addFields(n *node, t reflect.Type, path []int, above []reflect.Type) error {
	if slices.Contains(above, t) {
		return fmt.Errorf("%v embeds itself", t)
	}
	above = append(slices.Clip(above), t)
	for i := range t.NumField() {
		f := t.Field(i)
		tag := b.tag(f)
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		at := append(slices.Clip(path), i)
		ft := f.Type
		if f.Anonymous && ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if f.Anonymous && ft.Kind() == reflect.Struct && name == "" {
			if f.Type.Kind() == reflect.Pointer {
				if !f.IsExported() {
					return fmt.Errorf("%v embeds a pointer to the unexported %v, which cannot be set", t, ft)
				}
				n.embedded += int64(ft.Size())
			}
			if err := b.addFields(n, ft, at, above); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			if f.Type.Kind() == reflect.Struct {
				return fmt.Errorf("%v embeds the unexported %v under a name", t, ft)
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		if err := b.addField(n, f, name, options, at); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addField(n *node, f reflect.StructField, name, options string, path []int) error {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || strings.IndexByte("\"\\',`", c) >= 0 {
			return fmt.Errorf("field %s: its name %q contains %q", f.Name, name, rune(c))
		}
	}
	fn, err := b.build(f.Type)
	if err != nil {
		return fmt.Errorf("field %s: %w", f.Name, err)
	}
	if b.json && slices.Contains(strings.Split(options, ","), "string") {
		fn = &node{kind: kindSelf, typ: f.Type, size: fn.size} // a number in quotes
	}
	n.fields = append(n.fields, field{name: name, node: fn, path: path})
	return nil
}

// findFold is find by the rules of encoding/json: an equal name first, else the
// first that is equal but for its case.
func (n *node) findFold(name []byte, hint int) int {
	if i := n.find(name, hint); i >= 0 {
		return i
	}
	for i := range n.fields {
		// A letter that is not ASCII may be the other case of one that is.
		if len(n.fields[i].name) <= len(name) && strings.EqualFold(n.fields[i].name, string(name)) {
			return i
		}
	}
	return -1
}
