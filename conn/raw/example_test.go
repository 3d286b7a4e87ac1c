package raw_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/plexus-net/plexus/conn/raw"
)

// shouting answers lines in capitals.
type shouting struct{ line }

func (shouting) OnMessage(_ context.Context, c *raw.Conn, msg []byte) {
	_ = c.Send(bytes.ToUpper(msg)) // a peer that does not read its answers does not get them
}

// printing prints the first line that it gets.
type printing struct{ line }

func (printing) OnMessage(_ context.Context, c *raw.Conn, msg []byte) {
	fmt.Printf("%s\n", msg)
	c.Disconnect(nil)
}

// line is the wire format of both: text that ends with a line feed.
type line struct{}

func (line) NewDecoder(raw.Info) raw.Decoder { return line{} }
func (line) NewEncoder(raw.Info) raw.Encoder { return line{} }

func (line) Decode(data []byte) (int, []byte, error) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		return 0, nil, nil
	}
	return end + 1, data[:end], nil
}

func (line) Encode(dst, msg []byte) ([]byte, error) { return append(append(dst, msg...), '\n'), nil }

func Example() {
	ctx := context.Background()
	server, err := raw.New(shouting{}, raw.Config{Address: "127.0.0.1:0"})
	if err != nil {
		panic(err)
	}
	addr, err := server.Listen(ctx)
	if err != nil {
		panic(err)
	}
	client, err := raw.New(printing{}, raw.Config{})
	if err != nil {
		panic(err)
	}
	c, err := client.Connect(ctx, addr.String())
	if err != nil {
		panic(err)
	}
	if err := c.Send([]byte("hello")); err != nil {
		panic(err)
	}
	<-c.Done()
	fmt.Println(c.Err())
	_ = client.Shutdown(ctx)
	_ = server.Shutdown(ctx)
	// Output:
	// HELLO
	// raw: connection ended: closed by this side
}
