package network_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

type misspelt struct{ *probe }

func (misspelt) OnConect(*agent.Behavior, conn.Info) {}

func TestG7DuplicateAndUnknown(t *testing.T) {
	t.Run("registration", func(t *testing.T) { bubble(t, badRegistrations) })
	t.Run("wire", func(t *testing.T) { bubble(t, unknownOnTheWire) })
	t.Run("versions", func(t *testing.T) { bubble(t, otherVersions) })
	t.Run("refusals", func(t *testing.T) { bubble(t, refusalsAreFew) })
}

func badRegistrations(t *testing.T) {
	b := newBench(t)
	h := b.host(1)
	register(t, h, service, newProbe())
	bad := func() {
		t.Helper()
		for _, c := range []struct {
			id   identity.ServiceID
			b    *probe
			want string
		}{
			{service, newProbe(), "service 70 is taken by probe"},
			{0, newProbe(), "service ID 0"},
		} {
			if err := h.Register(c.id, c.b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Register(%d): %v, want %q", c.id, err, c.want)
			}
		}
		if err := h.Register(71, misspelt{newProbe()}); err == nil || !strings.Contains(err.Error(), "OnConect") {
			t.Errorf("Register of a misspelt callback: %v", err)
		}
		if err := h.Register(71, nil); err == nil {
			t.Error("Register of nil worked")
		}
		if err := h.RegisterFunc(71, nil); err == nil {
			t.Error("RegisterFunc of nil worked")
		}
		for _, name := range []string{strings.Repeat("x", 65), "two\nlines", "schön"} {
			p := newProbe()
			p.info.Name = name
			if err := h.Register(71, p); err == nil {
				t.Errorf("a service is called %q", name)
			}
		}
		p := newProbe()
		p.info.Window = 100
		if err := h.Register(71, p); err == nil || !strings.Contains(err.Error(), "Limits.Message") {
			t.Errorf("Register with a window less than a message: %v", err)
		}
	}
	bad()
	h.run("mem://a")
	bad()
	if s := h.Services(); len(s) != 1 {
		t.Errorf("services: %v", s)
	}
}

func unknownOnTheWire(t *testing.T) {
	b := newBench(t)
	p := newProbe()
	h := b.with(1, p)
	r := b.opened(2, h)
	get(t, p.connected, "OnConnect")

	// A service that is not here.
	r.send(directFrame(999, 1, "x"))
	frame, id, err := wire.ParseRefused(r.until(wire.TypeRefused))
	if err != nil || frame != wire.TypeDirect || id != 999 {
		t.Errorf("refused: type %d, service %d, %v", frame, id, err)
	}
	r.send(wire.AppendPeer(nil, &wire.Peer{Service: 998, From: 5, ID: 7, Flags: wire.FlagReport}, 0))
	report, err := wire.ParseReport(r.until(wire.TypeReport))
	if err != nil || report.Code != wire.ReportNoService || report.ID != 7 || report.To != 5 || report.Service != 998 || report.Reporter != h.Self() || report.Target != r.key.ID() {
		t.Errorf("report: %+v, %v", report, err)
	}
	r.send(wire.AppendRouted(nil, &wire.Routed{Rule: router.RuleNode, TTL: 3, Hops: 1, Service: 997, Flags: wire.FlagReport, Origin: r.key.ID(), Target: h.Self()}, 0))
	if report, err = wire.ParseReport(r.until(wire.TypeReport)); err != nil || report.Code != wire.ReportNoService || report.Service != 997 {
		t.Errorf("report: %+v, %v", report, err)
	}
	if n := h.count("unknown_service"); n != 3 {
		t.Errorf("unknown_service is %d, want 3", n)
	}
	// A frame type from the future.
	r.send(append(wire.AppendPrefix(nil, 200, 5), "abcde"...))
	if frame, id, err = wire.ParseRefused(r.until(wire.TypeRefused)); err != nil || id != 0 || frame != 200 {
		t.Errorf("refused: type %d, service %d, %v", frame, id, err)
	}
	if n := h.count("unknown_frame"); n != 1 {
		t.Errorf("unknown_frame is %d, want 1", n)
	}
	// What nobody asked for, and what nobody knows, is ignored.
	r.send(wire.AppendPing(nil, wire.TypePong, 1))
	r.send(wire.AppendRefused(nil, 99, 12345))
	r.send(wire.AppendCredit(nil, 12345, 1))
	r.send(wire.AppendReport(nil, &wire.Report{TTL: 1, Code: 99, To: 12345, Target: h.Self()}))
	r.send(wire.AppendReport(nil, &wire.Report{TTL: 1, Code: 99, To: service, Target: h.Self()}))
	// A kind is the behaviour's business.
	r.send(directFrame(service, 0xfeff, "a kind"))
	if m := get(t, p.received, "a message of an unknown kind"); m.Kind != 0xfeff || m.text != "a kind" {
		t.Errorf("received %+v", m)
	}
	r.alive()
	if len(p.lost) != 0 {
		t.Error("the connection was lost")
	}
}

func otherVersions(t *testing.T) {
	b := newBench(t)
	p := newProbe()
	h := b.with(1, p)
	for i, c := range []struct {
		min, max uint16
		ok       bool
	}{{0, 0, false}, {2, 9, false}, {0, 1, true}, {1, 65535, true}} {
		r := b.raw(byte(10+i), h)
		r.send(hello(func(h *wire.Hello) { h.MinVersion, h.MaxVersion = c.min, c.max }))
		r.want(wire.TypeHello)
		if c.ok {
			r.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
			r.want(wire.TypeReady)
			continue
		}
		ce := r.goodbye()
		wantCode(t, ce, conn.CodeVersion)
		if !strings.Contains(ce.Reason, "versions") {
			t.Errorf("the reason is %q", ce.Reason)
		}
	}
}

// One who goes on sending what is not known is not answered for ever.
func refusalsAreFew(t *testing.T) {
	b := newBench(t)
	p := newProbe()
	h := b.with(1, p)
	r := b.opened(2, h)
	for range 500 {
		r.send(append(wire.AppendPrefix(nil, 200, 5), "abcde"...))
	}
	r.send(wire.AppendPing(nil, wire.TypePing, 1))
	refused := 0
	for {
		typ, _, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if typ == wire.TypePong {
			break
		}
		if typ == wire.TypeRefused {
			refused++
		}
	}
	if refused == 0 || refused > 100 {
		t.Errorf("%d refusals were sent, want up to 100", refused)
	}
	if n := h.count("unknown_frame"); n != 500 {
		t.Errorf("unknown_frame is %d, want 500", n)
	}
}

// Sending to a service that the other end lacks is an error at the sender, and
// services with one ID and two names are two services.
func TestG7ServicesMatchByIDAndName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		other := newProbe()
		other.info.Name = "another"
		na, nb := b.host(1), b.host(2)
		register(t, na, service, pa)
		register(t, nb, service, other)
		register(t, nb, 71, pb)
		na.run("mem://a")
		nb.run("mem://b")
		info := connect(t, na, nb)
		synctest.Wait()
		if len(pa.connected)+len(pb.connected)+len(other.connected) != 0 {
			t.Error("OnConnect was called for a service that the other end lacks")
		}
		for _, to := range []router.Route{router.ToConn(info.ID), router.ToNode(nb.Self()), router.ToConn(info.ID).At(72), router.ToNode(nb.Self()).At(72)} {
			if err := pa.a.Send(to, 1, nil); !errors.Is(err, agent.ErrNoService) {
				t.Errorf("Send to %v: %v, want ErrNoService", to, err)
			}
		}
		// A service may be sent to from another.
		if err := pa.a.Send(router.ToNode(nb.Self()).At(71), 1, []byte("from 70")); err != nil {
			t.Fatal(err)
		}
		if m := get(t, pb.received, "a message from another service"); m.FromService != service || m.Service != 71 {
			t.Errorf("received %+v", m)
		}
		if na.count("refused_by_peers") != 0 {
			t.Error("something was sent in vain")
		}
	})
}
