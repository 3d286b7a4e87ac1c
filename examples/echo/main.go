// Command echo sends lines over a typed link and prints what comes back.
//
//	echo -listen 127.0.0.1:7007
//	echo -dial 127.0.0.1:7007
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

	"github.com/plexus-net/plexus/conn/link"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	listen := flag.String("listen", "", "serve at this `address`")
	dial := flag.String("dial", "", "send the lines of standard input to this `address`")
	flag.Parse()
	var err error
	switch {
	case *listen != "":
		var l *link.Listener[string, string]
		if l, err = link.Listen("tcp", *listen, config); err == nil {
			fmt.Println("listening on", l.Addr())
			err = serve(ctx, l)
		}
	case *dial != "":
		err = send(ctx, *dial, os.Stdin, os.Stdout)
	default:
		flag.Usage()
		err = errors.New("say -listen or -dial")
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// config is the protocol: lines of text, in both directions.
var config = link.Config[string, string]{Framer: link.Delimiter{Max: 64 << 10}}

// serve echoes on every link until ctx ends.
func serve(ctx context.Context, l *link.Listener[string, string]) error {
	defer l.Close()
	for {
		k, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		go func() {
			defer k.Close()
			for line, err := range k.All(ctx) {
				if err != nil || k.Send(ctx, line) != nil {
					return
				}
			}
		}()
	}
}

// send sends each line of in and writes its echo to out.
func send(ctx context.Context, addr string, in io.Reader, out io.Writer) error {
	l, err := link.Dial(ctx, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer l.Close()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if err := l.Send(ctx, lines.Text()); err != nil {
			return err
		}
		echo, err := l.Recv(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, echo)
	}
	return nil
}
