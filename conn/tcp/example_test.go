package tcp_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/tcp"
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

	bobs := tcp.New()
	defer bobs.Close()
	l, err := bobs.Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}

	alices := tcp.New()
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

// A file goes over a stream of its own: it does not delay what the connection
// carries.
func Example_stream() {
	ctx := context.Background()
	key, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	t, local := tcp.New(), conn.Local{Key: key}
	defer t.Close()
	l, err := t.Listen(ctx, local, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	out, err := t.Dial(ctx, local, key.ID(), l.Addr())
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close(nil)
	in, err := l.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close(nil)

	s, err := out.(conn.StreamConn).OpenStream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		defer s.Close() // the other end reads io.EOF after all of it
		_, _ = s.Write(make([]byte, 1<<20))
	}()
	file, err := in.(conn.StreamConn).AcceptStream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	n, err := io.Copy(io.Discard, file)
	fmt.Println(n, err)
	// Output: 1048576 <nil>
}
