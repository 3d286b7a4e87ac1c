package raw

// Tallies is how many prefixes have connections that are counted, and how many of
// those count as coming in.
func Tallies(n *Node) (prefixes, coming int) {
	l := n.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.prefixes {
		coming += t.coming
	}
	return len(l.prefixes), coming
}
