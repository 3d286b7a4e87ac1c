package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/router"
)

// id returns an ID of 32 equal bytes.
func id(b byte) (n identity.NodeID) {
	for i := range n {
		n[i] = b
	}
	return n
}

var (
	goldenServices = []Service{
		{Service: conn.Service{ID: 70, Name: "chat", Version: 2}, Window: 1 << 20},
		{Service: conn.Service{ID: 0xfffe}, Window: 4096, Private: true},
	}
	goldenHello = &Hello{MinVersion: 1, MaxVersion: 3, Network: "test", Instance: 0x0102030405060708, MaxMessage: 1 << 20, RoutedWindow: 1 << 21,
		Services: goldenServices}
	goldenPeer   = Peer{Service: 70, From: 71, Kind: 5, Flags: FlagReport, ID: 0x1122334455667788}
	goldenRouted = Routed{Rule: router.RuleNode, TTL: 32, Hops: 1, Flags: FlagReport, Service: 70, From: 71, Kind: 5, ID: 9, Origin: id(0xaa), Target: id(0xbb)}
	goldenReport = Report{TTL: 32, Code: ReportQueueFull, To: 71, Kind: 5, Service: 70, ID: 9, Reporter: id(0xcc), Target: id(0xaa)}
)

const (
	hexServices = "0046 00000002 00100000 00 04 63686174" + "fffe 00000000 00001000 01 00"
	hex32a      = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hex32b      = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	hex32c      = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
)

// goldens pins the format: two releases that disagree here do not understand
// each other.
var goldens = []struct {
	name string
	got  []byte
	want string
}{
	{"ready", AppendPrefix(nil, TypeReady, 0), "000000 02"},
	{"hello", AppendHello(nil, goldenHello), "00004b 01 706c657875730d0a" + "01 0004 0001 0003" + "02 0004 74657374" + "03 0008 0102030405060708" +
		"04 0008 00100000 00200000" + "05 001c" + hexServices},
	{"services", AppendServices(nil, goldenServices), "00001c 0a" + hexServices},
	{"no services", AppendServices(nil, nil), "000000 0a"},
	{"direct", append(AppendDirect(nil, 70, 0x0102, 3), "abc"...), "000007 03 0046 0102 616263"},
	{"peer", append(AppendPeer(nil, &goldenPeer, 3), "abc"...), "000013 04 0046 0005 0047 0001 1122334455667788 616263"},
	{"routed", append(AppendRouted(nil, &goldenRouted, 3), "abc"...), "000057 05 02 20 01 01 0046 0005 0047 0000 0000000000000009" + hex32a + hex32b + "616263"},
	{"report", AppendReport(nil, &goldenReport), "000050 0b 20 03 0047 0005 0046 0000000000000009" + hex32c + hex32a},
	{"credit", AppendCredit(nil, 70, 0x01020304), "000006 06 0046 01020304"},
	{"goodbye", AppendGoodbye(nil, conn.CodeShutdown, "bye"), "000005 07 0001 627965"},
	{"ping", AppendPing(nil, TypePing, 0x1122334455667788), "000008 08 1122334455667788"},
	{"pong", AppendPing(nil, TypePong, 1), "000008 09 0000000000000001"},
	{"refused", AppendRefused(nil, TypeDirect, 70), "000003 0c 03 0046"},
	{"datagrams", AppendPrefix(nil, TypeDatagrams, 0), "000000 0d"},
}

// TestGolden is MS-1 of the reference: the bytes of every frame.
func TestGolden(t *testing.T) {
	seen := make(map[Type]bool)
	for _, g := range goldens {
		want, err := hex.DecodeString(strings.ReplaceAll(g.want, " ", ""))
		if err != nil {
			t.Fatal(g.name, err)
		}
		if !bytes.Equal(g.got, want) {
			t.Errorf("%s is\n%x, want\n%x", g.name, g.got, want)
		}
		typ, n := Prefix(g.got)
		if seen[typ] = true; n != len(g.got)-PrefixSize {
			t.Errorf("%s: the prefix says %d bytes, %d follow", g.name, n, len(g.got)-PrefixSize)
		}
	}
	for typ := TypeHello; typ <= TypeDatagrams; typ++ {
		if !seen[typ] {
			t.Errorf("no golden vector for frames of type %d", typ)
		}
	}
}

// body returns a golden frame without its prefix.
func body(t testing.TB, name string) []byte {
	t.Helper()
	for _, g := range goldens {
		if g.name == name {
			return bytes.Clone(g.got[PrefixSize:])
		}
	}
	t.Fatal("no golden vector ", name)
	return nil
}

// TestRoundTrips is MS-3: what is encoded comes back.
func TestRoundTrips(t *testing.T) {
	check := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, error %v; want %+v", name, got, err, want)
		}
	}
	h, err := ParseHello(body(t, "hello"))
	check("hello", h, goldenHello, err)
	services, err := ParseServices(body(t, "services"))
	check("services", services, goldenServices, err)
	none, err := ParseServices(nil)
	check("no services", len(none), 0, err)
	s, k, p, err := Direct(body(t, "direct"))
	check("direct", []any{s, k, string(p)}, []any{identity.ServiceID(70), conn.Kind(0x102), "abc"}, err)
	peer, p, err := ParsePeer(body(t, "peer"))
	check("peer", []any{peer, string(p)}, []any{goldenPeer, "abc"}, err)
	routed, p, err := ParseRouted(body(t, "routed"))
	check("routed", []any{routed, string(p)}, []any{goldenRouted, "abc"}, err)
	check("route", routed.Route(), router.ToNode(id(0xbb)).At(70), nil)
	report, err := ParseReport(body(t, "report"))
	check("report", report, goldenReport, err)
	s, n, err := ParseCredit(body(t, "credit"))
	check("credit", []any{s, n}, []any{identity.ServiceID(70), uint32(0x01020304)}, err)
	ce, err := ParseGoodbye(body(t, "goodbye"))
	check("goodbye", ce, &conn.CloseError{Code: conn.CodeShutdown, Reason: "bye", Remote: true}, err)
	token, err := ParsePing(body(t, "ping"))
	check("ping", token, uint64(0x1122334455667788), err)
	typ, s, err := ParseRefused(body(t, "refused"))
	check("refused", []any{typ, s}, []any{TypeDirect, identity.ServiceID(70)}, err)
}

// decoders reads the body of a frame by its name.
var decoders = map[string]func([]byte) error{
	"hello":    func(b []byte) error { _, err := ParseHello(b); return err },
	"services": func(b []byte) error { _, err := ParseServices(b); return err },
	"direct":   func(b []byte) error { _, _, _, err := Direct(b); return err },
	"peer":     func(b []byte) error { _, _, err := ParsePeer(b); return err },
	"routed":   func(b []byte) error { _, _, err := ParseRouted(b); return err },
	"report":   func(b []byte) error { _, err := ParseReport(b); return err },
	"credit":   func(b []byte) error { _, _, err := ParseCredit(b); return err },
	"goodbye":  func(b []byte) error { _, err := ParseGoodbye(b); return err },
	"ping":     func(b []byte) error { _, err := ParsePing(b); return err },
	"refused":  func(b []byte) error { _, _, err := ParseRefused(b); return err },
}

// TestTruncated is MS-2: what is cut short is an error, never a panic.
func TestTruncated(t *testing.T) {
	least := map[string]int{"direct": DirectHeader, "peer": PeerHeader, "routed": RoutedHeader, "report": ReportBody, "credit": 6, "goodbye": 2, "ping": 8, "refused": 3}
	for name, decode := range decoders {
		b := body(t, name)
		if err := decode(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range b {
			err := decode(bytes.Clone(b[:n])) // a copy, so that reading beyond shows
			ok := err == nil
			switch name {
			case "hello":
				// Without its last field a hello is whole: there are no services.
				if ok != (n == len(b)-3-len(body(t, "services"))) {
					t.Errorf("hello of %d of %d bytes: %v", n, len(b), err)
				}
			case "services":
				if ok != (n == 0 || n == 16) {
					t.Errorf("services of %d of %d bytes: %v", n, len(b), err)
				}
			default:
				if ok != (n >= least[name]) {
					t.Errorf("%s of %d of %d bytes: %v", name, n, len(b), err)
				}
			}
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s of %d bytes: error %v is not ErrMalformed", name, n, err)
			}
		}
		// Fields that a later version adds behind are skipped.
		if name != "hello" && name != "services" {
			if err := decode(append(b, "later"...)); err != nil {
				t.Errorf("%s with more behind: %v", name, err)
			}
		}
	}
}

func TestMalformedHello(t *testing.T) {
	for _, c := range []struct {
		name string
		body string
		text string
	}{
		{"no magic", "plexus\r\r", "magic"},
		{"only magic", magic, "required"},
		{"half a field", magic + "\x01\x00", "within a field"},
		{"a field longer than the rest", magic + "\x01\x00\x05abcd", "has 5 bytes and 4 are left"},
		{"versions too short", magic + "\x01\x00\x03abc", "has 3 bytes, want 4"},
		{"instance too short", magic + "\x03\x00\x07abcdefg", "has 7 bytes, want 8"},
		{"limits too short", magic + "\x04\x00\x04abcd", "has 4 bytes, want 8"},
		{"a field twice", magic + "\x02\x00\x01a\x02\x00\x01b", "twice"},
		{"a long name", magic + "\x02\x00\x41" + strings.Repeat("x", 65), "name of 65 bytes"},
		{"far too long", magic + strings.Repeat("x", MaxHello+1024), "at most"},
	} {
		_, err := ParseHello([]byte(c.body))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.text)
		}
	}
	// Unknown fields are skipped, longer ones read as far as they are known.
	b := AppendHello(nil, goldenHello)[PrefixSize:]
	b = append(b, "\x63\x00\x03abc\x63\x00\x00\xff\x00\x01z"...)
	if h, err := ParseHello(b); err != nil || !reflect.DeepEqual(h, goldenHello) {
		t.Errorf("with unknown fields: %+v, %v", h, err)
	}
}

func TestMalformedServices(t *testing.T) {
	entry := func(id identity.ServiceID, name string) Service {
		return Service{Service: conn.Service{ID: id, Name: name}, Window: 1}
	}
	var many []Service
	for i := range MaxServices {
		many = append(many, entry(identity.ServiceID(i+1), ""))
	}
	if s, err := ParseServices(appendServices(nil, many)); err != nil || len(s) != MaxServices {
		t.Errorf("%d services: %d, %v", MaxServices, len(s), err)
	}
	for name, services := range map[string][]Service{
		"ID 0": {entry(0, "x")}, "twice": {entry(1, "a"), entry(2, "b"), entry(1, "c")}, "too many": append(many, entry(2000, "")),
		"a long name": {entry(1, strings.Repeat("x", 65))},
	} {
		if _, err := ParseServices(appendServices(nil, services)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Names are made printable, windows cut down, unknown flags ignored.
	s := entry(1, "a\x00\x1b\xffz")
	s.Window = 1 << 31
	b := appendServices(nil, []Service{s})
	b[10] = 0xfe
	got, err := ParseServices(b)
	if err != nil || len(got) != 1 || got[0].Name != "a???z" || got[0].Window != MaxWindow || got[0].Private {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMalformedRouted(t *testing.T) {
	for rule := range 256 {
		b := body(t, "routed")
		b[0] = byte(rule)
		_, _, err := ParseRouted(b)
		known := router.Rule(rule) >= router.RuleNode && router.Rule(rule) <= router.RuleService
		if (err == nil) != known {
			t.Errorf("rule %d: %v", rule, err)
		}
	}
	for ext := range 5 {
		b := body(t, "routed")
		b[11] = byte(ext)
		_, payload, err := ParseRouted(b)
		if ext <= 3 && (err != nil || string(payload) != "abc"[ext:]) || ext > 3 && !errors.Is(err, ErrMalformed) {
			t.Errorf("extension of %d bytes: payload %q, error %v", ext, payload, err)
		}
	}
	b := body(t, "routed")
	Forwarded(b, 7, 8)
	h, _, err := ParseRouted(b)
	want := goldenRouted
	if want.TTL, want.Hops = 7, 8; err != nil || h != want {
		t.Errorf("forwarded: %+v, %v", h, err)
	}
}

func TestGoodbyeReason(t *testing.T) {
	b := AppendGoodbye(nil, 5, strings.Repeat("x", 1000))
	if _, n := Prefix(b); n != 2+256 {
		t.Errorf("a goodbye of %d bytes was made", n)
	}
	ce, err := ParseGoodbye([]byte("\x00\x05" + strings.Repeat("\n", 1000)))
	if err != nil || ce.Reason != strings.Repeat("?", 256) {
		t.Errorf("read %q, %v", ce.Reason, err)
	}
}

func TestPrefix(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 65535, MaxBody} {
		for _, typ := range []Type{0, 1, 255} {
			if gt, gn := Prefix(AppendPrefix([]byte{}, typ, n)); gt != typ || gn != n {
				t.Errorf("prefix of type %d with %d bytes reads as type %d with %d", typ, n, gt, gn)
			}
		}
	}
}

// Headers on the hot path are written without allocating.
func TestAppendAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		b := AppendDirect(buf, 70, 1, 0)
		b = AppendPeer(b, &goldenPeer, 0)
		b = AppendRouted(b, &goldenRouted, 0)
		b = AppendCredit(b, 70, 1)
		_, _, _, _ = Direct(b[PrefixSize:])
		_, _, _ = ParseRouted(b[2*PrefixSize+DirectHeader+PrefixSize+PeerHeader:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The sessions of a hello come back as they were; cut short they are malformed.
func TestHelloSessions(t *testing.T) {
	offer := durable.Offer{Epoch: durable.Epoch{1, 2}, Peer: durable.Epoch{3}, Taken: 4, Window: 5, MaxMessage: 6}
	h := Hello{MinVersion: 1, MaxVersion: 1, Network: "plexus", Session: offer, Resume: []durable.Offer{offer, {Epoch: durable.Epoch{9}}}, Said: 7, Renew: true}
	frame := AppendHello(nil, &h)
	got, err := ParseHello(frame[PrefixSize:])
	if err != nil || !reflect.DeepEqual(got, &h) {
		t.Errorf("ParseHello = %+v, %v; want %+v", got, err, h)
	}
	plain := len(AppendHello(nil, &Hello{MinVersion: 1, MaxVersion: 1, Network: "plexus"}))
	for n := plain + 1; n < len(frame); n++ {
		if _, err := ParseHello(frame[PrefixSize:n]); !errors.Is(err, ErrMalformed) && n != plain+3+sessionSize {
			t.Errorf("a hello of %d of %d bytes: %v", n, len(frame), err)
		}
	}
	if said, number := ParseReady(AppendReady(nil, 8, 9)[PrefixSize:]); said != 8 || number != 9 {
		t.Errorf("ParseReady = %d, %d", said, number)
	}
	if said, number := ParseReady(nil); said != 0 || number != 0 {
		t.Errorf("ParseReady of nothing = %d, %d", said, number)
	}
}
