package behavior_test

import (
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
)

// plain has the callback that is required.
type plain struct{}

func (*plain) OnMessage(*agent.Behavior, *conn.Message) {}

// every has all callbacks, with other methods beside them.
type every struct{ plain }

func (*every) Describe() behavior.Info                               { return behavior.Info{} }
func (*every) OnStart(*agent.Behavior) error                         { return nil }
func (*every) OnStop(*agent.Behavior)                                {}
func (*every) OnTick(*agent.Behavior, time.Time)                     {}
func (*every) Admit(*agent.Behavior, conn.Peer) error                { return nil }
func (*every) OnConnect(*agent.Behavior, conn.Info) behavior.Handler { return nil }
func (*every) OnDisconnect(*agent.Behavior, conn.Info, error)        {}
func (*every) OnDialError(*agent.Behavior, conn.Dial, error)         {}
func (*every) OnEvent(*agent.Behavior, conn.Info, any)               {}
func (*every) OnReport(*agent.Behavior, agent.Report)                {}
func (*every) Parts() []behavior.Part                                { return nil }
func (*every) Once()                                                 {}
func (*every) On()                                                   {}
func (*every) Onward()                                               {}
func (*every) Take(*agent.Behavior, *conn.Message) bool              { return false }

// The misspelt and the misunderstood.
type (
	connected struct{ plain }
	noError   struct{ plain }
	admit     struct{ plain }
	unwrap    struct{ plain }
)

func (*connected) OnConnected(*agent.Behavior, conn.Info) {}
func (*noError) OnStart(*agent.Behavior)                  {}
func (*admit) Admit(*agent.Behavior, conn.Info) error     { return nil }
func (*unwrap) Unwrap() *plain                            { return nil }

// byValue has a pointer receiver on one callback only.
type byValue struct{}

func (byValue) OnMessage(*agent.Behavior, *conn.Message) {}
func (*byValue) OnTick(*agent.Behavior, time.Time)       {}

// wrap is middleware.
type wrap struct{ inner behavior.Behavior }

func (wrap) OnMessage(*agent.Behavior, *conn.Message) {}
func (w wrap) Unwrap() behavior.Behavior              { return w.inner }

// circle unwraps itself.
type circle struct{ plain }

func (c *circle) Unwrap() behavior.Behavior { return c }

// Two parts, embedded side by side.
type (
	part1 struct{}
	part2 struct{}
	both  struct {
		plain
		part1
		part2
	}
	returned struct{ both }
	one      struct {
		plain
		part1
	}
)

func (*part1) Take(*agent.Behavior, *conn.Message) bool { return false }
func (p *part1) Parts() []behavior.Part                 { return []behavior.Part{p} }
func (*part2) Take(*agent.Behavior, *conn.Message) bool { return false }
func (p *part2) Parts() []behavior.Part                 { return []behavior.Part{p} }

func (r *returned) Parts() []behavior.Part { return []behavior.Part{&r.part1, &r.part2} }

// Two embedded types that both tick.
type (
	Ticker1 struct{}
	Ticker2 struct{}
	ticks   struct {
		plain
		Ticker1
		Ticker2
	}
)

func (Ticker1) OnTick(*agent.Behavior, time.Time) {}
func (Ticker2) OnTick(*agent.Behavior, time.Time) {}

func TestCheck(t *testing.T) {
	var none *plain
	cases := []struct {
		name string
		b    behavior.Behavior
		want string // part of the error; "": none
	}{
		{"required only", &plain{}, ""},
		{"every callback", &every{}, ""},
		{"function", behavior.Func(func(*agent.Behavior, *conn.Message) {}), ""},
		{"mux", &behavior.Mux{}, ""},
		{"middleware", wrap{wrap{&every{}}}, ""},
		{"one embedded part", &one{}, ""},
		{"two embedded parts, returned", &returned{}, ""},

		{"nil", nil, "behaviour is nil"},
		{"nil pointer", none, "behaviour is nil"},
		{"nil function", behavior.Func(nil), "behaviour is nil"},
		{"misspelt", &connected{}, "*behavior_test.connected.OnConnected is not a callback and would never run; rename it"},
		{"result missing", &noError{}, "*behavior_test.noError.OnStart does not have the signature of behavior.Starter"},
		{"wrong parameter", &admit{}, "*behavior_test.admit.Admit does not have the signature of behavior.Admitter"},
		{"wrong Unwrap", &unwrap{}, "*behavior_test.unwrap.Unwrap does not have the signature of behavior.Unwrapper"},
		{"passed by value", byValue{}, "behavior_test.byValue.OnTick has a pointer receiver and would never run; pass a pointer"},
		{"part passed by value", wrap{struct {
			byPointer
			part1
		}{}}, "Parts has a pointer receiver"},
		{"misspelt inside of middleware", wrap{wrap{&connected{}}}, "OnConnected is not a callback"},
		{"middleware around nil", wrap{nil}, "Unwrap returned nil"},
		{"middleware around a nil pointer", wrap{none}, "Unwrap returned nil"},
		{"circle", &circle{}, "does Unwrap return its receiver?"},
		{"two embedded parts", &both{}, "behavior_test.both embeds more than one type with Parts, which hides them all; define Parts to return each of them"},
		{"two embedded tickers", &ticks{}, "behavior_test.ticks embeds more than one type with OnTick, which hides them all"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { checkError(t, behavior.Check(c.b), c.want) })
	}
}

// byPointer makes values that embed it behaviours.
type byPointer struct{ *plain }

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

// TestCheckFindsAll: one call tells of every mistake.
func TestCheckFindsAll(t *testing.T) {
	err := behavior.Check(wrap{&struct {
		connected
		noErrorOnly
	}{}})
	for _, want := range []string{"OnConnected", "OnStart"} {
		checkError(t, err, want)
	}
}

type noErrorOnly struct{}

func (noErrorOnly) OnStart(*agent.Behavior) {}

// Handlers.
type (
	plainHandler struct{}
	everyHandler struct{ plainHandler }
	badHandler   struct{ plainHandler }
	oldHandler   struct{ plainHandler }
)

func (*plainHandler) OnMessage(*agent.Handler, *conn.Message) {}
func (*everyHandler) OnOpen(*agent.Handler)                   {}
func (*everyHandler) OnClose(*agent.Handler, error)           {}
func (*everyHandler) OnTick(*agent.Handler, time.Time)        {}
func (*everyHandler) OnEvent(*agent.Handler, conn.Info, any)  {}
func (*badHandler) OnConnect(*agent.Handler)                  {}
func (*oldHandler) OnEvent(*agent.Handler, any)               {}

func TestCheckHandler(t *testing.T) {
	var none *plainHandler
	cases := []struct {
		name string
		h    behavior.Handler
		want string
	}{
		{"required only", &plainHandler{}, ""},
		{"every callback", &everyHandler{}, ""},
		{"function", behavior.HandlerFunc(func(*agent.Handler, *conn.Message) {}), ""},
		{"callback of behaviours", &badHandler{}, "OnConnect is not a callback"},
		{"wrong signature", &oldHandler{}, "OnEvent does not have the signature of behavior.HandlerEventReceiver"},
		{"nil", nil, "for no handler"},
		{"nil pointer", none, "nil *behavior_test.plainHandler; for no handler, OnConnect returns the word nil"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { checkError(t, behavior.CheckHandler(c.h), c.want) })
	}
}

func TestAs(t *testing.T) {
	inner := &every{}
	chain := wrap{wrap{inner}}
	if got, ok := behavior.As[behavior.Ticker](chain); !ok || got != behavior.Ticker(inner) {
		t.Errorf("got %v %v, want the callback of the innermost", got, ok)
	}
	if got, ok := behavior.As[wrap](chain); !ok || got != chain {
		t.Errorf("got %v %v, want the outermost that fits", got, ok)
	}
	for name, b := range map[string]behavior.Behavior{"none has it": wrap{&plain{}}, "nil": nil, "around nil": wrap{nil}, "circle": &circle{}} {
		if got, ok := behavior.As[behavior.Ticker](b); ok || got != nil {
			t.Errorf("%s: got %v %v, want nothing", name, got, ok)
		}
	}
}
