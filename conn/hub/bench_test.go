package hub_test

import (
	"fmt"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// BenchmarkRecv receives from a hub what others send as fast as they can over TCP,
// and next to it from one endpoint of the same hub without the hub's part.
func BenchmarkRecv(b *testing.B) {
	for _, senders := range []int{0, 1, 4} {
		b.Run(fmt.Sprint("senders=", senders), func(b *testing.B) {
			listen := []identity.Address{address(b, "tcp://127.0.0.1:0")}
			to := start(b, hub.Config{Key: key(b, 100), Transports: []conn.Transport{tcp.New()}, Listen: listen})
			defer stop(to)
			p := make([]byte, 256)
			for i := range max(senders, 1) {
				k := key(b, byte(i+1))
				from := start(b, hub.Config{Key: k, Transports: []conn.Transport{tcp.New()}})
				defer stop(from)
				if _, err := to.Add(at(k)); err != nil {
					b.Fatal(err)
				}
				if _, err := from.Add(at(key(b, 100), to.Addrs()...)); err != nil {
					b.Fatal(err)
				}
				go func() {
					for from.Send(b.Context(), to.Self(), p) == nil {
					}
				}()
			}
			recv := func() (err error) { _, _, err = to.Recv(b.Context()); return err }
			if senders == 0 {
				one := to.Peers()[0].Endpoint
				recv = func() (err error) { _, err = one.Recv(b.Context()); return err }
			}
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if err := recv(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
