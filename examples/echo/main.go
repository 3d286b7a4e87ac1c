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
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C does not wait for anything
	listen := flag.String("listen", "", "serve at this `address`")
	dial := flag.String("dial", "", "send the lines of standard input to this `address`")
	flag.Parse()
	if (*listen == "") == (*dial == "") || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "echo: say either -listen or -dial, and nothing else")
		flag.Usage()
		os.Exit(2)
	}
	err := run(ctx, *listen, *dial)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// run serves, or sends what is typed, until ctx ends.
func run(ctx context.Context, listen, dial string) error {
	if listen != "" {
		l, err := link.Listen("tcp", listen, config)
		if err != nil {
			return err
		}
		fmt.Println("listening on", l.Addr())
		return serve(ctx, l)
	}
	sent := make(chan error, 1)
	go func() { sent <- send(ctx, dial, os.Stdin, os.Stdout) }()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done(): // it may be waiting for somebody to type
		return context.Cause(ctx)
	}
}

const maxLine = 64 << 10 // bytes

// config is the protocol: lines of text, in both directions.
var config = link.Config[string, string]{Framer: link.Delimiter{Max: maxLine}, Retry: again}

// again says why there is no connection yet, before it is tried again.
func again(_ int, err error) time.Duration {
	fmt.Fprintf(os.Stderr, "echo: %v; trying again\n", err)
	return time.Second
}

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
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine+len("\r\n"))
	for lines.Scan() {
		if err := l.Send(ctx, lines.Text()); err != nil {
			return err
		}
		echo, err := l.Recv(ctx)
		if err == io.EOF {
			return errors.New("the server has closed the connection")
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, echo)
	}
	if lines.Err() == bufio.ErrTooLong {
		return fmt.Errorf("a line of more than %d bytes", maxLine)
	}
	return lines.Err()
}
