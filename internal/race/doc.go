// Package race reaches a peer that has several addresses: it dials them
// staggered and takes the first that answers (happy eyeballs, RFC 8305, for
// addresses of any transport), and remembers what worked.
//
//	memory := race.NewMemory[identity.NodeID, identity.Address](env, race.MemoryConfig{})
//	...
//	order := memory.Order(peer, addrs, rank)
//	lost := func(i int, err error) { memory.Failed(peer, order[i]) }
//	c, i, err := race.Dial(ctx, env, race.Config{Lost: lost}, order, dial, discard)
//	if err == nil {
//		memory.Worked(peer, order[i])
//	}
//
// With two addresses, UDP blocked, and the default stagger:
//
//	0 ms    quic://  dialled
//	250 ms  tcp://   dialled beside it
//	251 ms  tcp://   answers: it has won; quic:// is cancelled, and held back
//	  ...   tcp://   is dialled first, at once
//	30 s    quic://  may try again: the next race begins with it
//
// Time, goroutines and waiting are those of an [env.Env], so that races run in
// the simulator too, to the same end every time.
package race
