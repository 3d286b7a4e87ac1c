// Package carry is what the tests of browser transports do at both ends:
// numbered messages both ways over connections that are cut and dialled again.
package carry

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/plexus-net/plexus/conn"
)

const (
	size  = 64  // bytes of a message: its number, and what follows from it
	batch = 100 // messages in a write
)

// An End is one end over all its connections.
type End struct {
	Total    uint64 // messages each way
	Received uint64 // in order and whole, so far
	Acked    uint64 // known to have been received by the other end
	Conns    int
}

// Done reports whether both ends have everything.
func (e *End) Done() bool { return e.Received == e.Total && e.Acked == e.Total }

func message(p []byte, number uint64) {
	binary.BigEndian.PutUint64(p, number)
	x := number*2654435761 + 1
	for i := 8; i < size; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x)
	}
}

// Run goes on over c, until both ends have everything or c breaks. Each end
// first tells what it has, and tells again when it has all. An error is what
// no cut can explain.
func (e *End) Run(c conn.Conn) error {
	e.Conns++
	var have [8]byte
	binary.BigEndian.PutUint64(have[:], e.Received)
	if _, err := c.Write(have[:]); err != nil {
		return nil
	}
	r := bufio.NewReaderSize(c, 64<<10)
	var theirs [8]byte
	if _, err := io.ReadFull(r, theirs[:]); err != nil {
		return nil
	}
	e.Acked = binary.BigEndian.Uint64(theirs[:])
	if e.Acked > e.Total {
		return fmt.Errorf("the other end says it has %d of %d messages", e.Acked, e.Total)
	}
	received := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		e.send(c, e.Acked, received)
	}()
	err := e.receive(r, received)
	if !e.Done() || err != nil {
		c.Close(nil)
	}
	<-sent
	return err
}

// send sends messages from a number on, and then waits to tell that this end
// has all of the other's.
func (e *End) send(c conn.Conn, from uint64, received chan struct{}) {
	p := make([]byte, 0, size*batch)
	for from < e.Total {
		p = p[:0]
		for ; from < e.Total && len(p) < cap(p); from++ {
			p = p[:len(p)+size]
			message(p[len(p)-size:], from)
		}
		if _, err := c.Write(p); err != nil {
			return
		}
	}
	<-received
	if e.Received == e.Total {
		var all [size]byte
		binary.BigEndian.PutUint64(all[:], e.Total)
		_, _ = c.Write(all[:])
	}
}

// receive closes received when it has everything, or c has ended.
func (e *End) receive(r io.Reader, received chan struct{}) error {
	got, want := make([]byte, size), make([]byte, size)
	told := false
	tell := func() {
		if !told {
			told = true
			close(received)
		}
	}
	defer tell()
	for {
		if e.Received == e.Total {
			tell()
			if e.Acked == e.Total {
				return nil
			}
		}
		if _, err := io.ReadFull(r, got); err != nil {
			return nil
		}
		number := binary.BigEndian.Uint64(got)
		if number == e.Total {
			e.Acked = e.Total
			continue
		}
		if message(want, e.Received); !bytes.Equal(got, want) {
			return fmt.Errorf("message %d came where %d is next, or another than was sent", number, e.Received)
		}
		e.Received++
	}
}

// Hold checks the deadlines of a connection to an end that neither reads nor
// writes: a missed read deadline changes nothing, and a writer is held back.
func Hold(c conn.Conn) error {
	for range 2 {
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("Read after its deadline = %v", err)
		}
	}
	const most = 64 << 20
	p := make([]byte, 64<<10)
	for sent := 0; sent < most; sent += len(p) {
		if err := c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.Write(p); errors.Is(err, os.ErrDeadlineExceeded) {
			return c.Close(nil)
		} else if err != nil {
			return fmt.Errorf("Write after %d bytes = %v", sent, err)
		}
	}
	return fmt.Errorf("%d bytes were written to an end that does not read", most)
}
