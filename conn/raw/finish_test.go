package raw_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
)

// A peer whose last bytes nobody reads gets the goodbye and an orderly end, not a
// reset.
func TestTheGoodbyeIsNotLostToAReset(t *testing.T) {
	entered, sent := make(chan struct{}), make(chan struct{})
	a, addr := listen(t, &hooks{
		message: func(_ context.Context, c *raw.Conn, _ []byte) {
			close(entered)
			<-sent
			c.Disconnect(nil)
		},
		disconnect: func(_ context.Context, c *raw.Conn, _ *raw.EndError) {
			if err := c.Send([]byte("bye")); err != nil {
				t.Error(err)
			}
		},
	}, raw.Config{})
	peer, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := peer.Write(frame("first")); err != nil {
		t.Fatal(err)
	}
	wait(t, entered, "OnMessage")
	if _, err := peer.Write(make([]byte, 32<<10)); err != nil { // while nobody reads
		t.Fatal(err)
	}
	server := only(t, a)
	close(sent)
	wait(t, server.Done(), "the end")
	if got, err := io.ReadAll(peer); string(got) != string(frame("bye")) || err != nil {
		t.Errorf("the peer reads %q and %v, want a goodbye and an end in order", got, err)
	}
}
