// Command chat is a chat between processes: what is typed into one is shown by
// all others.
//
//	chat --name alice
//	chat --name bob --join <id>@quic://127.0.0.1:40001
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router/kademlia"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run chats until in or ctx ends.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", "quic://127.0.0.1:0", "`address` to listen on")
	join := flags.String("join", "", "`id@address` of anybody who is there already")
	name := flags.String("name", "anonymous", "what you are called")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	key, err := identity.Generate()
	if err != nil {
		return err
	}
	node, err := network.New(network.Config{Key: key, Router: kademlia.New(key.ID()), Transports: []conn.Transport{quic.New()}, Network: "plexus-chat"})
	if err != nil {
		return err
	}
	room := NewRoom(*name)
	if err := node.Register(roomService, room); err != nil {
		return err
	}
	running.Go(func() { _ = node.Run(ctx) }) // its result is why it ended: because of stop
	addr, err := node.Listen(ctx, *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "* others join with: chat --join %s\n", identity.PeerAddress{ID: node.Self(), Addresses: []identity.Address{addr}})
	if *join != "" {
		peer, err := identity.ParsePeerAddress(*join)
		if err != nil {
			return err
		}
		if err := node.Add(peer); err != nil { // and stay connected
			return err
		}
	}
	return talk(ctx, room, in, out)
}

// talk says every line of in and shows what others say. A Read that waits for a
// terminal cannot be interrupted: its goroutine is left behind when ctx ends,
// until the process does.
func talk(ctx context.Context, room *Room, in io.Reader, out io.Writer) error {
	lines, done := make(chan string), make(chan error, 1)
	go func() {
		scan := bufio.NewScanner(in)
		for scan.Scan() {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
		done <- scan.Err()
	}()
	for {
		select {
		case line := <-lines:
			if line == "" {
				continue
			}
			if err := room.Say(ctx, line); err != nil {
				return err
			}
		case line := <-room.shown:
			fmt.Fprintln(out, line)
		case err := <-done:
			return err
		case <-ctx.Done():
			return nil // interrupted: that is how one leaves
		}
	}
}
