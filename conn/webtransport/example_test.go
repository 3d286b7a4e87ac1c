//go:build !js

package webtransport_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/webtransport"
	"github.com/plexus-net/plexus/identity"
)

// A transport used alone, with nothing else of plexus: one node greets another.
// The address of the listener is what a node in a browser dials, too.
func Example() {
	ctx := context.Background()
	alice, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	bob, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}

	bobs := webtransport.NewWith(webtransport.Config{Origins: []string{"app.example.org"}})
	defer bobs.Close()
	l, err := bobs.Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: "wt", Host: "127.0.0.1:0", Path: "/plexus"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("hashes in the address:", strings.Count(l.Addr().Path, "cert="))

	alices := webtransport.New()
	defer alices.Close()
	out, err := alices.Dial(ctx, conn.Local{Key: alice}, bob.ID(), l.Addr())
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close(nil)
	if _, err := out.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}

	in, err := l.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close(nil)
	p := make([]byte, 5)
	if _, err := io.ReadFull(in, p); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s from alice: %t\n", p, in.Node() == alice.ID())
	// Output:
	// hashes in the address: 2
	// hello from alice: true
}
