package behaviortest

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// bad is a behaviour that breaks the rules as its functions say; nil ones do
// nothing.
type bad struct {
	info       behavior.Info
	start      func(a *agent.Behavior) error
	stop       func()
	message    func(a *agent.Behavior, m *conn.Message)
	tick       func(a *agent.Behavior)
	connect    func(a *agent.Behavior, c conn.Info) behavior.Handler
	disconnect func(a *agent.Behavior, c conn.Info)
	event      func(a *agent.Behavior, ev any)
	dialError  func()
}

func (b *bad) Describe() behavior.Info {
	if b.info.Tick == 0 {
		b.info.Tick = time.Second
	}
	return b.info
}
func (b *bad) OnStart(a *agent.Behavior) error {
	if b.start != nil {
		return b.start(a)
	}
	return nil
}
func (b *bad) OnStop(*agent.Behavior) {
	if b.stop != nil {
		b.stop()
	}
}
func (b *bad) OnMessage(a *agent.Behavior, m *conn.Message) {
	if b.message != nil {
		b.message(a, m)
	}
}
func (b *bad) OnTick(a *agent.Behavior, _ time.Time) {
	if b.tick != nil {
		b.tick(a)
	}
}
func (b *bad) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	if b.connect != nil {
		return b.connect(a, c)
	}
	return nil
}
func (b *bad) OnDisconnect(a *agent.Behavior, c conn.Info, _ error) {
	if b.disconnect != nil {
		b.disconnect(a, c)
	}
}
func (b *bad) OnEvent(a *agent.Behavior, _ conn.Info, ev any) {
	if b.event != nil {
		b.event(a, ev)
	}
}
func (b *bad) OnDialError(*agent.Behavior, conn.Dial, error) {
	if b.dialError != nil {
		b.dialError()
	}
}

// send sends p to any node, whatever comes of it.
func send(a *agent.Behavior, p []byte) { _ = a.Send(router.ToService(70), 1, p) }

// handler is a handler that breaks the rules.
type handler struct {
	message func(a *agent.Handler, m *conn.Message)
	close   func(a *agent.Handler)
}

func (h *handler) OnMessage(a *agent.Handler, m *conn.Message) {
	if h.message != nil {
		h.message(a, m)
	}
}
func (h *handler) OnClose(a *agent.Handler, _ error) {
	if h.close != nil {
		h.close(a)
	}
}

// handlers makes a behaviour with a handler on every connection.
func handlers(h handler) *bad {
	return &bad{connect: func(*agent.Behavior, conn.Info) behavior.Handler { return &handler{h.message, h.close} }}
}

// badPart is a part that breaks the rules, and its behaviour.
type badPart struct {
	bad
	take func(a *agent.Behavior, m *conn.Message) bool
	part func(hook string)
}

func (p *badPart) Parts() []behavior.Part                           { return []behavior.Part{p} }
func (p *badPart) PartStart(*agent.Behavior)                        { p.hook("start") }
func (p *badPart) PartStop(*agent.Behavior)                         { p.hook("stop") }
func (p *badPart) PartDisconnect(*agent.Behavior, conn.Info, error) { p.hook("disconnect") }
func (p *badPart) PartReport(*agent.Behavior, agent.Report)         { p.hook("report") }
func (p *badPart) hook(name string) {
	if p.part != nil {
		p.part(name)
	}
}
func (p *badPart) Take(a *agent.Behavior, m *conn.Message) bool { return p.take != nil && p.take(a, m) }

// Behaviours with methods that are not callbacks.
type misspelt struct{ bad }

func (*misspelt) OnConnected(*agent.Behavior) {}

type badHandler struct{ handler }

func (*badHandler) OnTell() {}

// deaf has no OnEvent.
type deaf struct{}

func (deaf) OnMessage(a *agent.Behavior, m *conn.Message) { _ = a.Tell(m.Kind) }

// untick has OnTick without an interval.
type untick struct{}

func (untick) OnMessage(*agent.Behavior, *conn.Message) {}
func (untick) OnTick(*agent.Behavior, time.Time)        {}

// A case is a behaviour and what must be found.
type badCase struct {
	name  string
	rule  string
	says  string // a part of the finding
	fresh func() behavior.Behavior
}

var lifeCases = []badCase{
	{"misspelt callback", ruleCheck, "OnConnected", func() behavior.Behavior { return &misspelt{} }},
	{"misspelt callback of a handler", ruleCheck, "OnTell", func() behavior.Behavior {
		return &bad{connect: func(*agent.Behavior, conn.Info) behavior.Handler { return &badHandler{} }}
	}},
	{"long name", ruleDescribe, "65 bytes", func() behavior.Behavior { return &bad{info: behavior.Info{Name: strings.Repeat("x", 65)}} }},
	{"negative queue", ruleDescribe, "negative", func() behavior.Behavior { return &bad{info: behavior.Info{MaxQueue: -1}} }},
	{"changing description", ruleDescribe, "then", func() behavior.Behavior { return &bad{info: behavior.Info{Version: rand.Uint32()}} }},
	{"OnTick without interval", ruleDescribe, "OnTick never runs", func() behavior.Behavior { return untick{} }},
	{"failing start", ruleStart, "no luck", func() behavior.Behavior {
		return &bad{start: func(*agent.Behavior) error { return errors.New("no luck") }}
	}},
	{"events without OnEvent", ruleEvents, "tell", func() behavior.Behavior { return deaf{} }},
	{"timers of handlers without OnEvent", ruleEvents, "after 1s 1", func() behavior.Behavior {
		return handlers(handler{message: func(a *agent.Handler, _ *conn.Message) { a.After(time.Second, 1) }})
	}},
	{"stop without start", rulePanic, "OnStop panicked (OnStop without OnStart", func() behavior.Behavior {
		var quit chan int
		return &bad{start: func(*agent.Behavior) error { quit = make(chan int); return nil }, stop: func() { close(quit) }}
	}},
	{"stop twice", rulePanic, "OnStop panicked (OnStop twice", func() behavior.Behavior {
		quit := make(chan int)
		return &bad{stop: func() { close(quit) }}
	}},
	{"disconnect of an unknown connection", rulePanic, "OnDisconnect panicked (OnDisconnect of a connection that never was", func() behavior.Behavior {
		known := map[identity.ConnID]*int{}
		return &bad{
			connect:    func(_ *agent.Behavior, c conn.Info) behavior.Handler { known[c.ID] = new(int); return nil },
			disconnect: func(_ *agent.Behavior, c conn.Info) { *known[c.ID]++ },
		}
	}},
	{"state per connection", ruleGrowth, "connections of 6 nodes came and went, and left", func() behavior.Behavior {
		known := map[identity.ConnID]bool{}
		return &bad{connect: func(_ *agent.Behavior, c conn.Info) behavior.Handler { known[c.ID] = true; return nil }}
	}},
	{"list of connections", ruleGrowth, "connections of 6 nodes came and went, and left", func() behavior.Behavior {
		var known []identity.ConnID
		return &bad{connect: func(_ *agent.Behavior, c conn.Info) behavior.Handler { known = append(known, c.ID); return nil }}
	}},
	{"goroutines that stay", ruleGoroutines, "of them", func() behavior.Behavior {
		return &bad{start: func(a *agent.Behavior) error {
			go func() {
				<-a.Context().Done()
				time.Sleep(time.Minute)
			}()
			return nil
		}}
	}},
}

var blockCases = []badCase{
	{"sleep", ruleBlock, "OnMessage(kind ", func() behavior.Behavior {
		return &bad{message: func(*agent.Behavior, *conn.Message) { time.Sleep(time.Second) }}
	}},
	{"block for ever", ruleBlock, "OnTick blocks for ever", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) { <-a.Context().Done() }}
	}},
	{"handler sleeps", ruleBlock, "handler's OnClose blocked for 5ms", func() behavior.Behavior {
		return handlers(handler{close: func(*agent.Handler) { time.Sleep(5 * time.Millisecond) }})
	}},
	{"part sleeps", ruleBlock, "Take(kind", func() behavior.Behavior {
		return &badPart{take: func(*agent.Behavior, *conn.Message) bool { time.Sleep(time.Nanosecond); return true }}
	}},
	{"Do in a callback", ruleBlock, "OnTick called Do of its agent", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) { _ = a.Do(a.Context(), func() {}) }}
	}},
	{"Post in a callback", ruleBlock, "OnConnect called Post of its agent", func() behavior.Behavior {
		return &bad{connect: func(a *agent.Behavior, c conn.Info) behavior.Handler { _ = a.Post(a.Context(), c.ID); return nil }}
	}},
	{"SendWait in a callback", ruleBlock, "blocks for ever (everything after OnStart is refused", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) { _ = a.SendWait(a.Context(), router.ToService(70), 1, nil) }}
	}},
}

var panicCases = []badCase{
	{"trusts the length", rulePanic, "OnMessage(kind", func() behavior.Behavior {
		return &bad{message: func(_ *agent.Behavior, m *conn.Message) { _ = m.Payload[7] }}
	}},
	{"trusts a length in the payload", rulePanic, "OnMessage(kind 3,", func() behavior.Behavior {
		return &bad{
			tick: func(a *agent.Behavior) { _ = a.Send(router.ToService(70), 3, []byte{2, 'h', 'i'}) },
			message: func(a *agent.Behavior, m *conn.Message) {
				if m.Kind == 3 && len(m.Payload) > 2 && m.Payload[1] == 'h' {
					_ = m.Payload[1 : 1+m.Payload[0] : len(m.Payload)]
				}
			},
		}
	}},
	{"trusts reserved kinds", rulePanic, "OnMessage(kind 65", func() behavior.Behavior {
		return &bad{message: func(_ *agent.Behavior, m *conn.Message) {
			if m.Kind >= conn.KindReserved && m.Kind < conn.KindReserved+16 {
				panic("never happens")
			}
		}}
	}},
	{"handler trusts", rulePanic, "handler's OnMessage(kind", func() behavior.Behavior {
		return handlers(handler{message: func(_ *agent.Handler, m *conn.Message) { _ = m.Payload[100] }})
	}},
	{"part trusts", rulePanic, "Take(kind", func() behavior.Behavior {
		return &badPart{take: func(_ *agent.Behavior, m *conn.Message) bool { return m.Payload[100] == 1 }}
	}},
	{"part cannot stop twice", rulePanic, "PartStop panicked", func() behavior.Behavior {
		stopped := false
		return &badPart{part: func(hook string) {
			if hook != "stop" {
				return // others come from any goroutine
			}
			if stopped {
				panic("twice")
			}
			stopped = true
		}}
	}},
	{"part trusts reports", rulePanic, "PartReport panicked", func() behavior.Behavior {
		return &badPart{part: func(hook string) {
			if hook == "report" {
				panic("whose?")
			}
		}}
	}},
	{"notifies handlers that are not there", rulePanic, "OnTick panicked (life with seed 0): no event: agent: no handler", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) {
			for _, c := range a.Conns() {
				if err := a.Notify(c.ID, 0); errors.Is(err, agent.ErrNoHandler) {
					panic("no event: " + err.Error())
				}
			}
		}}
	}},
	{"dials never fail", rulePanic, "OnDialError panicked", func() behavior.Behavior { return &bad{dialError: func() { panic("why") }} }},
	{"refusals never happen", rulePanic, "OnTick panicked (", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) {
			if err := a.Send(router.ToService(70), 1, nil); err != nil {
				panic(err)
			}
		}}
	}},
}

var otherCases = []badCase{
	{"time.Now", ruleDeterminism, "after OnTick", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) { send(a, []byte(time.Now().String())) }}
	}},
	{"math/rand", ruleDeterminism, "after OnConnect", func() behavior.Behavior {
		return &bad{connect: func(a *agent.Behavior, _ conn.Info) behavior.Handler {
			send(a, []byte{byte(rand.Uint32()), byte(rand.Uint32())})
			return nil
		}}
	}},
	{"map order", ruleDeterminism, "after OnTick", func() behavior.Behavior {
		peers := map[identity.ConnID]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true}
		return &bad{tick: func(a *agent.Behavior) {
			for id := range peers {
				_ = a.Notify(id, 0)
			}
		}}
	}},
	{"AfterFunc", ruleTime, "send service:70", func() behavior.Behavior {
		return &bad{start: func(a *agent.Behavior) error {
			timer := time.AfterFunc(time.Minute, func() { send(a, nil) })
			context.AfterFunc(a.Context(), func() { timer.Stop() })
			return nil
		}}
	}},
	{"keeps the payload", ruleRetain, "OnTick used an earlier message", func() behavior.Behavior {
		var kept []byte
		return &bad{
			message: func(_ *agent.Behavior, m *conn.Message) { kept = m.Payload },
			tick:    func(a *agent.Behavior) { send(a, kept) },
		}
	}},
	{"keeps the message", ruleRetain, "kind=23771", func() behavior.Behavior {
		kept := &conn.Message{}
		return &bad{
			message: func(_ *agent.Behavior, m *conn.Message) { kept = m },
			tick:    func(a *agent.Behavior) { _ = a.Send(router.ToNode(kept.From), kept.Kind, nil) },
		}
	}},
	{"handler tells the payload", ruleRetain, "OnEvent([]uint8) carries a message", func() behavior.Behavior {
		b := handlers(handler{message: func(a *agent.Handler, m *conn.Message) { _ = a.Tell(m.Payload) }})
		return b
	}},
	{"handler keeps the payload", ruleRetain, "used an earlier message", func() behavior.Behavior {
		var kept []byte
		return handlers(handler{message: func(a *agent.Handler, m *conn.Message) {
			_ = a.Reply(1, kept)
			kept = m.Payload
		}})
	}},
	{"sends until it succeeds", ruleLoop, "OnTick asked for more than 2000 operations", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) {
			for a.Send(router.ToService(70), 1, nil) != nil {
			}
		}}
	}},
	{"events without end", ruleLoop, "OnEvent(int)", func() behavior.Behavior {
		return &bad{
			tick:  func(a *agent.Behavior) { _ = a.Tell(1) },
			event: func(a *agent.Behavior, ev any) { _ = a.Tell(ev) },
		}
	}},
	{"timers of zero", ruleLoop, "delay of 0", func() behavior.Behavior {
		return &bad{
			tick:  func(a *agent.Behavior) { a.After(0, 1) },
			event: func(a *agent.Behavior, ev any) { a.After(0, ev) },
		}
	}},
	{"dials again at once", ruleLoop, "OnTick asked", func() behavior.Behavior {
		return &bad{tick: func(a *agent.Behavior) {
			for a.Dial(identity.PeerAddress{ID: identity.NodeID{1}}) != nil {
			}
		}}
	}},
}

// TestBad: each bad behaviour is found out, by the rule that it breaks.
func TestBad(t *testing.T) {
	for group, cases := range map[string][]badCase{"life": lifeCases, "block": blockCases, "panic": panicCases, "other": otherCases} {
		for _, c := range cases {
			t.Run(group+"/"+c.name, func(t *testing.T) {
				through := plays
				if c.rule != ruleGrowth {
					t.Parallel() // what others do disturbs measurements of growth
					through = plays[:len(plays)-1]
				}
				found := inspect(t, subject{fresh: c.fresh}, through, patience)
				says := strings.Join(found.details[c.rule], "\n")
				if !strings.Contains(says, c.says) {
					t.Errorf("rule %s: got %q, want %q in it; all findings:\n%v", c.rule, says, c.says, found.details)
				}
				for rule, details := range found.details {
					if rule != c.rule {
						t.Logf("also found, by rule %s: %s", rule, details[0])
					}
				}
			})
		}
	}
}

// TestGivenUp: a callback that waits for what is outside of its bubble is given up
// after the patience, and the test goes on.
func TestGivenUp(t *testing.T) {
	release := make(chan int)
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	found := inspect(t, subject{fresh: func() behavior.Behavior {
		return &bad{tick: func(*agent.Behavior) { <-release }}
	}}, plays, 200*time.Millisecond)
	if says := strings.Join(found.details[ruleBlock], "\n"); !strings.Contains(says, "given up after 200ms") || !strings.Contains(says, "(*bad).OnTick") {
		t.Errorf("got %q, want that it was given up, and where it hangs", says)
	}
	once.Do(func() { close(release) })
	for len(bubbles()) > 0 { // what was given up ends after all
		runtime.Gosched()
	}
}

// bubbles returns the stacks of goroutines in bubbles.
func bubbles() (in []string) {
	for _, g := range goroutines() {
		if bubbleName.MatchString(g) {
			in = append(in, g)
		}
	}
	return in
}
