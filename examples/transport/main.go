package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run has one node greet another through a web server, and asks that for a page.
func run(ctx context.Context, out io.Writer) error {
	alice, err := identity.Generate()
	if err != nil {
		return err
	}
	bob, err := identity.Generate()
	if err != nil {
		return err
	}
	bobs := New(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a page\n") }))
	defer bobs.Close()
	l, err := bobs.Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: scheme, Host: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	alices := New(nil)
	defer alices.Close()
	c, err := alices.Dial(ctx, conn.Local{Key: alice}, bob.ID(), l.Addr())
	if err != nil {
		return err
	}
	defer c.Close(nil)
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	in, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	defer in.Close(nil)
	text := make([]byte, len("hello"))
	if _, err := io.ReadFull(in, text); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s from alice: %t\n", text, in.Node() == alice.ID())

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().Host+"/", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	page, err := client.Do(request)
	if err != nil {
		return err
	}
	defer page.Body.Close()
	_, err = io.Copy(out, io.LimitReader(page.Body, 1<<10))
	return err
}
