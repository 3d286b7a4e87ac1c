// Peer is a node in JavaScript: it dials a node until all messages have crossed.
// Its arguments are the address, the ID of the node, and how many messages; it
// prints "done" with the number of connections that it took.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/conn/ws/testdata/carry"
	"github.com/plexus-net/plexus/identity"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func run(peerText, totalText string) error {
	peer, err := identity.ParsePeerAddress(peerText)
	if err != nil {
		return err
	}
	total, err := strconv.ParseUint(totalText, 10, 64)
	if err != nil {
		return err
	}
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	t := ws.New()
	if _, err := t.Listen(context.Background(), conn.Local{Key: key}, peer.Addresses[0]); err == nil {
		return fmt.Errorf("a browser listens")
	}
	held, err := t.Dial(context.Background(), conn.Local{Key: key}, peer.ID, peer.Addresses[1])
	if err == nil {
		err = carry.Hold(held)
	}
	if err != nil {
		return fmt.Errorf("at the end that is held: %w", err)
	}
	flood, err := t.Dial(context.Background(), conn.Local{Key: key}, peer.ID, peer.Addresses[2])
	if err == nil {
		err = bounded(flood)
	}
	if err != nil {
		return fmt.Errorf("at the end that floods: %w", err)
	}
	end := carry.End{Total: total}
	for tries := 0; !end.Done() && tries < 1000; tries++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := t.Dial(ctx, conn.Local{Key: key}, peer.ID, peer.Addresses[0])
		cancel()
		if err != nil {
			continue // cut while it was dialled
		}
		if err := end.Run(c); err != nil {
			return err
		}
		c.Close(nil)
	}
	if !end.Done() {
		return fmt.Errorf("%d of %d messages came, %d have arrived", end.Received, total, end.Acked)
	}
	fmt.Println("done", end.Conns)
	return t.Close()
}

// bounded does not read what arrives, until the connection breaks for that.
func bounded(c conn.Conn) error {
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		if _, err := c.Write([]byte{0}); err != nil {
			if !strings.Contains(err.Error(), "64 MiB have arrived") {
				return err
			}
			return c.Close(nil)
		}
	}
	return fmt.Errorf("what nobody reads is kept without a bound")
}
