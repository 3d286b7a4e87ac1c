package behaviortest

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f in a bubble of its own. false: it was given up, since no callback
// had returned for as long as patience.
func bubble(t *testing.T, found *findings, name string, patience time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				burst(found, name, p)
			}
		}()
		synctest.Test(t, func(*testing.T) {
			defer func() {
				if p := recover(); p != nil {
					found.add(rulePanic, "%s: panic outside of callbacks: %v\n%s", name, p, debug.Stack())
				}
			}()
			f()
		})
	}()
	ticker := time.NewTicker(patience)
	defer ticker.Stop()
	for before := found.calls.Load(); ; before = found.calls.Load() {
		select {
		case <-done:
			return true
		case <-ticker.C:
		}
		if found.calls.Load() == before {
			found.add(ruleBlock, "%s: given up after %v: a callback, or fresh, runs for ever, holds a lock for ever, or waits for something outside of the bubble, as a channel made by the test%s",
				name, patience, stuck())
			return false
		}
	}
}

// burst deals with the panic of a bubble that goroutines remain in.
func burst(found *findings, name string, p any) {
	if err, ok := p.(error); ok && strings.HasPrefix(err.Error(), "deadlock:") {
		if !found.broken() { // else they were told of, or are those of a callback that blocks
			found.add(ruleGoroutines, "%s: goroutines remain", name)
		}
		return
	}
	found.add(rulePanic, "%s: %v", name, p)
}

// stuck describes the goroutine of a callback that does not return.
func stuck() string {
	for _, g := range goroutines() {
		if strings.Contains(g, inCallback) {
			return ":\n" + trim(g)
		}
	}
	return ""
}

// goroutines returns the stacks of all goroutines, that of the caller first.
func goroutines() []string {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) && n < 16<<20 {
		buf = make([]byte, 2*n)
		n = runtime.Stack(buf, true)
	}
	return strings.Split(string(buf[:n]), "\n\n")
}

// bubbleName finds the bubble in the first line of a goroutine's stack.
var bubbleName = regexp.MustCompile(`^[^\n]*, (synctest bubble \d+)\]`)

// leftovers returns the stacks of the goroutines in the caller's bubble, but for
// the caller and the framework.
func leftovers() []string {
	all := goroutines()
	own := bubbleName.FindStringSubmatch(all[0])
	if own == nil {
		return nil
	}
	var left []string
	for _, g := range all[1:] {
		name := bubbleName.FindStringSubmatch(g)
		framework := strings.Contains(g, "testing/synctest.Test(") || strings.Contains(g, "testing/synctest.testingSynctestTest(")
		if name != nil && name[1] == own[1] && !framework {
			left = append(left, trim(g))
		}
	}
	return left
}

// trim shortens a stack to its first frames.
func trim(stack string) string {
	lines := strings.Split(strings.TrimSpace(stack), "\n")
	const most = 13
	if len(lines) > most {
		lines = append(lines[:most], "\t...")
	}
	return strings.Join(lines, "\n")
}

// panicked describes a panic and where it was raised.
func panicked(p any, stack []byte) string {
	_, raised, ok := strings.Cut(string(stack), "panic(")
	if _, frames, cut := strings.Cut(raised, "\n"); ok && cut {
		_, raised, _ = strings.Cut(frames, "\n") // without the line of panic itself
	}
	if i := strings.Index(raised, inCallback); i >= 0 {
		raised = raised[:strings.LastIndexByte(raised[:i], '\n')+1]
	}
	if err, ok := p.(error); ok && errors.As(err, new(runtime.Error)) {
		p = err.Error()
	}
	return fmt.Sprintf("%v\n%s", p, trim(raised))
}
