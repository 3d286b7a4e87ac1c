// Package udptest has what tests of transports over UDP need: names that stand for
// several addresses.
package udptest

import (
	"context"
	"net"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Names has the resolver of this process answer every question for a name's IPv4
// addresses with ips, and with none for IPv6, until the test ends. Tests that use it
// may not run in parallel with others that resolve names.
func Names(t *testing.T, ips ...[4]byte) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with pc
		p := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(p)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(p[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			for _, ip := range ips {
				if q.Type == dnsmessage.TypeA {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
						Body:   &dnsmessage.AResource{A: ip},
					})
				}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = pc.WriteTo(answer, from) // or it is asked again
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		pc.Close()
	})
}
