package network

import "sync"

// A group counts the goroutines of a node. It is a sync.WaitGroup that can be
// waited for with others.
type group struct {
	mu    sync.Mutex // guards the rest
	n     int
	empty chan struct{} // closed when n becomes 0; nil: nobody has asked
}

func (g *group) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n += n
}

func (g *group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// idle returns a channel that is closed once the group is empty.
func (g *group) idle() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		return closedReady
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	return g.empty
}
