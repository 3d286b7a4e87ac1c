package link_test

import (
	"context"
	"fmt"
	"log"

	"github.com/plexus-net/plexus/conn/link"
)

// An Add and a Sum are the two directions of a small protocol.
type (
	Add struct{ A, B int }
	Sum struct{ Value int }
)

// A server adds numbers: the client sends Add and receives Sum, the server the
// other way round.
func Example() {
	ctx := context.Background()
	s, err := link.Listen("tcp", "127.0.0.1:0", link.Config[Add, Sum]{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	go func() {
		l, err := s.Accept(ctx)
		if err != nil {
			return
		}
		defer l.Close()
		for v, err := range l.All(ctx) {
			if err != nil || l.Send(ctx, Sum{v.A + v.B}) != nil {
				return
			}
		}
	}()

	l, err := link.Dial(ctx, "tcp", s.Addr(), link.Config[Sum, Add]{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	if err := l.Send(ctx, Add{2, 3}); err != nil {
		log.Fatal(err)
	}
	sum, err := l.Recv(ctx)
	fmt.Println(sum.Value, err)
	// Output: 5 <nil>
}
