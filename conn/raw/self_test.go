package raw_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
)

// Each address of this machine leads a node to itself that listens at all of them.
func TestANodeFindsItselfAtEveryAddressOfItsMachine(t *testing.T) {
	n, addr := listen(t, &hooks{}, raw.Config{Address: ":0"})
	_, port, _ := net.SplitHostPort(addr)
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	for _, a := range all {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLinkLocalUnicast() {
			continue
		}
		if _, err := n.Connect(t.Context(), net.JoinHostPort(ip.IP.String(), port)); !errors.Is(err, raw.ErrSelf) {
			t.Errorf("Connect to %s: %v, want ErrSelf", ip.IP, err)
		}
	}
}

// What a stream is found to lead to when it is there.
func TestStreamsThatLeadBack(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	everywhere, addr := listen(t, &hooks{}, raw.Config{Address: ":0"})
	a, _ := net.ResolveTCPAddr("tcp", addr)
	own := a.Port
	four, addr := listen(t, &hooks{}, raw.Config{Network: "tcp4", Address: "0.0.0.0:0"})
	a, _ = net.ResolveTCPAddr("tcp", addr)
	own4 := a.Port
	local, addr := listen(t, &hooks{}, raw.Config{Address: "127.0.0.1:0"})
	a, _ = net.ResolveTCPAddr("tcp", addr)
	ownLocal := a.Port
	deaf := start(t, &hooks{}, raw.Config{})
	for _, tt := range []struct {
		name          string
		n             *raw.Node
		local, remote net.Addr
		self          bool
	}{
		{"its port at its address", local, tcp("127.0.0.1", 1), tcp("127.0.0.1", ownLocal), true},
		{"its port at loopback", everywhere, tcp("127.0.0.1", 1), tcp("127.0.0.1", own), true},
		{"its port at an address of the machine", everywhere, tcp("192.0.2.7", 1), tcp("192.0.2.7", own), true},
		{"the same, IPv6", everywhere, tcp("2001:db8::7", 1), tcp("2001:db8::7", own), true},
		{"the same, IPv4 only", four, tcp("192.0.2.7", 1), tcp("192.0.2.7", own4), true},
		{"a socket with itself", deaf, tcp("192.0.2.7", 9), tcp("192.0.2.7", 9), true},
		{"another port of the machine", everywhere, tcp("192.0.2.7", 1), tcp("192.0.2.7", own%60000+1), false},
		{"its port at another machine", everywhere, tcp("192.0.2.7", 1), tcp("192.0.2.8", own), false},
		{"its port at an address where it does not listen", local, tcp("192.0.2.7", 1), tcp("192.0.2.7", ownLocal), false},
		{"its port in IPv6, where it does not listen", four, tcp("2001:db8::7", 1), tcp("2001:db8::7", own4), false},
		{"IPv6 loopback, where it does not listen", four, tcp("::1", 1), tcp("::1", own4), false},
		{"another socket with that port", deaf, tcp("192.0.2.7", 9), tcp("192.0.2.8", 9), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			c, err := tt.n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return addressed{here, tt.local, tt.remote}, nil })
			if errors.Is(err, raw.ErrSelf) != tt.self || !tt.self && err != nil {
				t.Errorf("connected: %v, want that it is the node itself: %t", err, tt.self)
			}
			if c != nil {
				c.Disconnect(nil)
			} else if s := tt.n.Stats(); s.ConnectErrors == 0 || tt.n.NumConnecting() != 0 {
				t.Errorf("%d connecting, %+v", tt.n.NumConnecting(), s)
			}
		})
	}
}

// addressed is a stream with any addresses.
type addressed struct {
	net.Conn
	local, remote net.Addr
}

func (a addressed) LocalAddr() net.Addr  { return a.local }
func (a addressed) RemoteAddr() net.Addr { return a.remote }
