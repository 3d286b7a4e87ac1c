package main

import (
	"time"

	"github.com/plexus-net/plexus/behaviors/discovery"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
)

// A member is a node of the example. The one in a tab and those outside are made of
// the same parts.
type member struct {
	*network.Node
	meter     *Meter
	discovery *discovery.Discovery
}

// limits have nodes dial again soon: whoever pulls a cable is looking.
var limits = network.Limits{DialBackoff: 20 * time.Millisecond, DialBackoffMax: 200 * time.Millisecond}

// parts is what differs between members.
type parts struct {
	transports []conn.Transport
	seeds      []identity.PeerAddress
	leaf       bool // nobody can dial it
	meter      *Meter
}

// newMember makes a node with a key of its own.
func newMember(p parts) (*member, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	var table interface {
		router.Table
		router.Directory
	} = kademlia.New(key.ID())
	if p.leaf {
		table = newLeaf(key.ID())
	}
	m := &member{meter: p.meter}
	m.Node, err = network.New(network.Config{Key: key, Router: table, Transports: p.transports, Network: "plexus-tab", Durable: true, Limits: limits})
	if err != nil {
		return nil, err
	}
	m.discovery = discovery.New(discovery.Config{Key: key, Seeds: p.seeds, Services: m.Services, Directory: table})
	if err := m.Register(discovery.Service, m.discovery); err != nil {
		return nil, err
	}
	return m, m.Register(service, m.meter)
}
