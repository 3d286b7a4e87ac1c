package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// plain does what programs do that have no durable channels: when the connection
// breaks it connects again, and sends again the message whose Write has failed.
// What Write has taken before that, and the cable has lost, nobody knows of.
func plain(ctx context.Context, c *counts, ready func(*cable)) error {
	var keys [2]identity.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = identity.Generate(); err != nil {
			return err
		}
	}
	near, far := tcp.New(), tcp.New()
	defer near.Close()
	defer far.Close()
	l, err := far.Listen(ctx, conn.Local{Key: keys[1]}, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	cable, err := newCable(l.Addr().Host)
	if err != nil {
		return err
	}
	defer cable.close()
	ready(cable)
	receiver := &receiver{counts: c}
	var running sync.WaitGroup
	defer running.Wait()
	defer l.Close()
	running.Go(func() { receiver.accept(l, &running) })

	d := &dialler{dial: func() (conn.Conn, error) {
		return near.Dial(ctx, conn.Local{Key: keys[0]}, keys[1].ID(), identity.Address{Scheme: "tcp", Host: cable.addr()})
	}}
	p := make([]byte, size)
	err = pace(ctx, func(number uint64) error {
		binary.BigEndian.PutUint64(p, number)
		for ctx.Err() == nil {
			if d.write(p) {
				c.sent.Add(1)
				return nil
			}
			c.again.Add(1) // the message whose Write has failed
		}
		return nil
	})
	receiver.drain()
	d.close()
	receiver.close()
	return err
}

// A dialler has a connection, or makes one.
type dialler struct {
	dial func() (conn.Conn, error)
	c    conn.Conn
}

// write reports whether a message was written.
func (d *dialler) write(p []byte) bool {
	if d.c == nil {
		c, err := d.dial()
		if err != nil {
			return false
		}
		d.c = c
		go func() { // nothing comes back but the end
			_, _ = io.Copy(io.Discard, c)
			c.Close(nil)
		}()
	}
	if _, err := d.c.Write(p); err != nil {
		d.close()
		return false
	}
	return true
}

func (d *dialler) close() {
	if d.c != nil {
		d.c.Close(nil)
		d.c = nil
	}
}

// A receiver reads the newest connection.
type receiver struct {
	counts *counts
	mu     sync.Mutex // guards c; held while a message is counted
	c      conn.Conn
}

func (r *receiver) accept(l conn.Listener, running *sync.WaitGroup) {
	for {
		c, err := l.Accept(context.Background())
		if errors.Is(err, conn.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		r.mu.Lock()
		if r.c != nil {
			r.c.Close(nil)
		}
		r.c = c
		r.mu.Unlock()
		running.Go(func() { r.read(c) })
	}
}

func (r *receiver) read(c conn.Conn) {
	defer c.Close(nil)
	p := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, p); err != nil {
			return
		}
		r.mu.Lock()
		if r.c == c {
			r.counts.receive(binary.BigEndian.Uint64(p))
		}
		r.mu.Unlock()
	}
}

// drain waits until nothing has come for a while.
func (r *receiver) drain() {
	tick := time.NewTicker(20 * delay)
	defer tick.Stop()
	for last := ^uint64(0); ; {
		now := r.counts.received.Load()
		if now == last {
			return
		}
		last = now
		<-tick.C
	}
}

func (r *receiver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.c != nil {
		r.c.Close(net.ErrClosed)
	}
}
