package testnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

// Nodes listen outside of what the system gives away.
func TestSpanBeside(t *testing.T) {
	for _, tt := range []struct {
		given       string
		first, last uint32 // 0: none
	}{
		{"", 10000, 32767},
		{"32768\t60999\n", 10000, 32767},
		{"49152 65535", 10000, 49151},
		{"12000 65535", 10000, 11999},
		{"11999 65535", 0, 0},
		{"11999 63535", 63536, 65535},
		{"1024 65000", 0, 0},
		{"1024 5000", 10000, 65535},
		{"1024 60000", 60001, 65535},
		{"60000 1024", 10000, 32767},
		{"1024 70000", 10000, 32767},
		{"nonsense", 10000, 32767},
	} {
		s := spanBeside(tt.given)
		if tt.first == 0 {
			if s.count != 0 || s.next() != 0 {
				t.Errorf("%q: the ports are %d from %d on, want the system to choose", tt.given, s.count, s.first)
			}
			continue
		}
		if s.first != tt.first || s.first+s.count-1 != tt.last {
			t.Errorf("%q: the ports are %d to %d, want %d to %d", tt.given, s.first, s.first+s.count-1, tt.first, tt.last)
		}
		seen := make(map[int]bool)
		for range s.count {
			seen[s.next()] = true
		}
		if all := int(s.count); len(seen) != all || !seen[int(tt.first)] || !seen[int(tt.last)] {
			t.Errorf("%q: %d of %d ports had their turn", tt.given, len(seen), all)
		}
	}
}

// Ports that others have are left out, for TCP and UDP alike, and a node that
// starts again has its own.
func TestNodesListenAtFreePorts(t *testing.T) {
	for _, transport := range []string{"tcp", "quic"} {
		taken := takePorts(t, transport, 20)
		n, err := Start(context.Background(), Options{Nodes: 2, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range n.Nodes() {
			before := node.Address()
			port := portOf(t, before.Addresses[0])
			if slices.Contains(taken, port) || port == 0 {
				t.Errorf("%s: a node listens at port %d, and %v are taken", transport, port, taken)
			}
			if s := ports(); s.count > 0 && (port < int(s.first) || port >= int(s.first+s.count)) {
				t.Errorf("%s: a node listens at port %d, which the system gives away", transport, port)
			}
			if err := n.Stop(node.Index); err != nil {
				t.Error(err)
			}
			if err := n.Restart(node.Index); err != nil {
				t.Error(err)
			}
			if after := node.Address(); after.String() != before.String() {
				t.Errorf("%s: after a restart the node is at %v, before at %v", transport, after, before)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// takePorts occupies the ports whose turn is next.
func takePorts(t *testing.T, transport string, count int) (taken []int) {
	t.Helper()
	s := ports()
	for i := range count {
		port := 0
		if s.count > 0 {
			port = int(s.first + (s.turn.Load()+uint32(i)+1)%s.count)
		}
		at := fmt.Sprintf("127.0.0.1:%d", port)
		var c interface{ Close() error }
		var err error
		if transport == "tcp" {
			c, err = net.Listen("tcp", at)
		} else {
			c, err = net.ListenPacket("udp", at)
		}
		if err != nil {
			if os.IsPermission(err) {
				t.Fatal(err)
			}
			continue // somebody else has it
		}
		t.Cleanup(func() { c.Close() })
		taken = append(taken, port)
	}
	return taken
}

func portOf(t *testing.T, addr identity.Address) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
