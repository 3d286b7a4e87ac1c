//go:build unix || windows

package journal_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/journal"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// BenchmarkSave has endpoints of one file save a message of 256 bytes each time,
// while one of 16 leaves. saves/tx is how many are written together.
func BenchmarkSave(b *testing.B) {
	for _, noSync := range []bool{true, false} {
		for _, senders := range []int{1, 64} {
			b.Run(fmt.Sprintf("NoSync=%t/senders=%d", noSync, senders), func(b *testing.B) {
				s := open(b, file(b), journal.Config{NoSync: noSync})
				var journals []endpoint.Journal
				for i := range senders {
					journals = append(journals, loaded(b, s, key(byte(i)).ID()))
				}
				before := journal.Transactions(s)
				b.ResetTimer()
				var work sync.WaitGroup
				for i, j := range journals {
					work.Go(func() {
						c := endpoint.Change{State: make([]byte, 73), Append: [][]byte{make([]byte, 256)}}
						for n := i; n < b.N; n += senders {
							if n/senders == 16 {
								c.Drop = 1
							}
							if err := j.Save(c); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				work.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/float64(journal.Transactions(s)-before), "saves/tx")
			})
		}
	}
}

// road returns an end of a channel over TCP, with a journal or without.
func road(b *testing.B, of func(identity.NodeID) endpoint.Journal) *endpoint.Endpoint {
	near, far := pair()
	start := func(cfg hub.Config) *hub.Hub {
		cfg.Transports = []conn.Transport{tcp.New()}
		h, err := hub.New(cfg)
		must(b, err)
		b.Cleanup(func() {
			over, cancel := context.WithCancel(context.Background())
			cancel()
			_ = h.Close(over)
		})
		must(b, h.Start(b.Context()))
		return h
	}
	to := start(hub.Config{Key: far, Listen: []identity.Address{{Scheme: "tcp", Host: "127.0.0.1:0"}}})
	end, err := to.Add(identity.PeerAddress{ID: near.ID()})
	must(b, err)
	go func() {
		for range end.All(b.Context()) {
		}
	}()
	from := start(hub.Config{Key: near, Journal: of})
	e, err := from.Add(identity.PeerAddress{ID: to.Self(), Addresses: to.Addrs()})
	must(b, err)
	must(b, e.Deliver(b.Context(), nil))
	return e
}

// BenchmarkSend sends messages of 256 bytes over TCP, alternately on a channel with
// a journal and on one without. of-plain is its rate as a part of the other's.
func BenchmarkSend(b *testing.B) {
	for _, noSync := range []bool{true, false} {
		for _, senders := range []int{1, 64} {
			b.Run(fmt.Sprintf("NoSync=%t/senders=%d", noSync, senders), func(b *testing.B) {
				s := open(b, file(b), journal.Config{NoSync: noSync})
				roads := [2]*endpoint.Endpoint{road(b, s.For), road(b, nil)}
				var took [2]time.Duration
				const each = 16
				for b.Loop() {
					for i, e := range roads {
						began := time.Now()
						var work sync.WaitGroup
						for range senders {
							work.Go(func() {
								for range each {
									if err := e.Send(b.Context(), make([]byte, 256)); err != nil {
										b.Error(err)
									}
								}
							})
						}
						work.Wait()
						took[i] += time.Since(began)
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(b.N*senders*each)/took[0].Seconds(), "msg/s")
				b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of-plain")
			})
		}
	}
}
