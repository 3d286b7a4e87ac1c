package testnet

import "errors"

// ErrCrashed is what [Sim.Do] returns where the node that was waited for has
// crashed.
var ErrCrashed = errors.New("testnet: the node that was waited for has crashed")

// Do calls f, which may wait for nodes that crash: f ends with the node then,
// in the middle of the call that waits, and Do returns ErrCrashed. A wait for
// such a node outside of Do ends the function that waits, as it would end a
// process on that machine.
func (s *Sim) Do(f func() error) error { return s.world.do(f) }
