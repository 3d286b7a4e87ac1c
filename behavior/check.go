package behavior

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// behaviorHooks and handlerHooks are the callbacks by method name.
var behaviorHooks = map[string]reflect.Type{
	"OnMessage":    reflect.TypeFor[Behavior](),
	"Describe":     reflect.TypeFor[Describer](),
	"OnStart":      reflect.TypeFor[Starter](),
	"OnStop":       reflect.TypeFor[Stopper](),
	"OnTick":       reflect.TypeFor[Ticker](),
	"Admit":        reflect.TypeFor[Admitter](),
	"OnConnect":    reflect.TypeFor[Connector](),
	"OnDisconnect": reflect.TypeFor[Disconnector](),
	"OnDialError":  reflect.TypeFor[DialWatcher](),
	"OnEvent":      reflect.TypeFor[EventReceiver](),
	"OnReport":     reflect.TypeFor[Reporter](),
	"Unwrap":       reflect.TypeFor[Unwrapper](),
	"Parts":        reflect.TypeFor[Parted](),
}

var handlerHooks = map[string]reflect.Type{
	"OnMessage": reflect.TypeFor[Handler](),
	"OnOpen":    reflect.TypeFor[Opener](),
	"OnClose":   reflect.TypeFor[Closer](),
	"OnTick":    reflect.TypeFor[HandlerTicker](),
	"OnEvent":   reflect.TypeFor[HandlerEventReceiver](),
}

// Check finds callbacks that would silently never run: exported methods of a
// behaviour, or of what it wraps, that are named like a callback but have
// another signature, or are named On... and are no callback; those that need a
// pointer to a behaviour passed by value; and those of embedded types, parts
// among them, that hide each other. Register calls it.
func Check(b Behavior) error {
	var errs []error
	for n := range maxUnwrap {
		if b == nil || isNil(b) {
			if n > 0 {
				return errors.Join(append(errs, errors.New("behavior: Unwrap returned nil"))...)
			}
			return errors.New("behavior: behaviour is nil; pass a value")
		}
		errs = append(errs, check(b, behaviorHooks))
		u, wraps := b.(Unwrapper)
		if !wraps {
			return errors.Join(errs...)
		}
		b = u.Unwrap()
	}
	return fmt.Errorf("behavior: %T: more than %d behaviours around each other; does Unwrap return its receiver?", b, maxUnwrap)
}

// CheckHandler is [Check] for handlers. The runtime calls it for the first
// handler of each type that a behaviour returns.
func CheckHandler(h Handler) error {
	if h == nil || isNil(h) {
		return fmt.Errorf("behavior: handler is a nil %T; for no handler, OnConnect returns the word nil", h)
	}
	return check(h, handlerHooks)
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil()
}

func check(v any, hooks map[string]reflect.Type) error {
	t := reflect.TypeOf(v)
	var errs []error
	for m := range t.Methods() {
		hook, known := hooks[m.Name]
		switch {
		case known && !t.Implements(hook):
			errs = append(errs, fmt.Errorf("behavior: %s.%s does not have the signature of %s and would never run", t, m.Name, hook))
		case !known && looksLikeCallback(m.Name):
			errs = append(errs, fmt.Errorf("behavior: %s.%s is not a callback and would never run; rename it", t, m.Name))
		}
	}
	pointer := t
	if t.Kind() != reflect.Pointer {
		pointer = reflect.PointerTo(t)
		for m := range pointer.Methods() {
			_, has := t.MethodByName(m.Name)
			if _, known := hooks[m.Name]; !has && (known || looksLikeCallback(m.Name)) {
				errs = append(errs, fmt.Errorf("behavior: %s.%s has a pointer receiver and would never run; pass a pointer", t, m.Name))
			}
		}
	}
	return errors.Join(append(errs, checkEmbedded(pointer, hooks))...)
}

// looksLikeCallback reports whether a name is On followed by a capital.
func looksLikeCallback(name string) bool {
	rest, ok := strings.CutPrefix(name, "On")
	return ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z'
}

// checkEmbedded finds callbacks of embedded types that hide each other: two
// embedded types with a method of the same name leave the outer type without one.
func checkEmbedded(pointer reflect.Type, hooks map[string]reflect.Type) error {
	t := pointer.Elem()
	if t.Kind() != reflect.Struct {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(hooks)) {
		if _, has := pointer.MethodByName(name); has {
			continue
		}
		for f := range t.Fields() {
			if !f.Anonymous || !hasMethod(f.Type, name) {
				continue
			}
			what := "call the ones that are meant"
			if name == "Parts" {
				what = "return each of them"
			}
			errs = append(errs, fmt.Errorf("behavior: %s embeds more than one type with %s, which hides them all; define %[2]s to %[3]s", t, name, what))
			break
		}
	}
	return errors.Join(errs...)
}

// hasMethod reports whether t, or a pointer to it, has a method.
func hasMethod(t reflect.Type, name string) bool {
	if _, has := t.MethodByName(name); has {
		return true
	}
	_, has := reflect.PointerTo(t).MethodByName(name)
	return has
}
