package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

type upOptions struct {
	nodes     int
	length    time.Duration
	transport string
	durable   bool
	json      bool
	control   string
}

func upCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a live network of real nodes in this process",
		Long: `Run a network of real nodes in this process, each with its own key and its
own socket on loopback. All but the first know only the first; they discover
each other, keep the few connections that routing needs, four to seven each,
and talk over several hops.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.nodes < 2 || o.nodes > 256:
				return fmt.Errorf("--nodes is %d; allowed are 2 to 256", o.nodes)
			case o.length < 0:
				return fmt.Errorf("--for is %v; allowed are positive lengths such as 10s, or 0 to run until ^C", o.length)
			case !slices.Contains(loopbacks, o.transport):
				return fmt.Errorf("--transport is %q; allowed are %s", o.transport, strings.Join(loopbacks, ", "))
			}
			return up(cmd.Context(), o)
		},
	}
	c.Flags().IntVar(&o.nodes, "nodes", 16, "number of nodes, 2 to 256")
	c.Flags().DurationVar(&o.length, "for", 0, "how long to run, such as 10s; 0: until ^C")
	c.Flags().StringVar(&o.transport, "transport", "quic", strings.Join(loopbacks, ", "))
	c.Flags().BoolVar(&o.durable, "durable", false, "have connections outlive what breaks them")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object a second and a last one with totals")
	c.Flags().StringVar(&o.control, "control", defaultControl(), "control socket of the first node")
	return c
}

// A member is one node of the network, and what it has seen.
type member struct {
	*plexus.Node
	demo   *demo
	calls  atomic.Uint64
	errors atomic.Uint64
	last   atomic.Pointer[string] // the last error
}

// A swarm is the network that up runs.
type swarm struct {
	opts    upOptions
	members []*member
	began   time.Time

	ready chan struct{} // closed once every node knows every other, and a way to it

	mu   sync.Mutex // guards rtts
	rtts []time.Duration
}

// up runs the network until ctx ends or the time is up.
func up(ctx context.Context, o upOptions) error {
	s := &swarm{opts: o, began: time.Now(), ready: make(chan struct{})}
	defer s.close()
	if err := s.start(ctx); err != nil {
		return err
	}
	ctl, err := serveControl(o.control, &controlled{Node: s.members[0].Node, demo: s.members[0].demo})
	if err != nil {
		fmt.Fprintln(os.Stderr, "plexus: no control socket:", err)
	} else {
		defer ctl.close()
	}
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	var work sync.WaitGroup
	work.Go(func() { s.form(ctx) })
	for i := range s.members {
		work.Go(func() { s.talk(ctx, i) })
	}
	s.report(ctx, newScreen(o.json, ctl))
	work.Wait()
	return nil
}

// start starts the nodes, the first one first.
func (s *swarm) start(ctx context.Context) error {
	lo := loopback{s.opts.transport, mem.NewNetwork()}
	for i := range s.opts.nodes {
		t, address := lo.next(i)
		cfg := plexus.Config{Transports: []conn.Transport{t}, Listen: []string{address}, Durable: s.opts.durable}
		if i > 0 {
			cfg.Join = []string{s.members[0].PeerAddress().String()}
		}
		// Nodes end with close, not with ctx: the last report is of a live network.
		n, err := plexus.Start(context.WithoutCancel(ctx), cfg)
		if err != nil {
			return err
		}
		m := &member{Node: n, demo: newDemo()}
		s.members = append(s.members, m)
		err = n.Register(demoService, m.demo)
		if err == nil && i%4 == 0 {
			err = n.Register(clockService, newClock())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// close stops all nodes at once, within a second and a half.
func (s *swarm) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range s.members {
		wg.Go(func() { _ = m.Close(ctx) }) // what has not stopped by then ends with the process
	}
	wg.Wait()
}

// form waits until the network has formed.
func (s *swarm) form(ctx context.Context) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for !s.formed() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
	close(s.ready)
}

// formed reports whether every node knows every other, and a way to it.
func (s *swarm) formed() bool {
	for _, m := range s.members {
		if m.Discovery.Known() < len(s.members)-1 {
			return false
		}
	}
	for _, m := range s.members {
		for _, other := range s.members {
			if m.Router.PathToNode(other.Self(), 0).IsReject() {
				return false
			}
		}
	}
	return true
}

// talk is what a node does: it calls others, sends routed messages, and writes
// to the shared map.
func (s *swarm) talk(ctx context.Context, i int) {
	m := s.members[i]
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	select {
	case <-s.ready:
	case <-ctx.Done():
		return
	}
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		other := s.members[rng.IntN(len(s.members))].Self()
		m.note(ctx, m.demo.send(router.ToNode(other), "hello"))
		s.call(ctx, m, turn, router.ToNode(other), rng)
		if turn%20 == 0 {
			m.note(ctx, m.State.Set(ctx, "node/"+m.Self().Short(), []byte(fmt.Sprint(turn))))
		}
	}
}

// call calls a node, the node closest to a key, or a service, in turn.
func (s *swarm) call(ctx context.Context, m *member, turn int, to router.Route, rng *rand.Rand) {
	began := time.Now()
	var err error
	switch turn % 3 {
	case 0:
		_, err = echo.Call(ctx, &m.demo.Client, to, "hello")
	case 1:
		key := identity.KeyOf(fmt.Append(nil, rng.Uint64()))
		_, err = whoami.Call(ctx, &m.demo.Client, router.ToKey(key), "")
	default:
		_, err = clock.Call(ctx, &m.demo.Client, router.ToService(clockService), "")
	}
	m.note(ctx, err)
	if err == nil {
		m.calls.Add(1)
		s.mu.Lock()
		if s.rtts = append(s.rtts, time.Since(began)); len(s.rtts) > maxSamples {
			s.rtts = s.rtts[len(s.rtts)-maxSamples/2:]
		}
		s.mu.Unlock()
	}
}

// maxSamples bounds the round-trip times that percentiles are taken of.
const maxSamples = 100_000

// note counts an error, unless the network is being stopped.
func (m *member) note(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, rpc.Canceled) {
		return
	}
	m.errors.Add(1)
	text := err.Error()
	m.last.Store(&text)
}
