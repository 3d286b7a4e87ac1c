package routertest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
)

func noAllocation(f *fixture) {
	if f.can&learner != 0 {
		f.populate()
		f.SetLocal([]identity.ServiceID{1})
	}
	count := func(what string, lookup func(i int)) {
		i := 0
		if n := testing.AllocsPerRun(100, func() { lookup(i % 40); i++ }); n > 0 {
			f.errorf("%s allocates %v times", what, n)
		}
	}
	var nodes [40]identity.NodeID
	var keys [40]identity.Key
	for i := range nodes {
		nodes[i], keys[i] = node(i), key(i)
	}
	count("PathToNode", func(i int) { f.PathToNode(nodes[i], identity.ConnID(i%4)) })
	count("PathToKey", func(i int) { f.PathToKey(keys[i], identity.ConnID(i%4)) })
	count("PathToService", func(i int) { f.PathToService(identity.ServiceID(i%7), identity.ConnID(i%4)) })
	if f.can&resolver != 0 {
		count("ResolveService", func(i int) { f.ResolveService(identity.ServiceID(i % 7)) })
	}
}

// churn replaces the link to node 1 over and over, the new one added before the
// old one is removed, and whatever else makes the writer work. After removing a
// connection it tells the lowest that is left.
func (f *fixture) churn(crowd, steps int, lowest func(identity.ConnID)) {
	for i := 1; i <= crowd; i++ {
		f.link(identity.ConnID(i), node(i+1), 2)
	}
	next := identity.ConnID(crowd + 1)
	f.link(next, node(1), 1)
	lowest(next)
	for i := range steps {
		f.link(next+1, node(1), 1, 3)
		f.RemoveLink(next)
		next++
		lowest(next)
		f.SetLocal([]identity.ServiceID{identity.ServiceID(4 + i%2)})
		if f.can&directory != 0 {
			f.SetNode(node(1000+i%50), []identity.ServiceID{1, 2, 6})
			f.RemoveNode(node(1000 + (i+25)%50))
		}
	}
	for i := 1; i <= crowd; i++ {
		f.RemoveLink(identity.ConnID(i))
	}
	f.RemoveLink(next)
}

func concurrent(f *fixture) {
	var lowest, done atomic.Uint64 // connections to node 1 below lowest are gone
	started := make(chan struct{})
	start := sync.OnceFunc(func() { close(started) })
	defer start() // lets the readers go should the table panic
	defer done.Store(1)
	var mu sync.Mutex // guards f.problems
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			<-started
			for i := 0; done.Load() == 0; i++ {
				min := identity.ConnID(lowest.Load())
				problem := ""
				if a := f.PathToNode(node(1), 0); done.Load() == 0 && a.Conn() < min {
					problem = fmt.Sprintf("PathToNode = %v while every connection to the node is %d or later", a, min)
				}
				if a := f.PathToService(1, 0); done.Load() == 0 && a.Conn() < min {
					problem = fmt.Sprintf("PathToService = %v while every connection to its only neighbour is %d or later", a, min)
				}
				if f.PathToKey(key(i), 7).IsReject() {
					problem = "PathToKey = reject"
				}
				f.PathToNode(node(i), 0)
				f.PathToService(identity.ServiceID(i%8), 3)
				if f.can&resolver != 0 {
					f.ResolveService(identity.ServiceID(i % 8))
				}
				if problem != "" {
					mu.Lock()
					f.errorf("%s", problem)
					mu.Unlock()
				}
				if i%16 == 0 {
					runtime.Gosched() // the writer too, where there is one processor
				}
			}
		})
	}
	// The links end within churn, so the readers are told before.
	const steps = 300
	n := 0
	f.churn(64, steps, func(id identity.ConnID) {
		lowest.Store(uint64(id))
		start()
		if n++; n > steps {
			done.Store(1)
			readers.Wait()
		}
		runtime.Gosched()
	})
}

// noLock looks for lookups in the runtime's record of goroutines that waited
// for a lock or channel.
func noLock(f *fixture) {
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	before := waits()
	var done atomic.Bool
	var lookups atomic.Int64
	var reader sync.WaitGroup
	reader.Go(func() {
		for k := key(0); !done.Load(); k[0]++ {
			f.PathToNode(node(1), 0)
			f.PathToKey(k, 0)
			f.PathToService(1, 0)
			lookups.Add(1)
		}
	})
	// Long enough for a lock to show, as far as the machine lets both run.
	const enough, patience = 20_000, time.Second
	found := false
	for start := time.Now(); !found && lookups.Load() < enough && time.Since(start) < patience; {
		f.churn(8, 8, func(identity.ConnID) {})
		for name, n := range waits() {
			found = found || n > before[name]
		}
	}
	done.Store(true)
	reader.Wait()
	for name, n := range waits() {
		if n > before[name] {
			f.errorf("%s waited for a lock or channel while links came and went", name)
		}
	}
}

// waits counts, by name, how often lookups have waited in this process.
func waits() map[string]int64 {
	var records []runtime.BlockProfileRecord
	for n, ok := 64, false; !ok; {
		records = make([]runtime.BlockProfileRecord, n)
		n, ok = runtime.BlockProfile(records)
		if ok {
			records = records[:n]
		} else {
			n *= 2
		}
	}
	count := map[string]int64{}
	for _, r := range records {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			for _, m := range [...]string{".PathToNode", ".PathToKey", ".PathToService"} {
				if strings.HasSuffix(frame.Function, m) {
					count[frame.Function] += r.Count
				}
			}
		}
	}
	return count
}
