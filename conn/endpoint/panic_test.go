package endpoint_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
)

// A callback that panics ends its endpoint, with the panic as the cause, and
// nothing else: the peer loses a connection.
func TestPanicsOfCallbacks(t *testing.T) {
	boom := errors.New("boom")
	for name, test := range map[string]struct {
		set func(*endpoint.Config)
		act func(t *testing.T, c *cable)
	}{
		"Receive": {
			func(c *endpoint.Config) { c.Receive = func([]byte) { panic(boom) } },
			func(t *testing.T, c *cable) { c.ends[0].Send(t.Context(), []byte("x")) },
		},
		"OnDatagram": {
			func(c *endpoint.Config) { c.OnDatagram = func([]byte) { panic(boom) } },
			func(t *testing.T, c *cable) { c.ends[0].SendDatagram([]byte("x")) },
		},
		"OnReady": {
			func(c *endpoint.Config) { c.OnReady = func() { panic(boom) } },
			func(t *testing.T, c *cable) {
				go c.ends[1].Recv(t.Context())
				synctest.Wait()
				c.ends[0].Send(t.Context(), []byte("x"))
			},
		},
		"OnRestart": {
			func(c *endpoint.Config) { c.OnRestart = func([][]byte) { panic(boom) } },
			func(t *testing.T, c *cable) {
				stopped, stop := context.WithCancel(context.Background())
				stop()
				c.ends[0].Close(stopped, nil)
				c.start(0, endpoint.Config{})
				c.connect()
			},
		},
		"OnConnect": {
			func(c *endpoint.Config) {
				first := true
				c.OnConnect = func() {
					if !first {
						panic(boom)
					}
					first = false
				}
			},
			func(t *testing.T, c *cable) {
				var p *endpoint.PanicError
				if errs := c.connect(); !errors.As(errs[1], &p) {
					t.Errorf("Carry = %v", errs[1])
				}
			},
		},
		"OnDisconnect": {
			func(c *endpoint.Config) { c.OnDisconnect = func(error) { panic(boom) } },
			func(t *testing.T, c *cable) { c.cut() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCable(t, endpoint.Config{})
				defer c.close()
				c.close()
				var cfg endpoint.Config
				test.set(&cfg)
				c.start(0, endpoint.Config{})
				c.start(1, cfg)
				c.mustConnect()
				synctest.Wait()
				test.act(t, c)
				synctest.Wait()
				select {
				case <-c.ends[1].Done():
				default:
					t.Fatal("the endpoint lives on")
				}
				var p *endpoint.PanicError
				cause := c.ends[1].Cause()
				if !errors.As(cause, &p) || p.Callback != name || p.Value != boom || !strings.Contains(string(p.Stack), "panic_test.go") {
					t.Errorf("the cause is %v", cause)
				}
				if !errors.Is(cause, conn.CodePanic) || !errors.Is(cause, boom) {
					t.Errorf("the cause %v is no panic of a handler, or does not wrap its value", cause)
				}
				if err := c.ends[1].TrySend(nil); err != cause {
					t.Errorf("TrySend = %v", err)
				}
				if ends := c.conns(); c.ends[1].Carry(t.Context(), ends[1]) == nil {
					t.Error("an endpoint that has ended takes a connection")
				}
				time.Sleep(time.Second)
				if err := c.ends[0].TrySend(nil); err != nil {
					t.Errorf("the peer has ended, too: %v", err)
				}
			})
		})
	}
}
