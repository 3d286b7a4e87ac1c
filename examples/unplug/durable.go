package main

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// linger bounds how long the end of a run waits for what is under way.
const linger = 10 * time.Second

// durable has two hubs, one of which sends to the other until ctx ends. All that
// there is to do about the cable is to give the address.
func durable(ctx context.Context, c *counts, ready func(*cable)) error {
	b, err := newHub(identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	defer closeHub(b)
	a, err := newHub()
	if err != nil {
		return err
	}
	defer closeHub(a)
	cable, err := newCable(b.Addrs()[0].Host)
	if err != nil {
		return err
	}
	defer cable.close()
	in, err := b.Add(identity.PeerAddress{ID: a.Self()})
	if err != nil {
		return err
	}
	out, err := a.Add(identity.PeerAddress{ID: b.Self(), Addresses: []identity.Address{{Scheme: "tcp", Host: cable.addr()}}})
	if err != nil {
		return err
	}
	ready(cable)

	receiving := make(chan error, 1)
	go func() {
		for {
			_, p, err := b.Recv(context.Background())
			if err != nil {
				receiving <- err
				return
			}
			c.receive(binary.BigEndian.Uint64(p))
			c.dropped.Store(in.Stats().Repeated)
			c.again.Store(out.Stats().Resent)
		}
	}()
	p := make([]byte, size)
	err = pace(ctx, func(number uint64) error {
		binary.BigEndian.PutUint64(p, number)
		if err := a.Send(ctx, b.Self(), p); err != nil {
			return unlessOver(ctx, err)
		}
		c.sent.Add(1)
		return nil
	})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), linger)
	defer cancel()
	err = errors.Join(err, out.Flush(last))
	closeHub(b)
	if ended := <-receiving; !errors.Is(ended, conn.ErrClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// newHub starts the hub of a fresh node.
func newHub(listen ...identity.Address) (*hub.Hub, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	h, err := hub.New(hub.Config{Key: key, Transports: []conn.Transport{tcp.New()}, Listen: listen,
		Backoff: hub.Uniform{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
	if err != nil {
		return nil, err
	}
	if err := h.Start(context.Background()); err != nil {
		closeHub(h)
		return nil, err
	}
	return h, nil
}

func closeHub(h *hub.Hub) {
	ctx, cancel := context.WithTimeout(context.Background(), linger)
	defer cancel()
	_ = h.Close(ctx) // what it says is in the counts
}

// unlessOver returns err, or nil where it is only the end of ctx.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
