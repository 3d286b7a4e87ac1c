//go:build !js

package webtransport_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/webtransport"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		// One socket is both: UDP does not refuse.
		silent := listenRaw(t)
		return conntest.Pair{
			Dialer: webtransport.New(), Listener: webtransport.New(), At: addr("127.0.0.1:0"),
			Refused: silent, Silent: silent,
			Garbage: func(t *testing.T, to identity.Address, p []byte) {
				c, err := net.Dial("udp", to.Host)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
			},
			Stalled: stalled, Sockets: "udp",
		}
	})
}

func addr(host string) identity.Address {
	return identity.Address{Scheme: "wt", Host: host, Path: "/plexus"}
}

func listenRaw(t *testing.T) identity.Address {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return addr(pc.LocalAddr().String())
}

// stalled shakes hands for QUIC and then asks for nothing.
func stalled(t *testing.T, to identity.Address) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	tr := &quicgo.Transport{Conn: pc}
	target, err := net.ResolveUDPAddr("udp", to.Host)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	var work sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		work.Wait()
		tr.Close()
		pc.Close()
	})
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}
	qc, err := tr.Dial(ctx, target, c, &quicgo.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
	if err != nil {
		return // given up for a newer one already
	}
	work.Go(func() { <-qc.Context().Done() })
	t.Cleanup(func() { _ = qc.CloseWithError(0, "") })
}
