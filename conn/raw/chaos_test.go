package raw_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/baseline"
)

var (
	chaosFor  = flag.Duration("chaos", 2*time.Second, "how long TestChaos runs")
	chaosSeed = flag.Uint64("seed", 0, "the seed of TestChaos; 0 for one by chance, which is printed")
)

// The bounds of TestChaos.
const (
	chaosNodes    = 32
	chaosWorkers  = 16
	chaosSources  = 64 // source addresses, 127.0.0.x
	chaosConns    = 24 // MaxConns of a node
	chaosPrefix   = 8  // MaxPerPrefix
	chaosPending  = 12 // MaxPending
	chaosMessage  = 4096
	chaosStuck    = 30 * time.Second // an action may take
	chaosReroll   = 250 * time.Millisecond
	chaosFiles    = 4096
	chaosRoutines = 10_000
)

// actions are what workers choose from.
var actions = []string{"spawn", "shutdown", "toggle", "connect", "disconnect", "broadcast", "unicast"}

// chaos is the state of a run.
type chaos struct {
	t        *testing.T
	log      strings.Builder
	spawned  atomic.Int64
	shut     atomic.Int64
	opened   atomic.Int64 // OnConnect
	closed   atomic.Int64 // OnDisconnect
	shaking  atomic.Int64 // handshakes that run
	tracked  atomic.Int64
	resolved atomic.Int64
	received atomic.Int64
	corrupt  atomic.Int64
	deaf     atomic.Int64 // nodes that could not listen
	did      [7]atomic.Int64
	since    [chaosWorkers]atomic.Int64 // when the worker began its action, in nanoseconds; 0: none
	doing    [chaosWorkers]atomic.Int64

	mu      sync.Mutex // guards what follows
	nodes   []*chaotic
	weights [7]int
}

// A chaotic node counts its callbacks, and checks what it receives.
type chaotic struct {
	wire
	c    *chaos
	node *raw.Node
	live sync.Map // the connections between OnConnect and OnDisconnect
}

// Handshake is two bytes each way. Some fail.
func (n *chaotic) Handshake(_ context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
	n.c.shaking.Add(1)
	defer n.c.shaking.Add(-1)
	hello, answer := []byte("hi"), make([]byte, 2)
	if rand.IntN(50) == 0 {
		hello[1] = '?'
	}
	if _, err := s.Write(hello); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(s, answer); err != nil {
		return nil, err
	}
	if string(answer) != "hi" {
		return nil, errBad
	}
	return s, nil
}

func (n *chaotic) OnConnect(_ context.Context, c *raw.Conn) error {
	if _, twice := n.live.LoadOrStore(c.ID(), true); twice {
		n.c.t.Errorf("OnConnect twice for %s", c)
	}
	n.c.opened.Add(1)
	if rand.IntN(50) == 0 {
		return errBad
	}
	return nil
}

func (n *chaotic) OnDisconnect(_ context.Context, c *raw.Conn, _ *raw.EndError) {
	if _, there := n.live.LoadAndDelete(c.ID()); !there {
		n.c.t.Errorf("OnDisconnect for %s, which is not there", c)
	}
	n.c.closed.Add(1)
	_ = c.Send(message(1))
}

// message makes one whose bytes can be checked.
func message(size int) []byte {
	m := make([]byte, 4+size)
	binary.BigEndian.PutUint32(m, uint32(size))
	for i := range size {
		m[4+i] = byte(size + i)
	}
	return m
}

func (n *chaotic) OnMessage(_ context.Context, c *raw.Conn, m []byte) {
	n.c.received.Add(1)
	if _, there := n.live.Load(c.ID()); !there {
		n.c.t.Errorf("a message of %s outside of its life", c)
	}
	if len(m) < 4 || int(binary.BigEndian.Uint32(m)) != len(m)-4 || len(m) > 4 && (m[4] != byte(len(m)-4) || m[len(m)-1] != byte(2*(len(m)-4)-1)) {
		n.c.corrupt.Add(1)
	}
}

// spawn starts a node that listens, unless there are enough.
func (c *chaos) spawn(r *rand.Rand) {
	c.mu.Lock()
	full := len(c.nodes) >= chaosNodes
	c.mu.Unlock()
	if full {
		return
	}
	n := &chaotic{c: c}
	config := raw.Config{
		Address: "127.0.0.1:0", MaxConns: chaosConns, MaxPerPrefix: chaosPrefix, MaxPending: chaosPending,
		HookTimeout: 25 * time.Second, ConnectTimeout: 2 * time.Second, HandshakeTimeout: time.Second, IdleTimeout: time.Duration(100+r.IntN(2000)) * time.Millisecond,
		WriteTimeout: time.Second, OutMessages: 64, Inbound: raw.Policy(r.IntN(3)), InQueue: r.IntN(3) * 4,
	}
	var err error
	if n.node, err = raw.New(n, config); err != nil {
		c.t.Error(err)
		return
	}
	if _, err := n.node.Listen(context.Background()); err != nil {
		c.deaf.Add(1) // the system is out of ports, what with all the closed connections
	}
	c.spawned.Add(1)
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	c.mu.Unlock()
}

// pick returns a node, nil if there is none; take removes it.
func (c *chaos) pick(r *rand.Rand, take bool) *chaotic {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.nodes) == 0 {
		return nil
	}
	i := r.IntN(len(c.nodes))
	n := c.nodes[i]
	if take {
		c.nodes = append(c.nodes[:i:i], c.nodes[i+1:]...)
	}
	return n
}

func (c *chaos) stop(n *chaotic) {
	ctx, cancel := context.WithTimeout(context.Background(), chaosStuck)
	defer cancel()
	if err := n.node.Shutdown(ctx); err != nil {
		c.t.Errorf("Shutdown: %v", err)
	}
	c.shut.Add(1)
	s := n.node.Stats()
	ended := uint64(0)
	for _, k := range s.Ended {
		ended += k
	}
	if n.node.NumConnected() != 0 || n.node.NumConnecting() != 0 || s.Opened != ended || s.Left != 0 || s.Panics != 0 {
		c.t.Errorf("after Shutdown: %d connected, %d connecting, %+v", n.node.NumConnected(), n.node.NumConnecting(), s)
	}
	n.live.Range(func(id, _ any) bool { c.t.Errorf("no OnDisconnect for connection %v", id); return true })
}

// act does one action.
func (c *chaos) act(r *rand.Rand, action int) {
	c.did[action].Add(1)
	if actions[action] == "spawn" {
		c.spawn(r)
		return
	}
	n := c.pick(r, actions[action] == "shutdown")
	if n == nil {
		return
	}
	switch actions[action] {
	case "shutdown":
		c.stop(n)
	case "toggle":
		if n.node.ListeningAddr() != nil {
			_ = n.node.StopListening()
		} else {
			_, _ = n.node.Listen(context.Background()) // the port may be somebody else's by now
		}
	case "connect":
		c.connect(r, n)
	case "disconnect":
		for k := range n.node.Conns() {
			if r.IntN(4) == 0 {
				k.Disconnect([]error{nil, raw.Replaced, errBad}[r.IntN(3)])
			}
		}
	case "broadcast":
		n.node.Broadcast(message(1 + r.IntN(chaosMessage)))
	case "unicast":
		c.unicast(r, n)
	}
}

func (c *chaos) connect(r *rand.Rand, n *chaotic) {
	to := c.pick(r, false)
	if to == nil || to.node.ListeningAddr() == nil {
		return
	}
	addr := to.node.ListeningAddr()
	if addr == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+r.IntN(100))*10*time.Millisecond)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+r.IntN(chaosSources)))}}
	k, err := n.node.ConnectUsing(ctx, func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr.String()) })
	if err == nil {
		_ = k.Send(message(r.IntN(10)))
	}
}

// unicast sends to some connections and follows what becomes of it.
func (c *chaos) unicast(r *rand.Rand, n *chaotic) {
	for k := range n.node.Conns() {
		if r.IntN(2) == 0 {
			continue
		}
		d, err := k.SendTracked(message(1 + r.IntN(chaosMessage)))
		if err != nil {
			continue
		}
		c.tracked.Add(1)
		go func() {
			<-d.Done()
			c.resolved.Add(1)
		}()
	}
}

// work acts until stop is closed.
func (c *chaos) work(i int, r *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c.mu.Lock()
		total, action := 0, 0
		for _, w := range c.weights {
			total += w
		}
		for at := r.IntN(total); at >= c.weights[action]; action++ {
			at -= c.weights[action]
		}
		c.mu.Unlock()
		c.doing[i].Store(int64(action))
		c.since[i].Store(time.Now().UnixNano())
		c.act(r, action)
		c.since[i].Store(0)
	}
}

// reroll makes other actions likely, so that rare mixtures come up.
func (c *chaos) reroll(r *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.weights {
		c.weights[i] = []int{0, 1, 5, 20}[r.IntN(4)]
	}
	for _, always := range []int{0, 3, 6} { // without nodes, connections and deliveries nothing is tested
		c.weights[always]++
	}
	c.weights[1] = min(c.weights[1], c.weights[0])
}

// watch looks for what must never be, and ends the process if an action hangs.
func (c *chaos) watch() {
	for i := range c.since {
		if at := c.since[i].Load(); at != 0 && time.Since(time.Unix(0, at)) > chaosStuck {
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			panic(fmt.Sprintf("stuck in %s", actions[c.doing[i].Load()]))
		}
	}
	c.mu.Lock()
	nodes := append([]*chaotic(nil), c.nodes...)
	c.mu.Unlock()
	for _, n := range nodes {
		if k := n.node.NumConnected() + n.node.NumConnecting(); k > chaosConns+chaosPending {
			c.t.Errorf("%d connections of one node", k)
		}
		if k := n.node.NumConnected(); k > chaosConns {
			c.t.Errorf("%d connections, the limit is %d", k, chaosConns)
		}
		if k := n.node.NumConnecting(); k > 2*chaosPending {
			c.t.Errorf("%d pending, the limit is %d in each direction", k, chaosPending)
		}
	}
	if k := baseline.Descriptors(); k > chaosFiles {
		c.t.Errorf("%d descriptors", k)
	}
	if k := runtime.NumGoroutine(); k > chaosRoutines {
		c.t.Errorf("%d goroutines", k)
	}
}

// TestChaos lets workers do random things to a network of nodes, and counts at
// the end: what was begun has ended, once.
//
//	go test ./conn/raw -run TestChaos -race -chaos 2m
func TestChaos(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.64:0")
	if err != nil {
		t.Skipf("no sockets at 127.0.0.x on this system: %v", err)
	}
	probe.Close()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("run again with -seed %d -chaos %v", seed, *chaosFor)
	goroutines, files := runtime.NumGoroutine(), baseline.Descriptors()
	c := &chaos{t: t}
	r := rand.New(rand.NewPCG(seed, 0))
	c.reroll(r)
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for i := range chaosWorkers {
		workers.Go(func() { c.work(i, rand.New(rand.NewPCG(seed, uint64(i)+1)), stop) })
	}
	end, reroll := time.After(*chaosFor), time.NewTicker(chaosReroll)
	look := time.NewTicker(100 * time.Millisecond)
	idle, acted := 0, int64(0)
	for running := true; running; {
		select {
		case <-end:
			running = false
		case <-reroll.C:
			c.reroll(r)
			now := int64(0)
			for i := range c.did {
				now += c.did[i].Load()
			}
			if idle++; now > acted {
				idle = 0
			}
			if acted = now; idle > 2*int(chaosStuck/chaosReroll) {
				t.Error("nothing happens any more")
				running = false
			}
		case <-look.C:
			c.watch()
		}
	}
	reroll.Stop()
	look.Stop()
	close(stop)
	workers.Wait()
	for _, n := range c.nodes {
		c.stop(n)
	}
	c.reconcile(goroutines, files)
}

// reconcile checks that all has ended.
func (c *chaos) reconcile(goroutines, files int) {
	t := c.t
	for i, a := range actions {
		fmt.Fprintf(&c.log, " %s %d", a, c.did[i].Load())
	}
	t.Logf("%s; connections %d, messages received %d, deliveries %d; nodes %d, of which %d found no port",
		c.log.String(), c.opened.Load(), c.received.Load(), c.tracked.Load(), c.spawned.Load(), c.deaf.Load())
	until(t, "all deliveries are resolved", func() bool { return c.resolved.Load() == c.tracked.Load() })
	for _, tt := range []struct {
		what string
		a, b int64
	}{
		{"nodes spawned, shut down", c.spawned.Load(), c.shut.Load()},
		{"OnConnect, OnDisconnect", c.opened.Load(), c.closed.Load()},
		{"deliveries begun, resolved", c.tracked.Load(), c.resolved.Load()},
		{"handshakes that run, none", c.shaking.Load(), 0},
		{"corrupt messages, none", c.corrupt.Load(), 0},
	} {
		if tt.a != tt.b {
			t.Errorf("%s: %d and %d", tt.what, tt.a, tt.b)
		}
	}
	if c.opened.Load() == 0 || c.received.Load() == 0 || c.tracked.Load() == 0 {
		t.Error("nothing happened at all")
	}
	until(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	if now := baseline.Descriptors(); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
}
