package network

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A roster is a list of slots, in the order in which they came, that is read
// without a lock. The zero roster is empty.
type roster struct {
	mu   sync.Mutex // held by those who change list
	list atomic.Pointer[[]*slot]
}

func (r *roster) all() []*slot {
	if p := r.list.Load(); p != nil {
		return *p
	}
	return nil
}

func (r *roster) add(s *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	longer := append(r.all(), s) // whoever reads the old list does not look beyond its end
	r.list.Store(&longer)
}

func (r *roster) remove(s *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.all(), s); i >= 0 {
		shorter := slices.Delete(slices.Clone(r.all()), i, i+1)
		r.list.Store(&shorter)
	}
}
