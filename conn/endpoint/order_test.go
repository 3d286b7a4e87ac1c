package endpoint_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
)

// What came before the end goes before the cause, however they fall between the
// looks of who polls.
func TestMessagesGoBeforeTheCause(t *testing.T) {
	for range 300 {
		c := newCable(t, endpoint.Config{})
		c.mustConnect()
		closed := make(chan error, 1)
		go func() {
			if err := c.ends[0].Send(t.Context(), []byte("last words")); err != nil {
				t.Error(err)
			}
			closed <- c.ends[0].Close(t.Context(), nil)
		}()
		var got []string
		for {
			p, err := c.ends[1].TryRecv()
			if err == endpoint.ErrEmpty {
				continue
			}
			if err != nil {
				break
			}
			got = append(got, string(p))
		}
		if len(got) != 1 {
			t.Fatalf("got %q before the cause", got)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		c.close()
	}
}

// Datagrams are counted from the beginning for each life of the peer, also when
// one of the former life comes late.
func TestDatagramsOfANewLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []uint64
		c := newCable(t, endpoint.Config{OnDatagram: func(p []byte) { got = append(got, binary.BigEndian.Uint64(p)) }})
		defer c.close()
		c.mustConnect()
		send := func(from, to uint64) {
			for n := from; n <= to; n++ {
				if err := c.ends[0].SendDatagram(binary.BigEndian.AppendUint64(nil, n)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		send(1, 50)
		stopped, stop := context.WithCancel(context.Background())
		stop()
		c.ends[0].Close(stopped, nil)
		c.start(0, endpoint.Config{})
		c.mustConnect()
		var restart *endpoint.RestartError
		if _, err := c.ends[1].Recv(t.Context()); !errors.As(err, &restart) {
			t.Fatal(err)
		}
		send(101, 110)
		if s := c.ends[1].Stats(); len(got) != 60 || got[59] != 110 || s.DatagramsLate != 0 || s.DatagramsMissed != 0 {
			t.Errorf("%d came: %+v", len(got), s)
		}
	})
}

// An endpoint that has ended takes no connection, and says why.
func TestCarryOnAnEndpointThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		cause := &conn.CloseError{Code: conn.CodeShutdown, Reason: "good night"}
		stopped, stop := context.WithCancel(context.Background())
		stop()
		c.ends[1].Close(stopped, cause)
		errs := c.connect()
		if !errors.Is(errs[1], conn.CodeShutdown) || errs[0] == nil {
			t.Errorf("Carry = %v", errs)
		}
		c.close()
	})
}

// A peer that starts anew while the channel is being closed: what it had not got
// is reported, and Close does not say that all is well.
func TestRestartWhileClosing(t *testing.T) {
	for _, taken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCable(t, endpoint.Config{})
			c.mustConnect()
			c.ends[0].Send(t.Context(), []byte("1"))
			c.ends[0].Send(t.Context(), []byte("2"))
			if taken {
				c.recv(1, 2)
				time.Sleep(time.Second)
			} else {
				synctest.Wait()
			}
			c.cut()
			closed := make(chan error, 1)
			go func() { closed <- c.ends[0].Close(t.Context(), nil) }()
			synctest.Wait()
			old := c.ends[1]
			c.start(1, endpoint.Config{})
			c.connect()
			err := <-closed
			var restart *endpoint.RestartError
			_, told := c.ends[0].Recv(t.Context())
			if taken {
				if err != nil || errors.As(told, &restart) {
					t.Errorf("all was taken, and Close = %v, Recv = %v", err, told)
				}
			} else if !errors.Is(err, endpoint.ErrUnknownFate) || !errors.As(told, &restart) || len(restart.Unknown) != 2 {
				t.Errorf("Close = %v, Recv = %v", err, told)
			}
			if _, err := c.ends[0].Recv(t.Context()); !errors.Is(err, conn.ErrClosed) {
				t.Errorf("Recv after the end = %v", err)
			}
			c.close()
			stopped, stop := context.WithCancel(context.Background())
			stop()
			old.Close(stopped, nil)
		})
	}
}
