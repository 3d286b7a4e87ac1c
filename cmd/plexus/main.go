// Command plexus runs nodes, whole networks of them, and talks to those that
// run.
//
//	plexus up                                   a live network in one process
//	plexus key node.key                         make a key
//	plexus node --listen quic://127.0.0.1:4100  run one node
//	plexus peers | routes | call | send         talk to it
//	plexus sim --scenario churn                 simulate a network
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C ends the process at once
	if err := root().ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "plexus:", strings.TrimPrefix(err.Error(), "plexus: "))
		stop()
		os.Exit(1)
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "plexus",
		Short:         "A network of nodes made of behaviours",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
			return fmt.Errorf("--%s is %q; allowed: %s; see %s --help", bad.GetFlag().Name, bad.GetValue(), bad.GetFlag().Usage, cmd.CommandPath())
		}
		return fmt.Errorf("%w; see %s --help for what is allowed", err, cmd.CommandPath())
	})
	c.AddCommand(upCommand(), nodeCommand(), keyCommand(), idCommand(), peersCommand(), routesCommand(), callCommand(), sendCommand(), simCommand())
	return c
}
