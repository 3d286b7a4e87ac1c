package behavior

import (
	"errors"
	"fmt"
	"reflect"
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
// another signature, or are named On... and are no callback; and embedded parts
// that hide each other. Register calls it.
func Check(b Behavior) error {
	if b == nil || isNilPointer(b) {
		return errors.New("behavior: behaviour is nil; pass a value")
	}
	var errs []error
	for range maxUnwrap {
		errs = append(errs, check(b, behaviorHooks))
		errs = append(errs, checkParts(b))
		u, wraps := b.(Unwrapper)
		if !wraps {
			return errors.Join(errs...)
		}
		if b = u.Unwrap(); b == nil || isNilPointer(b) {
			return errors.Join(append(errs, errors.New("behavior: Unwrap returned nil"))...)
		}
	}
	return errors.Join(append(errs, fmt.Errorf("behavior: %T: more than %d behaviours around each other; does Unwrap return its receiver?", b, maxUnwrap))...)
}

// CheckHandler is [Check] for handlers. The runtime calls it for the first
// handler of each type that a behaviour returns.
func CheckHandler(h Handler) error { return check(h, handlerHooks) }

func isNilPointer(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
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
	return errors.Join(errs...)
}

// looksLikeCallback reports whether a name is On followed by a capital.
func looksLikeCallback(name string) bool {
	rest, ok := strings.CutPrefix(name, "On")
	return ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z'
}

// checkParts finds embedded parts that hide each other: two embedded types with
// a Parts method leave the outer type without one.
func checkParts(b Behavior) error {
	if _, ok := b.(Parted); ok {
		return nil
	}
	t := reflect.TypeOf(b)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	parted := reflect.TypeFor[Parted]()
	for f := range t.Fields() {
		if f.Anonymous && (f.Type.Implements(parted) || reflect.PointerTo(f.Type).Implements(parted)) {
			return fmt.Errorf("behavior: %s embeds more than one part, which hides them all; define Parts to return each of them, or pass a pointer to the behaviour", t)
		}
	}
	return nil
}
