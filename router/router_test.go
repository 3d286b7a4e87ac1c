package router_test

import (
	"fmt"
	"testing"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// RT-19 of the reference: the predicates of actions.
func TestAction(t *testing.T) {
	for _, tt := range []struct {
		name    string
		a       router.Action
		reject  bool
		deliver bool
		conn    identity.ConnID
		text    string
	}{
		{"zero", router.Action{}, true, false, 0, "reject"},
		{"Reject", router.Reject(), true, false, 0, "reject"},
		{"Deliver", router.Deliver(), false, true, 0, "deliver"},
		{"Forward", router.Forward(7), false, false, 7, "forward:7"},
		{"Forward(0)", router.Forward(0), true, false, 0, "reject"},
	} {
		if tt.a.IsReject() != tt.reject || tt.a.IsDeliver() != tt.deliver || tt.a.Conn() != tt.conn {
			t.Errorf("%s: IsReject %t, IsDeliver %t, Conn %d; want %t, %t, %d",
				tt.name, tt.a.IsReject(), tt.a.IsDeliver(), tt.a.Conn(), tt.reject, tt.deliver, tt.conn)
		}
		if got := tt.a.String(); got != tt.text {
			t.Errorf("%s: String() = %q, want %q", tt.name, got, tt.text)
		}
	}
}

func TestRoute(t *testing.T) {
	node, key := identity.NodeID{1}, identity.Key{2}
	for _, tt := range []struct {
		r    router.Route
		want router.Route
		node identity.NodeID
		key  identity.Key
		text string
	}{
		{router.Route{}, router.Route{}, identity.NodeID{}, identity.Key{}, "nowhere"},
		{router.ToConn(7), router.Route{Rule: router.RuleConn, Conn: 7}, identity.NodeID{}, identity.Key{}, "conn:7"},
		{router.ToNode(node), router.Route{Rule: router.RuleNode, Target: node}, node, identity.Key{}, "node:aeaaaaaa"},
		{router.ToKey(key), router.Route{Rule: router.RuleKey, Target: key}, identity.NodeID{}, key, "key:aiaaaaaa"},
		{router.ToService(70), router.Route{Rule: router.RuleService, Service: 70}, identity.NodeID{}, identity.Key{}, "service:70"},
		{router.ToConn(7).At(9), router.Route{Rule: router.RuleConn, Conn: 7, Service: 9}, identity.NodeID{}, identity.Key{}, "conn:7/9"},
		{router.ToNode(node).At(9), router.Route{Rule: router.RuleNode, Target: node, Service: 9}, node, identity.Key{}, "node:aeaaaaaa/9"},
		{router.ToKey(key).At(9), router.Route{Rule: router.RuleKey, Target: key, Service: 9}, identity.NodeID{}, key, "key:aiaaaaaa/9"},
		{router.ToService(70).At(9), router.ToService(9), identity.NodeID{}, identity.Key{}, "service:9"},
		{router.Route{Rule: 200}, router.Route{Rule: 200}, identity.NodeID{}, identity.Key{}, "rule200"},
	} {
		if tt.r != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.text, tt.r, tt.want)
		}
		if tt.r.Node() != tt.node || tt.r.Key() != tt.key {
			t.Errorf("%s: Node() = %v, Key() = %v; want %v, %v", tt.text, tt.r.Node(), tt.r.Key(), tt.node, tt.key)
		}
		if got := tt.r.String(); got != tt.text {
			t.Errorf("String() = %q, want %q", got, tt.text)
		}
	}
}

// The numbers are on the wire.
func TestRulesKeepTheirNumbers(t *testing.T) {
	for want, rule := range []router.Rule{0, router.RuleConn, router.RuleNode, router.RuleKey, router.RuleService} {
		if int(rule) != want {
			t.Errorf("rule %d has become %d", want, rule)
		}
	}
}

// spy answers each question with a connection of its own, and records in.
type spy struct{ in identity.ConnID }

func (s *spy) PathToNode(id identity.NodeID, in identity.ConnID) router.Action {
	s.in = in
	return router.Forward(100 + identity.ConnID(id[0]))
}

func (s *spy) PathToKey(key identity.Key, in identity.ConnID) router.Action {
	s.in = in
	return router.Forward(200 + identity.ConnID(key[0]))
}

func (s *spy) PathToService(id identity.ServiceID, in identity.ConnID) router.Action {
	s.in = in
	return router.Forward(300 + identity.ConnID(id))
}

func TestPathTo(t *testing.T) {
	for _, tt := range []struct {
		r     router.Route
		in    identity.ConnID
		want  router.Action
		asked bool
	}{
		{router.ToNode(identity.NodeID{1}), 5, router.Forward(101), true},
		{router.ToKey(identity.Key{2}), 5, router.Forward(202), true},
		{router.ToService(3), 5, router.Forward(303), true},
		{router.ToNode(identity.NodeID{1}).At(8), 5, router.Forward(101), true},
		{router.ToConn(7), 0, router.Forward(7), false},
		{router.ToConn(7), 5, router.Deliver(), false}, // the other end numbers it differently
		{router.ToConn(0), 0, router.Reject(), false},
		{router.Route{}, 0, router.Reject(), false},
		{router.Route{}, 5, router.Reject(), false},
		{router.Route{Rule: 200}, 5, router.Reject(), false},
	} {
		s := &spy{}
		if got := router.PathTo(s, tt.r, tt.in); got != tt.want {
			t.Errorf("PathTo(%v, %d) = %v, want %v", tt.r, tt.in, got, tt.want)
		}
		if asked := s.in == tt.in; asked != tt.asked && tt.in != 0 {
			t.Errorf("PathTo(%v, %d): the table was asked: %t, want %t", tt.r, tt.in, asked, tt.asked)
		}
	}
}

func TestPathToAllocatesNothing(t *testing.T) {
	var table router.Table = &spy{}
	r := router.ToNode(identity.NodeID{1}).At(9)
	if n := testing.AllocsPerRun(100, func() { router.PathTo(table, r, 5) }); n != 0 {
		t.Errorf("PathTo allocates %v times", n)
	}
}

// chain sends everything out on one link.
type chain struct {
	self identity.NodeID
	link identity.ConnID
}

func (c chain) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	switch {
	case dest == c.self:
		return router.Deliver()
	case in == c.link:
		return router.Reject() // never back
	}
	return router.Forward(c.link)
}

func (c chain) PathToKey(identity.Key, identity.ConnID) router.Action { return router.Deliver() }

func (c chain) PathToService(identity.ServiceID, identity.ConnID) router.Action {
	return router.Reject()
}

func ExamplePathTo() {
	a, b := identity.NodeID{1}, identity.NodeID{2}
	var table router.Table = chain{self: a, link: 1}

	fmt.Println(router.PathTo(table, router.ToNode(b), 0))
	fmt.Println(router.PathTo(table, router.ToNode(b), 1))
	fmt.Println(router.PathTo(table, router.ToNode(a), 1))
	fmt.Println(router.PathTo(table, router.ToConn(1), 0))
	// Output:
	// forward:1
	// reject
	// deliver
	// forward:1
}

func ExampleRoute() {
	r := router.ToKey(identity.KeyOf([]byte("a name"))).At(70)
	fmt.Println(r.Rule == router.RuleKey, r.Service)
	fmt.Println(router.ToService(70) == router.ToService(71).At(70))
	fmt.Println(router.ToConn(7))
	// Output:
	// true 70
	// true
	// conn:7
}
