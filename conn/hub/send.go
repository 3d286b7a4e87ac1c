package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
)

// Send sends a copy of p to a member, and waits for room in the buffer of its
// endpoint until ctx ends. See [endpoint.Endpoint.Send] for what a nil error means;
// what else endpoints can do, [Hub.Peer] leads to.
func (h *Hub) Send(ctx context.Context, to identity.NodeID, p []byte) error {
	m, err := h.target(to)
	if err != nil {
		return err
	}
	return m.ep.Send(ctx, p)
}

// target returns a member to send to.
func (h *Hub) target(to identity.NodeID) (*member, error) {
	if h.closing.Load() {
		return nil, errClosed
	}
	m := h.member(to)
	if m == nil {
		return nil, notMember(to)
	}
	return m, nil
}

// Broadcast sends a copy of p to the members given, or to all if none is given. It
// waits for room with those that have none, until ctx ends; the others have got it
// then already. Where it did not work, the error is a [*BroadcastError].
func (h *Hub) Broadcast(ctx context.Context, p []byte, to ...identity.NodeID) error {
	full, errs := h.tryAll(p, to)
	if len(full) == 1 {
		errs.add(full[0].id, full[0].ep.Send(ctx, p))
		return errs.result()
	}
	var sending group
	for _, m := range full {
		sending.add()
		h.env.Go(func() {
			defer sending.done()
			errs.add(m.id, m.ep.Send(ctx, p))
		})
	}
	if len(full) > 0 {
		h.env.Wait(sending.idle(), nil, nil) // they heed ctx
	}
	return errs.result()
}

// TryBroadcast is Broadcast that does not wait: members whose buffer has no room
// do not get p, and have [endpoint.ErrFull] in the error.
func (h *Hub) TryBroadcast(p []byte, to ...identity.NodeID) error {
	full, errs := h.tryAll(p, to)
	for _, m := range full {
		errs.add(m.id, endpoint.ErrFull)
	}
	return errs.result()
}

// tryAll sends to whoever has room, and returns those who have none.
func (h *Hub) tryAll(p []byte, to []identity.NodeID) (full []*member, errs *failures) {
	errs = &failures{}
	try := func(m *member) {
		if err := m.ep.TrySend(p); err == endpoint.ErrFull {
			full = append(full, m)
		} else {
			errs.add(m.id, err)
		}
	}
	if len(to) == 0 {
		for _, m := range h.members.Load().order {
			if h.closing.Load() {
				errs.add(m.id, errClosed)
				continue
			}
			try(m)
		}
		return full, errs
	}
	for _, id := range to {
		if m, err := h.target(id); err != nil {
			errs.add(id, err)
		} else {
			try(m)
		}
	}
	return full, errs
}

// failures are the errors of a broadcast.
type failures struct {
	mu   sync.Mutex // guards errs
	errs map[identity.NodeID]error
}

func (f *failures) add(id identity.NodeID, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.errs == nil {
		f.errs = map[identity.NodeID]error{}
	}
	f.errs[id] = err
}

func (f *failures) result() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == 0 {
		return nil
	}
	return &BroadcastError{Errs: f.errs}
}

// A BroadcastError says which members did not get a message, and why. The others
// got it.
type BroadcastError struct {
	Errs map[identity.NodeID]error // not empty
}

func (e *BroadcastError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hub: %d did not get the message", len(e.Errs))
	for i, id := range e.ids() {
		if i == 3 {
			b.WriteString("; ...")
			break
		}
		fmt.Fprintf(&b, "; %s: %v", id.Short(), e.Errs[id])
	}
	return b.String()
}

// Unwrap returns the errors, by ID.
func (e *BroadcastError) Unwrap() []error {
	var errs []error
	for _, id := range e.ids() {
		errs = append(errs, e.Errs[id])
	}
	return errs
}

func (e *BroadcastError) ids() []identity.NodeID {
	return slices.SortedFunc(maps.Keys(e.Errs), identity.NodeID.Compare)
}
