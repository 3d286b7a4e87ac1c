// Package reach hides time.Now behind functions.
package reach

import (
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
)

type B struct {
	base
	behavior.Mux
	f func()
}

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	first()
	func() { _ = time.Now() }() // want `time.Now tells real time: use Now of the agent$`
	apply(mentioned)
	_ = now()
	generic[int]()
	b.once()
	b.once() // reported once
}

func first()  { second() }
func second() { third(); first() }
func third()  { _ = time.Now() } // want `time.Now .* \(called from B.OnMessage\)$`

func apply(f func()) { f() }
func mentioned()     { _ = time.Now() } // want `time.Now`

var now = time.Now // want `time.Now .* \(called from B.OnMessage\)`

func generic[T any]() { _ = time.Now() } // want `time.Now`

// Other methods of a behaviour.
func (b *B) once()  { _ = time.Now() } // want `time.Now`
func (b *B) Query() { _ = time.Now() } // want `time.Now tells real time: use Now of the agent$`

// kept is mentioned where no behaviour runs, and perhaps called where one does.
func (b *B) kept() { _ = time.Now() } // want `time.Now`

// unused may be called through an interface.
func (b *B) unused() { _ = time.Now() } // want `time.Now`

func New() *B {
	b := &B{}
	b.f = b.kept
	b.setUp()
	_ = time.Now()
	return b
}

// setUp is called where no behaviour runs.
func (b *B) setUp() { _ = time.Now() }

// base has a callback that B inherits.
type base struct{}

func (*base) OnTick(*agent.Behavior, time.Time) { _ = time.Now() } // want `time.Now`

// Handlers, also by value, and generic.
type H[T any] struct{ t T }

func (h H[T]) OnMessage(a *agent.Handler, m *conn.Message) { h.more() }
func (h H[T]) more()                                       { _ = time.Now() } // want `time.Now`

// Middleware has its OnMessage from what it wraps.
type middleware struct{ behavior.Behavior }

func (m middleware) Unwrap() behavior.Behavior { return m.Behavior }
func (m middleware) OnStart(*agent.Behavior) error {
	_ = time.Now() // want `time.Now`
	return nil
}

// Parts of behaviours.
type part struct{}

func (*part) Take(*agent.Behavior, *conn.Message) bool { return false }
func (*part) PartStop(*agent.Behavior)                 { _ = time.Now() } // want `time.Now`

// Functions that become behaviours and handlers, and that are given to a Mux.
var (
	function = behavior.Func(func(*agent.Behavior, *conn.Message) {
		_ = time.Now() // want `time.Now .*agent$`
	})
	handler = behavior.HandlerFunc(handle)
)

func handle(*agent.Handler, *conn.Message) { _ = time.Now() } // want `time.Now`

func Register(m *behavior.Mux) {
	behavior.On(m, behavior.Message[int](1), func(*agent.Behavior, *conn.Message, int) {
		_ = time.Now() // want `time.Now`
	})
}
