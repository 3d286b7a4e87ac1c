package identity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Address
		back string // what it prints as, if not text
	}{
		{"quic://127.0.0.1:4100", Address{"quic", "127.0.0.1:4100", ""}, ""},
		{"tcp://example.org:1", Address{"tcp", "example.org:1", ""}, ""},
		{"quic://:0", Address{"quic", ":0", ""}, ""},
		{"quic://[::1]:65535", Address{"quic", "[::1]:65535", ""}, ""},
		{"quic://[fe80::1%eth0]:4100", Address{"quic", "[fe80::1%eth0]:4100", ""}, ""},
		{"quic://[127.0.0.1]:1", Address{"quic", "127.0.0.1:1", ""}, "quic://127.0.0.1:1"},
		{"wss://example.org:443/plexus/v1", Address{"wss", "example.org:443", "/plexus/v1"}, ""},
		{"ws://example.org:80/", Address{"ws", "example.org:80", "/"}, ""},
		{"mem://alice", Address{"mem", "alice", ""}, ""},
		{"mem://a:b/c", Address{"mem", "a:b", "/c"}, ""},
		{"kcp2://h:1", Address{"kcp2", "h:1", ""}, ""},
		{"tcp+plain://h:1", Address{"tcp+plain", "h:1", ""}, ""},
		{"unix:///run/plexus.sock", Address{"unix", "", "/run/plexus.sock"}, ""},
	} {
		got, err := ParseAddress(tt.text)
		if got != tt.want || err != nil {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if tt.back == "" {
			tt.back = tt.text
		}
		if got.String() != tt.back {
			t.Errorf("ParseAddress(%q) prints as %q, want %q", tt.text, got, tt.back)
		}
	}
}

func TestParseAddressErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", `no "://"`},
		{"127.0.0.1:4100", `no "://"`},
		{"://h:1", "scheme before"},
		{"QUIC://h:1", `scheme "QUIC": byte 1 is 'Q'`},
		{"qu-ic://h:1", `byte 3 is '-'`},
		{"1q://h:1", `byte 1 is '1'`},
		{"quic://h", `host and port "h": missing port in address`},
		{"quic://h:", `port ""`},
		{"quic://h:x", `port "x"`},
		{"quic://h:65536", `port "65536"`},
		{"quic://h:080", `port "080"`},
		{"quic://h:-1", `port "-1"`},
		{"quic://::1:4100", "too many colons"},
		{"quic://[::1:4100", "missing ']'"},
		{"quic://[zz::]:1", `host "zz::" is not an IPv6 address`},
		{"quic://h 1:1", "byte 9 is ' '"},
		{"quic://h:1,tcp://h:1", "byte 11 is ','"},
		{"id@quic://h:1", "byte 3 is '@'"},
		{"quic://h:1\n", `byte 11 is '\n'`},
		{"quic://é:1", "byte 8"},
		{"mem://", "no name after mem://"},
		{"mem:///path", "no name after mem://"},
		{"unix://run/plexus.sock", "unix:///run/name.sock"},
		{"unix://", "unix:///run/name.sock"},
		{"unix:///", "unix:///run/name.sock"},
		{"quic://" + strings.Repeat("h", 300) + ":1", "has 309 bytes, at most 255"},
	} {
		a, err := ParseAddress(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "identity: address ") || !a.IsZero() {
			t.Errorf("ParseAddress(%q) = %v, error %v; want one that says %s", tt.text, a, err, tt.want)
		}
	}
}

// ID-4 of the reference: the text of a peer address comes back.
func TestPeerAddressText(t *testing.T) {
	id := testKey(t, 1).ID()
	for _, list := range []string{
		"quic://127.0.0.1:4100",
		"quic://127.0.0.1:4100,tcp://127.0.0.1:4100",
		"mem://alice,wss://example.org:443/x",
	} {
		text := id.String() + "@" + list
		p, err := ParsePeerAddress(text)
		if err != nil || p.ID != id || len(p.Addresses) != strings.Count(list, ",")+1 || p.String() != text {
			t.Errorf("ParsePeerAddress(%q) = %v, %v", text, p, err)
		}
	}
}

func TestParsePeerAddressErrors(t *testing.T) {
	id := testKey(t, 1).ID().String()
	var many []string
	for i := range maxAddresses + 1 {
		many = append(many, fmt.Sprintf("mem://a%d", i))
	}
	for _, tt := range []struct{ text, want string }{
		{"", `no "@"`},
		{id, `no "@"`},
		{id + "@", `address 1: no "://"`},
		{"@mem://a", "node ID: has 0 characters, want 52"},
		{"x@mem://a", "node ID: has 1 characters, want 52"},
		{"X@mem://a", "node ID: character 1 is 'X'"},
		{id + "@mem://a,", `address 2: no "://"`},
		{id + "@mem://a,tcp://h:x", `address 2: port "x"`},
		{id + "@mem://a,mem://b,mem://a", "address 3: mem://a is listed twice"},
		{id + "@tcp://[127.0.0.1]:1,tcp://127.0.0.1:1", "address 2: tcp://127.0.0.1:1 is listed twice"},
		{id + "@" + strings.Join(many, ","), "has 17 addresses, at most 16"},
		{strings.Repeat(id+"@", 1000), "address 1"},
	} {
		p, err := ParsePeerAddress(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "identity: peer address ") || len(err.Error()) > 500 || !p.ID.IsZero() {
			t.Errorf("ParsePeerAddress(%q) = %v, error %v; want one that says %s", shorten(tt.text), p, err, tt.want)
		}
	}
	if p, err := ParsePeerAddress(id + "@" + strings.Join(many[:maxAddresses], ",")); err != nil || len(p.Addresses) != maxAddresses {
		t.Errorf("a peer address with %d addresses: %v", maxAddresses, err)
	}
}

func TestAddressesMarshal(t *testing.T) {
	type config struct {
		Listen []Address
		None   Address
		Join   *PeerAddress
	}
	id := testKey(t, 1).ID()
	want := config{
		Listen: []Address{{"quic", ":4100", ""}, {"tcp", "[::1]:1", ""}},
		Join:   &PeerAddress{ID: id, Addresses: []Address{{"mem", "a", ""}}},
	}
	text, err := json.Marshal(want)
	if wantText := `{"Listen":["quic://:4100","tcp://[::1]:1"],"None":"","Join":"` + id.String() + `@mem://a"}`; string(text) != wantText || err != nil {
		t.Errorf("JSON = %s, %v; want %s", text, err, wantText)
	}
	var got config
	if err := json.Unmarshal(text, &got); err != nil || fmt.Sprint(got.Listen, got.None, got.Join) != fmt.Sprint(want.Listen, want.None, want.Join) {
		t.Errorf("JSON comes back as %+v, %v; want %+v", got, err, want)
	}
	a, p := want.Listen[0], *want.Join
	if err := a.UnmarshalText([]byte("x")); err == nil || a != want.Listen[0] {
		t.Errorf("UnmarshalText of nonsense: %v, left %v; want an error and no change", err, a)
	}
	if err := p.UnmarshalText([]byte("x")); err == nil || p.ID != id {
		t.Errorf("UnmarshalText of nonsense: %v, left %v; want an error and no change", err, p)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"quic://127.0.0.1:4100", "tcp://[fe80::1%e]:1/p", "mem://a:b/c", "quic://[127.0.0.1]:1", "ws://%:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseAddress(a.String()); again != a || err != nil {
			t.Errorf("%q reads as %+v, prints as %q and reads as %+v, %v", s, a, a, again, err)
		}
	})
}

func FuzzParsePeerAddress(f *testing.F) {
	f.Add(zeros + "@quic://127.0.0.1:4100,mem://a")
	f.Add(zeros + "@mem://a,mem://a")
	f.Add(zeros + "@@mem://a")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePeerAddress(s)
		if err != nil {
			return
		}
		again, err := ParsePeerAddress(p.String())
		if err != nil || again.String() != p.String() || again.ID != p.ID || len(again.Addresses) != len(p.Addresses) {
			t.Errorf("%q prints as %q and reads as %v, %v", s, p, again, err)
		}
		for i := range again.Addresses {
			if again.Addresses[i] != p.Addresses[i] {
				t.Errorf("%q: address %d reads back as %v", s, i+1, again.Addresses[i])
			}
		}
	})
}

func ExampleParsePeerAddress() {
	p, err := ParsePeerAddress("5kwb2a3z6vthvpwo5qdhyxi5rrogyr2xgdkr2eiydl5sikrmb7ya@quic://198.51.100.7:4100,tcp://198.51.100.7:443")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range p.Addresses {
		fmt.Println(p.ID.Short(), a.Scheme, a.Host)
	}
	// Output:
	// 5kwb2a3z quic 198.51.100.7:4100
	// 5kwb2a3z tcp 198.51.100.7:443
}

func ExampleParseAddress() {
	a, err := ParseAddress("wss://example.org:443/plexus")
	fmt.Printf("%q %q %q %v\n", a.Scheme, a.Host, a.Path, err)
	_, err = ParseAddress("quic://example.org")
	fmt.Println(err)
	// Output:
	// "wss" "example.org:443" "/plexus" <nil>
	// identity: address "quic://example.org": host and port "example.org": missing port in address; want host:port
}
