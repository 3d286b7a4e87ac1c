package main

import (
	"fmt"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/conn/unix"
	"github.com/plexus-net/plexus/conn/webtransport"
	"github.com/plexus-net/plexus/conn/ws"
)

// transports returns all that a node of its own may listen with and dial.
func transports() []conn.Transport {
	return []conn.Transport{quic.New(), tcp.New(), tcp.NewPlain(tcp.Config{}), ws.New(), webtransport.New(), kcp.New(), unix.New()}
}

// loopbacks are the transports that up may use: not Unix sockets, whose addresses
// nodes do not tell each other.
var loopbacks = []string{"quic", "tcp", "tcp+plain", "ws", "wt", "kcp", "mem"}

// A loopback makes transports for the nodes of one process.
type loopback struct {
	name string
	mem  *mem.Network
}

// next returns a transport and an address to listen at for node i.
func (l *loopback) next(i int) (conn.Transport, string) {
	switch l.name {
	case "tcp":
		return tcp.New(), "tcp://127.0.0.1:0"
	case "tcp+plain":
		return tcp.NewPlain(tcp.Config{}), "tcp+plain://127.0.0.1:0"
	case "ws":
		return ws.New(), "ws://127.0.0.1:0"
	case "wt":
		return webtransport.New(), "wt://127.0.0.1:0"
	case "kcp":
		return kcp.New(), "kcp://127.0.0.1:0"
	case "mem":
		return l.mem.Transport(), fmt.Sprintf("mem://node%d", i+1)
	}
	return quic.New(), "quic://127.0.0.1:0"
}
