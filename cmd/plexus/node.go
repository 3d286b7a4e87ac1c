package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/identity"
)

type nodeOptions struct {
	listen, join, advertise []string
	key, control, network   string
	durable, verbose        bool
}

func nodeCommand() *cobra.Command {
	var o nodeOptions
	c := &cobra.Command{
		Use:   "node",
		Short: "Run one node",
		Long: `Run one node until ^C. It prints its peer address, which other nodes take as
--join. With --key it keeps its identity over restarts; the file is made if it
is not there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runNode(cmd.Context(), o) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.listen, "listen", []string{"quic://127.0.0.1:0"}, "address to accept connections at, such as quic://127.0.0.1:4100, or of the schemes tcp, tcp+plain, ws, wt, kcp, unix; may be repeated")
	f.StringArrayVar(&o.join, "join", nil, "peer address of a node to join through; may be repeated")
	f.StringArrayVar(&o.advertise, "advertise", nil, "address that others are told to dial; default: those listened on")
	f.StringVar(&o.key, "key", "", "key file; default: a new key that is not kept")
	f.StringVar(&o.network, "network", "plexus", "name of the network")
	f.StringVar(&o.control, "control", defaultControl(), "control socket")
	f.BoolVar(&o.durable, "durable", false, "have connections to nodes that are durable, too, outlive what breaks them")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log what happens")
	return c
}

func runNode(ctx context.Context, o nodeOptions) error {
	cfg := plexus.Config{Listen: o.listen, Join: o.join, Advertise: o.advertise, Network: o.network, Transports: transports(), Durable: o.durable}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelDebug
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if o.key != "" {
		key, err := loadOrMake(o.key)
		if err != nil {
			return err
		}
		cfg.Key = key
	}
	n, err := plexus.Start(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return err
	}
	d := newDemo()
	d.onText = func(from identity.NodeID, text string) { fmt.Printf("%s: %q\n", from.Short(), text) }
	if err := n.Register(demoService, d); err != nil {
		return err
	}
	ctl, err := serveControl(o.control, &controlled{Node: n, demo: d})
	if err != nil {
		_ = n.Close(ctx)
		return err
	}
	defer ctl.close()
	fmt.Println(n.PeerAddress())
	select {
	case <-ctx.Done():
	case <-n.Done():
		return n.Err()
	}
	return n.Close(context.Background())
}

// loadOrMake loads a key file, or makes it.
func loadOrMake(path string) (identity.PrivateKey, error) {
	key, err := identity.LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = identity.Generate(); err != nil {
		return key, err
	}
	return key, key.Save(path)
}
