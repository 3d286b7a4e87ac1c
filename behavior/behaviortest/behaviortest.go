// Package behaviortest checks a behaviour against the rules that hold for all of
// them, as testing/slogtest does for log handlers:
//
//	func TestRules(t *testing.T) {
//		behaviortest.Run(t, func() behavior.Behavior { return chat.New(chat.Config{}) })
//	}
//
// It plays the part of the runtime, without a network: it connects and
// disconnects peers, delivers hostile messages, lets timers fire, refuses what the
// behaviour asks for, and stops it; to the behaviour, its parts and its handlers.
// What breaks a rule fails the subtest named after the rule, and says which
// callback it was. The subtests are
//
//	check        callbacks have the names and signatures that the runtime looks for
//	describe     Describe is constant and within its limits
//	start        OnStart succeeds
//	block        callbacks do not block
//	panic        no message and no order of events makes a callback panic
//	determinism  the same seed gives the same operations
//	time         nothing is done by timers of package time
//	retain       messages are not kept after the callback
//	loop         refused requests and events do not go round for ever
//	events       who asks for events receives them
//	goroutines   goroutines end with the context of the agent
//	growth       what is kept for a connection goes with it
//
// # How it finds out
//
// Everything runs in bubbles of testing/synctest. There a callback that blocks is
// one that makes the bubble's time pass; one that waits for something outside, or
// runs for ever, is given up when 20 seconds of real time bring no progress. What
// plays is drawn from a fixed seed. It plays several times, at different times of
// the bubble's clock but the same time of the agent's, and compares every
// operation. After a callback its message is overwritten, and what is sent later is
// searched for that. Parts are also called on several goroutines at once: run tests
// with -race to see what that breaks.
//
// Hostile messages are random bytes, well-formed msgpack and JSON of unexpected
// types, and mutations of what the behaviour itself sends: its own protocol. A
// behaviour that answers only what it never sends is reached better by examples of
// valid messages.
//
// # What it asks of the behaviour
//
// The function passed to [Run] makes a new behaviour each time, inside the bubble.
// One that needs the outside world (files, sockets, databases) is given a fake of
// it. It must not be called in a bubble of the caller's.
package behaviortest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
)

// Run checks the behaviours that fresh makes, each a new one, and fails t with the
// rules that they break. Examples are valid messages of the behaviour's protocol,
// of which Kind and Payload are used, to make better hostile ones from.
func Run(t *testing.T, fresh func() behavior.Behavior, examples ...conn.Message) {
	t.Helper()
	found := inspect(t, subject{fresh, examples}, plays, patience)
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for i, detail := range found.details[rule.name] {
				if i == maxDetails {
					t.Errorf("... and %d more", found.count[rule.name]-maxDetails)
					break
				}
				t.Errorf("%s\nrule: %s", detail, rule.text)
			}
			if reason := found.skipped[rule.name]; reason != "" && !t.Failed() {
				t.Skip(reason)
			}
		})
	}
}

// patience is how long, of real time, a callback may take.
const patience = 20 * time.Second

// maxDetails bounds the failures that are shown of one rule.
const maxDetails = 3

// The names of the rules.
const (
	ruleCheck       = "check"
	ruleDescribe    = "describe"
	ruleStart       = "start"
	ruleBlock       = "block"
	rulePanic       = "panic"
	ruleDeterminism = "determinism"
	ruleTime        = "time"
	ruleRetain      = "retain"
	ruleLoop        = "loop"
	ruleEvents      = "events"
	ruleGoroutines  = "goroutines"
	ruleGrowth      = "growth"
)

// rules are what a behaviour is held to.
var rules = []struct{ name, text string }{
	{ruleCheck, "callbacks have the names and signatures that the runtime looks for: behavior.Check and behavior.CheckHandler must return nil"},
	{ruleDescribe, "Describe answers the same every time, with a name of at most 64 bytes and nothing negative"},
	{ruleStart, "OnStart of a behaviour that needs nothing but its agent returns nil"},
	{ruleBlock, "callbacks must not block: they run on a turn that messages wait for; block in a goroutine of your own, and come home with Post"},
	{rulePanic, "nothing that a remote sends, no order of events and no refusal makes a callback panic: the sender is not trusted"},
	{ruleDeterminism, "the same seed gives the same operations, or no simulator can run the behaviour: take time and randomness from the agent, never from packages time and rand, and do not act while ranging over a map"},
	{ruleTime, "time comes from the agent: After instead of time.AfterFunc, time.Ticker and time.Sleep"},
	{ruleRetain, "a message and its payload are valid until the callback returns: copy what is kept"},
	{ruleLoop, "what is refused is given up, or tried again later with After; and events do not cause each other without end"},
	{ruleEvents, "who asks for events (Tell, Post, After) has an OnEvent to receive them"},
	{ruleGoroutines, "goroutines that a behaviour or handler starts end with the context of its agent"},
	{ruleGrowth, "what is kept for a connection is dropped in OnDisconnect or OnClose: a remote may connect any number of times"},
}

// A subject is what is checked.
type subject struct {
	fresh    func() behavior.Behavior
	examples []conn.Message
}

// findings collects violations of rules.
type findings struct {
	calls   atomic.Int64 // callbacks that were called
	mu      sync.Mutex   // guards the rest
	details map[string][]string
	count   map[string]int
	skipped map[string]string
}

// add records that a rule is broken, once for each first line of the detail.
func (f *findings) add(rule, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	detail := fmt.Sprintf(format, args...)
	for _, known := range f.details[rule] {
		if firstLine(known) == firstLine(detail) {
			return
		}
	}
	f.count[rule]++
	if len(f.details[rule]) <= maxDetails {
		f.details[rule] = append(f.details[rule], detail)
	}
}

// firstLine returns the part of a detail that is the same in every run.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// broken reports whether any rule is broken.
func (f *findings) broken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.details) > 0
}

// skip records why a rule could not be checked.
func (f *findings) skip(rule, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skipped[rule] = reason
}

// inspect finds the rules that a subject breaks in plays. Callbacks that take
// longer than patience are given up.
func inspect(t *testing.T, s subject, plays []play, patience time.Duration) *findings {
	f := &findings{details: make(map[string][]string), count: make(map[string]int), skipped: make(map[string]string)}
	for _, p := range plays {
		if ok := bubble(t, f, p.name, patience, func() { p.run(f, s) }); !ok {
			break // it would happen again
		}
	}
	return f
}
