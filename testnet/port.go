package testnet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
)

// A portSpan is where nodes listen: at ports that the system gives to nobody who
// asks for any. So the port of a node that has stopped is still free when it starts
// again, however many connections others open meanwhile.
type portSpan struct {
	first, count uint32 // no ports: the system chooses
	turn         atomic.Uint32
}

const (
	firstPort  = 10000 // of those that are used: below are many services that have names
	givenFirst = 32768 // of those that the system gives away, unless it says otherwise
	givenLast  = 65535
	fewPorts   = 2000 // are not enough
	portTries  = 1000
)

// ports is the span of this process. It begins anywhere in it, since there may be
// others.
var ports = sync.OnceValue(func() *portSpan {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range") // elsewhere there is none
	s := spanBeside(string(text))
	s.turn.Store(rand.Uint32())
	return s
})

// spanBeside returns the ports that the system does not give away. given is the
// first and the last of those that it does, as Linux tells them.
func spanBeside(given string) *portSpan {
	first, last := uint32(givenFirst), uint32(givenLast)
	if _, err := fmt.Sscan(given, &first, &last); err != nil || first > last || last > givenLast {
		first, last = givenFirst, givenLast
	}
	switch {
	case first >= firstPort+fewPorts:
		return &portSpan{first: firstPort, count: first - firstPort}
	case last+fewPorts <= givenLast:
		return &portSpan{first: max(last+1, firstPort), count: givenLast - max(last, firstPort-1)}
	}
	return &portSpan{}
}

// next returns a port that was not returned for as long as possible.
func (s *portSpan) next() int {
	if s.count == 0 {
		return 0
	}
	return int(s.first + s.turn.Add(1)%s.count)
}

// listenAtPort calls listen with one port after the other, until it is one that
// nobody else has.
func listenAtPort[T any](listen func(port int) (T, error)) (t T, err error) {
	for range portTries {
		if t, err = listen(ports().next()); err == nil {
			break
		}
	}
	return t, err
}
