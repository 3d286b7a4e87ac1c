package kademlia

import (
	"fmt"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

var sink router.Action

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{8, 64, 512} {
		table := New(id(0))
		links(table, n, 9)
		for i := range 1000 {
			table.SetNode(id(10_000+i), []identity.ServiceID{8})
		}
		var keys [256]identity.Key
		var far, near [256]identity.NodeID
		for i := range keys {
			keys[i] = identity.KeyOf([]byte{byte(i)})
			far[i], near[i] = id(20_000+i), id(1+i%n)
		}
		for _, bench := range []struct {
			name string
			f    func(i int) router.Action
		}{
			{"neighbour", func(i int) router.Action { return table.PathToNode(near[i%256], 0) }},
			{"node", func(i int) router.Action { return table.PathToNode(far[i%256], 0) }},
			{"key", func(i int) router.Action { return table.PathToKey(keys[i%256], 0) }},
			{"service", func(i int) router.Action { return table.PathToService(9, 1) }},
			{"far service", func(i int) router.Action { return table.PathToService(8, 0) }},
		} {
			b.Run(fmt.Sprintf("%s/links=%d", bench.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					sink = bench.f(i)
				}
			})
		}
	}
}

func BenchmarkChange(b *testing.B) {
	for _, n := range []int{8, 64, 512} {
		table := New(id(0))
		links(table, n, 1, 2, 3)
		l := router.Link{Conn: 1, Node: id(1), Services: []identity.ServiceID{1, 2, 3}}
		b.Run(fmt.Sprintf("link/links=%d", n), func(b *testing.B) {
			for b.Loop() {
				table.RemoveLink(1)
				table.AddLink(l)
			}
		})
		b.Run(fmt.Sprintf("rtt/links=%d", n), func(b *testing.B) {
			for l.RTT = 1; b.Loop(); l.RTT += time.Microsecond {
				table.AddLink(l)
			}
		})
	}
	b.Run("directory", func(b *testing.B) {
		table := New(id(0))
		services := []identity.ServiceID{1, 2, 3}
		for i := range DefaultMaxNodes {
			table.SetNode(id(i+1), services)
		}
		for i := 0; b.Loop(); i++ {
			n := id(1 + i%DefaultMaxNodes)
			table.RemoveNode(n)
			table.SetNode(n, services)
		}
	})
}
