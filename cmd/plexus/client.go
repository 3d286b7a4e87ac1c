package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/plexus-net/plexus/codec"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

func keyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make a key, in a new file that only you may read, and print its node ID",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := identity.Generate()
			if err == nil {
				err = key.Save(args[0])
			}
			if err == nil {
				fmt.Println(key.ID())
			}
			return err
		},
	}
}

func idCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "id FILE",
		Short: "Print the node ID of a key",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := identity.LoadKey(args[0])
			if err == nil {
				fmt.Println(key.ID())
			}
			return err
		},
	}
}

// clientCommand makes a command that sends one request to a running node.
func clientCommand(c *cobra.Command, build func(args []string) (request, error)) *cobra.Command {
	var path string
	c.Flags().StringVar(&path, "control", defaultControl(), "control socket of the node")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := build(args)
		if err != nil {
			return err
		}
		a, err := ask(path, q)
		if err != nil {
			return err
		}
		for _, l := range a.Lines {
			fmt.Fprintln(cmd.OutOrStdout(), l)
		}
		return nil
	}
	return c
}

// ask sends a request to a running node.
func ask(path string, q request) (response, error) {
	var a response
	nc, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return a, fmt.Errorf("no node answers at %s; start one with plexus up or plexus node, or name its socket with --control", path)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second)) // an error shows in what follows
	if err := json.NewEncoder(nc).Encode(q); err != nil {
		return a, err
	}
	line, err := bufio.NewReader(nc).ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("the node did not answer: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("what answers at %s is no plexus node: %w", path, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func peersCommand() *cobra.Command {
	c := &cobra.Command{Use: "peers", Short: "List the connections and known nodes of a running node", Args: cobra.NoArgs}
	return clientCommand(c, func([]string) (request, error) { return request{Op: "peers"}, nil })
}

func routesCommand() *cobra.Command {
	c := &cobra.Command{Use: "routes [TARGET]", Short: "Show where messages to a target, or to each known node, go next",
		Long: targets, Args: cobra.MaximumNArgs(1)}
	return clientCommand(c, func(args []string) (request, error) {
		q := request{Op: "routes"}
		if len(args) > 0 {
			q.Target = args[0]
		}
		return q, nil
	})
}

const targets = "A target is node:ID, key:NAME (the node closest to the name's hash) or service:NUMBER."

func callCommand() *cobra.Command {
	var service uint16
	c := &cobra.Command{Use: "call TARGET METHOD [TEXT]", Short: "Call a method that takes and returns text",
		Long: "Call a method that takes and returns text. Nodes of this command serve echo and whoami on\nservice 70, and some nodes of plexus up serve time on service 71.\n\n" + targets,
		Args: cobra.RangeArgs(2, 3)}
	c.Flags().Uint16Var(&service, "service", uint16(demoService), "service to call on the node, or on the node closest to the key")
	return clientCommand(c, func(args []string) (request, error) {
		q := request{Op: "call", Target: args[0], Method: args[1], Service: service}
		if len(args) > 2 {
			q.Payload = args[2]
		}
		_, err := parseTarget(q.Target, identity.ServiceID(service))
		return q, err
	})
}

func sendCommand() *cobra.Command {
	c := &cobra.Command{Use: "send TARGET TEXT", Short: "Send a text; a node started with plexus node prints it",
		Long: targets, Args: cobra.ExactArgs(2)}
	return clientCommand(c, func(args []string) (request, error) {
		_, err := parseTarget(args[0], demoService)
		return request{Op: "send", Target: args[0], Payload: args[1]}, err
	})
}

// callText calls a method whose request and answer are text.
func (n *controlled) callText(ctx context.Context, to router.Route, method, text string) (string, error) {
	payload, err := codec.Default.Append(nil, &text)
	if err != nil {
		return "", err
	}
	answer, err := n.demo.CallRaw(ctx, to, method, payload)
	if err != nil {
		return "", err
	}
	var s string
	err = codec.Default.Decode(answer, &s)
	return s, err
}
