package link_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// A link tells that it is there with an empty line, and ends when two intervals
// in a row bring nothing.
func ExampleHeartbeat() {
	s, err := net.Listen("tcp", "127.0.0.1:0") // whoever dials here hears nothing
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	l, err := link.Dial(ctx, "tcp", s.Addr().String(), link.Config[string, string]{
		Framer: link.Delimiter{},
		Hooks: func() link.Hooks[string, string] {
			return link.Hooks[string, string]{
				Heartbeat: link.Heartbeat[string]{
					Interval: 10 * time.Millisecond, // in earnest, some seconds
					Message:  func() string { return "" },
					Misses:   2,
				},
				Skip: func(v string) bool { return v == "" }, // those of the other side
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	_, err = l.Recv(ctx)
	fmt.Println(errors.Is(err, link.ErrSilent))
	// Output: true
}
