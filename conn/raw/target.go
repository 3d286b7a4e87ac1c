package raw

// A target is an address with Config.OnePerAddress: at most one Connect to it is
// under way, and one connection is there.
type target struct {
	connecting bool
	conn       *Conn
}

// mayConnect reports whether a Connect to an address may begin. "" is none that
// counts. Callers hold mu, here and below.
func (n *Node) mayConnect(addr string) bool {
	t := n.targets[addr]
	return !t.connecting && (t.conn == nil || n.config.ReplaceOlder)
}

// connecting notes that a Connect begins.
func (n *Node) connecting(addr string) {
	if addr != "" {
		n.targets[addr] = target{connecting: true, conn: n.targets[addr].conn}
	}
}

// notConnecting notes that a Connect failed.
func (n *Node) notConnecting(addr string) {
	if addr != "" {
		n.setTarget(addr, target{conn: n.targets[addr].conn})
	}
}

// connected notes the connection that a Connect made, and returns the older one
// whose place it takes, if there is one.
func (n *Node) connected(c *Conn) (older *Conn) {
	if c.target == "" {
		return nil
	}
	older = n.targets[c.target].conn
	n.setTarget(c.target, target{conn: c})
	return older
}

// disconnected notes that a connection is removed.
func (n *Node) disconnected(c *Conn) {
	if t := n.targets[c.target]; t.conn == c {
		n.setTarget(c.target, target{connecting: t.connecting})
	}
}

func (n *Node) setTarget(addr string, t target) {
	if t == (target{}) {
		delete(n.targets, addr)
		return
	}
	n.targets[addr] = t
}
