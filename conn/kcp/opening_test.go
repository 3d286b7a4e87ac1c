package kcp

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestBakery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery()
		time.Sleep(time.Minute)
		at := netip.MustParseAddrPort("192.0.2.1:7")
		cookie := b.cookie(at, 1)
		for what, ok := range map[string]bool{
			"another bakery":       newBakery().knows(cookie, at, 1),
			"another port":         b.knows(cookie, netip.MustParseAddrPort("192.0.2.1:8"), 1),
			"another host":         b.knows(cookie, netip.MustParseAddrPort("192.0.2.2:7"), 1),
			"another conversation": b.knows(cookie, at, 2),
			"no cookie":            b.knows([cookieSize]byte{}, at, 1),
		} {
			if ok {
				t.Errorf("%s: it is good, too", what)
			}
		}
		if !b.knows(cookie, netip.MustParseAddrPort("[::ffff:192.0.2.1]:7"), 1) {
			t.Error("it is not good for the same address written as IPv6")
		}
		time.Sleep(cookieLife)
		if !b.knows(cookie, at, 1) {
			t.Errorf("it is not good any more after %v", cookieLife)
		}
		time.Sleep(cookieLife)
		if b.knows(cookie, at, 1) {
			t.Errorf("it is still good after %v", 2*cookieLife)
		}
	})
}

// FuzzOpening: what is read as an opening is one, byte for byte, and none is a
// packet of KCP.
func FuzzOpening(f *testing.F) {
	p := opening{op: opOpen, conversation: 7, cookie: [cookieSize]byte{1, 2, 3}}.packet()
	g := greeting(7)
	f.Add(p[:])
	f.Add(p[:27])
	f.Add(g[:])
	f.Fuzz(func(t *testing.T, p []byte) {
		o, ok := parseOpening(p)
		if q := o.packet(); ok && string(q[:]) != string(p) {
			t.Errorf("%x is read as %x", p, q)
		}
		if _, kcp := conversationOf(p); ok && kcp {
			t.Errorf("%x is both", p)
		}
	})
}
