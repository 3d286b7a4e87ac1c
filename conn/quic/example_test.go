package quic_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
)

// A transport used alone, with nothing else of plexus: one node greets another.
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

	bobs := quic.New()
	defer bobs.Close()
	l, err := bobs.Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: "quic", Host: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}

	alices := quic.New()
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
	// Output: hello from alice: true
}
