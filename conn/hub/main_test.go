package hub_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key returns the key of a seed.
func key(t testing.TB, b byte) identity.PrivateKey {
	t.Helper()
	seed := make([]byte, 32)
	seed[0] = b
	k, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// pair returns two keys, that of the lower ID first.
func pair(t testing.TB) (keys [2]identity.PrivateKey) {
	keys = [2]identity.PrivateKey{key(t, 1), key(t, 2)}
	if keys[0].ID().Compare(keys[1].ID()) > 0 {
		keys[0], keys[1] = keys[1], keys[0]
	}
	return keys
}

func address(t testing.TB, s string) identity.Address {
	t.Helper()
	a, err := identity.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func at(k identity.PrivateKey, addrs ...identity.Address) identity.PeerAddress {
	return identity.PeerAddress{ID: k.ID(), Addresses: addrs}
}

// start makes and starts a hub.
func start(t testing.TB, cfg hub.Config) *hub.Hub {
	t.Helper()
	if os.Getenv("HUB_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	h, err := hub.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// stop closes hubs without waiting for anything to be taken.
func stop(hubs ...*hub.Hub) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, h := range hubs {
		_ = h.Close(ctx)
	}
}

// A couple is two hubs on a network in memory, the lower ID first: mem://a and
// mem://b.
type couple struct {
	t    testing.TB
	net  *mem.Network
	keys [2]identity.PrivateKey
	hubs [2]*hub.Hub
}

var names = [2]string{"mem://a", "mem://b"}

func newCouple(t testing.TB, configs ...hub.Config) *couple {
	c := &couple{t: t, net: mem.NewNetwork(), keys: pair(t)}
	for i := range c.hubs {
		var cfg hub.Config
		if i < len(configs) {
			cfg = configs[i]
		}
		c.start(i, cfg)
	}
	return c
}

// start starts the hub of a node, as when its process starts.
func (c *couple) start(i int, cfg hub.Config) {
	c.t.Helper()
	cfg.Key, cfg.Transports, cfg.Listen = c.keys[i], []conn.Transport{c.net.Transport()}, []identity.Address{address(c.t, names[i])}
	c.hubs[i] = start(c.t, cfg)
}

// add adds the other node to the hub of one, with its address or without.
func (c *couple) add(i int, addrs ...string) {
	c.t.Helper()
	p := at(c.keys[1-i])
	for _, a := range addrs {
		p.Addresses = append(p.Addresses, address(c.t, a))
	}
	if _, err := c.hubs[i].Add(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *couple) id(i int) identity.NodeID { return c.keys[i].ID() }

// peer returns what one hub says of the other.
func (c *couple) peer(i int) hub.Peer {
	c.t.Helper()
	p, ok := c.hubs[i].Peer(c.id(1 - i))
	if !ok {
		c.t.Fatalf("hub %d does not know the other as a member", i)
	}
	return p
}

func (c *couple) cut() {
	c.net.Cut(c.id(0), c.id(1))
	c.net.Heal(c.id(0), c.id(1))
}

func (c *couple) send(i int, text string) {
	c.t.Helper()
	if err := c.hubs[i].Send(c.t.Context(), c.id(1-i), []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// recv expects a message.
func (c *couple) recv(i int, want string) {
	c.t.Helper()
	from, p, err := c.hubs[i].Recv(c.t.Context())
	if err != nil || from != c.id(1-i) || string(p) != want {
		c.t.Fatalf("hub %d received %q of %s, %v; want %q", i, p, from.Short(), err, want)
	}
}

func (c *couple) stop() { stop(c.hubs[0], c.hubs[1]) }
