package network

import (
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// note tells the environment, if it wants to know, of a callback that is about
// to run. l is the connection that it is about, nil if it is about none.
func (n *Node) note(s identity.ServiceID, callback string, l *link) {
	if n.trace == nil {
		return
	}
	c := env.Call{Service: uint16(s), Callback: callback}
	if l != nil {
		c.Conn, c.Node = uint64(l.id), l.node
	}
	n.trace.Call(c)
}

// noteMessage is note for messages.
func (n *Node) noteMessage(s identity.ServiceID, m *conn.Message) {
	n.trace.Call(env.Call{Service: uint16(s), Callback: nameMessage, Conn: uint64(m.Conn), Node: m.From, Kind: uint32(m.Kind), Size: len(m.Payload)})
}
