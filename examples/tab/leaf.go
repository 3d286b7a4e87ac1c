package main

import (
	"slices"
	"sync/atomic"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
)

// A leaf is the routing table of a node that nobody can dial, such as a tab. It is
// Kademlia, which hands a message only to a node that is closer to where it goes.
// That takes connections all over the key space, and a leaf has but those that it
// has made: what it sends itself, and knows no closer node for, goes over the
// oldest of them. What comes in from others it does not hand on in this way, so
// that nothing goes round.
type leaf struct {
	*kademlia.Table
	links  []identity.ConnID // as they came; the node calls AddLink and RemoveLink one at a time
	oldest atomic.Uint64     // the lowest of links; 0: there is none
}

var (
	_ router.Learner   = (*leaf)(nil)
	_ router.Directory = (*leaf)(nil)
	_ router.Resolver  = (*leaf)(nil)
)

func newLeaf(self identity.NodeID) *leaf { return &leaf{Table: kademlia.New(self)} }

// AddLink notes a connection.
func (l *leaf) AddLink(link router.Link) {
	l.Table.AddLink(link)
	if !slices.Contains(l.links, link.Conn) {
		l.links = append(l.links, link.Conn)
	}
	l.oldest.Store(uint64(slices.Min(l.links)))
}

// RemoveLink forgets a connection.
func (l *leaf) RemoveLink(id identity.ConnID) {
	l.links = slices.DeleteFunc(l.links, func(c identity.ConnID) bool { return c == id })
	var oldest identity.ConnID
	if len(l.links) > 0 {
		oldest = slices.Min(l.links)
	}
	l.oldest.Store(uint64(oldest)) // before the table forgets it: nothing may go there any more
	l.Table.RemoveLink(id)
}

// PathToNode finds the way to a node.
func (l *leaf) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	if a := l.Table.PathToNode(dest, in); !a.IsReject() || in != 0 {
		return a
	}
	return router.Forward(identity.ConnID(l.oldest.Load()))
}
