package link_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/plexus-net/plexus/conn/link"
)

// A Line is the message of a protocol with a login and numbers.
type Line struct {
	Kind   string // "login", "welcome" or "line"
	Number int    // of the line; of a login, of the last one that was received
	Text   string
}

var song = []string{"One", "Two", "Three", "Four"}

// server says what the server does in each link.
func server() link.Hooks[Line, Line] {
	next := 0 // of this link
	return link.Hooks[Line, Line]{
		OnLogin: func(ctx context.Context, l *link.Link[Line, Line]) error {
			v, err := l.Recv(ctx)
			if err == nil && v.Kind != "login" {
				err = errors.New("log in first")
			}
			if err != nil {
				return err
			}
			next = v.Number
			return l.Send(ctx, Line{Kind: "welcome"})
		},
		OnSend: func(v *Line) {
			if v.Kind == "line" {
				v.Number, v.Text = next+1, song[next]
				next++
			}
		},
	}
}

// A login tells where the last link has stopped, and the server goes on from
// there: the hooks belong to one link, the session outlives it.
func ExampleHooks() {
	ctx := context.Background()
	s, err := link.Listen("tcp", "127.0.0.1:0", link.Config[Line, Line]{Hooks: server})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	last := 0 // the session: what has been received
	client := link.Config[Line, Line]{Hooks: func() link.Hooks[Line, Line] {
		return link.Hooks[Line, Line]{
			OnLogin: func(ctx context.Context, l *link.Link[Line, Line]) error {
				if err := l.Send(ctx, Line{Kind: "login", Number: last}); err != nil {
					return err
				}
				_, err := l.Recv(ctx) // the welcome
				return err
			},
			OnReceive: func(v Line) { last = max(last, v.Number) },
		}
	}}
	for range 2 { // the second link goes on where the first has ended
		l, err := link.Dial(ctx, "tcp", s.Addr(), client)
		if err != nil {
			log.Fatal(err)
		}
		k, err := s.Accept(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for range 2 {
			if err := k.Send(ctx, Line{Kind: "line"}); err != nil {
				log.Fatal(err)
			}
			v, err := l.Recv(ctx)
			fmt.Println(v.Number, v.Text, err)
		}
		l.Close()
		k.Close()
	}
	// Output:
	// 1 One <nil>
	// 2 Two <nil>
	// 3 Three <nil>
	// 4 Four <nil>
}
