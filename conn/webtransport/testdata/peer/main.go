// Peer is a node in a browser: it dials a node until all messages have crossed.
// Its arguments are the peer address, and how many messages; it prints "done"
// with the number of connections that it took.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/webtransport"
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
	at := peer.Addresses[0]
	var t conn.Transport = ws.New()
	if at.Scheme == "wt" {
		t = webtransport.New()
	}
	if _, err := t.Listen(context.Background(), conn.Local{Key: key}, at); err == nil {
		return fmt.Errorf("a browser listens")
	}
	held, err := t.Dial(context.Background(), conn.Local{Key: key}, peer.ID, peer.Addresses[1])
	if err == nil {
		err = carry.Hold(held)
	}
	if err != nil {
		return fmt.Errorf("at the end that is held: %w", err)
	}
	end := carry.End{Total: total}
	var last error
	for tries := 0; !end.Done() && tries < 100; tries++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		var c conn.Conn
		c, last = t.Dial(ctx, conn.Local{Key: key}, peer.ID, at)
		cancel()
		if last != nil {
			continue // cut while it was dialled
		}
		if err := end.Run(c); err != nil {
			return err
		}
		c.Close(nil)
	}
	if !end.Done() {
		return fmt.Errorf("%d of %d messages came, %d have arrived; the last dial: %v", end.Received, total, end.Acked, last)
	}
	fmt.Println("done", end.Conns)
	return t.Close()
}
