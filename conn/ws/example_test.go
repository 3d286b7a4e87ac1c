//go:build !js

package ws_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/ws"
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

	bobs := ws.New()
	defer bobs.Close()
	l, err := bobs.Listen(ctx, conn.Local{Key: bob}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0", Path: "/plexus"})
	if err != nil {
		log.Fatal(err)
	}

	alices := ws.New()
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

// A node beside a web site, on the port of an HTTP server that is there anyway.
func ExampleTransport_ServeHTTP() {
	key, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	node := ws.NewWith(ws.Config{Mounted: true, Origins: []string{"app.example.org"}})
	defer node.Close()

	site := http.NewServeMux()
	site.Handle("/plexus", node)
	site.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a web site") })
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: site, ReadHeaderTimeout: 10 * time.Second}
	defer server.Close()
	go func() { _ = server.Serve(socket) }()

	// The address is the one by which others reach the server.
	at := identity.Address{Scheme: "ws", Host: socket.Addr().String(), Path: "/plexus"}
	l, err := node.Listen(context.Background(), conn.Local{Key: key}, at)
	if err != nil {
		log.Fatal(err)
	}
	c, err := node.Dial(context.Background(), conn.Local{Key: key}, key.ID(), l.Addr())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected:", c.Node() == key.ID())
	c.Close(nil)
	// Output: connected: true
}
