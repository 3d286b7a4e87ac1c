package identity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const zeros = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestNodeIDText(t *testing.T) {
	for _, tt := range []struct {
		name string
		id   NodeID
		text string
	}{
		{"zero", NodeID{}, zeros},
		{"one", NodeID{31: 1}, zeros[:50] + "aq"},
		{"first byte", NodeID{0: 0xff}, "74" + zeros[:50]},
	} {
		if got := tt.id.String(); got != tt.text {
			t.Errorf("%s: String() = %q, want %q", tt.name, got, tt.text)
		}
		if got, err := ParseNodeID(tt.text); got != tt.id || err != nil {
			t.Errorf("%s: ParseNodeID(%q) = %v, %v; want the ID back", tt.name, tt.text, got, err)
		}
	}
	for i := range byte(50) {
		id := testKey(t, i).ID()
		got, err := ParseNodeID(id.String())
		if got != id || err != nil || len(id.String()) != nodeIDText || !strings.HasPrefix(id.String(), id.Short()) {
			t.Errorf("ParseNodeID(%q) = %v, %v; want the ID back", id, got, err)
		}
	}
}

func TestParseNodeIDErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "has 0 characters, want 52"},
		{zeros[1:], "has 51 characters, want 52"},
		{zeros + "a", "has 53 characters, want 52"},
		{"A" + zeros[1:], "character 1 is 'A'"},
		{"aaa1" + zeros[4:], "character 4 is '1'"},
		{zeros[:51] + "=", "character 52 is '='"},
		{zeros[:51] + "b", "character 52 is 'b': the unused low bits"},
		{"\r\n" + zeros, `character 1 is '\r'`},
		{strings.Repeat("a", 1000), "has 1000 characters"},
		{strings.Repeat("é", 500), "character 1"},
	} {
		id, err := ParseNodeID(tt.text)
		switch {
		case err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "identity: node ID "):
			t.Errorf("ParseNodeID(%q): error %v, want one that says %q", tt.text, err, tt.want)
		case len(err.Error()) > 500:
			t.Errorf("ParseNodeID of %d bytes: the error has %d bytes", len(tt.text), len(err.Error()))
		case !id.IsZero():
			t.Errorf("ParseNodeID(%q) = %v beside its error, want zero", tt.text, id)
		}
	}
}

func TestNodeIDMarshals(t *testing.T) {
	id := testKey(t, 1).ID()
	text, err := json.Marshal(map[NodeID]NodeID{id: id})
	if want := fmt.Sprintf(`{%q:%q}`, id, id); string(text) != want || err != nil {
		t.Errorf("JSON = %s, %v; want %s", text, err, want)
	}
	var back map[NodeID]NodeID
	if err := json.Unmarshal(text, &back); err != nil || back[id] != id {
		t.Errorf("JSON does not come back: %v, %v", back, err)
	}
	binary, err := id.MarshalBinary()
	if err != nil || string(binary) != string(id[:]) {
		t.Errorf("MarshalBinary = %x, %v", binary, err)
	}
	binary[0] ^= 1
	if id != testKey(t, 1).ID() {
		t.Error("MarshalBinary shares the memory of the ID")
	}
	appended, err := id.AppendBinary([]byte("x"))
	if err != nil || string(appended) != "x"+string(id[:]) {
		t.Errorf("AppendBinary = %x, %v", appended, err)
	}
	var got NodeID
	if err := got.UnmarshalBinary(id[:]); err != nil || got != id {
		t.Errorf("UnmarshalBinary = %v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, id[:31], append(id[:], 0)} {
		if err := got.UnmarshalBinary(bad); err == nil || got != id {
			t.Errorf("UnmarshalBinary of %d bytes: %v, left %v; want an error and no change", len(bad), err, got)
		}
	}
	if err := got.UnmarshalText([]byte("no")); err == nil || got != id {
		t.Errorf("UnmarshalText of nonsense: %v, left %v; want an error and no change", err, got)
	}
}

func TestNodeIDCompare(t *testing.T) {
	a, b := NodeID{0: 1}, NodeID{0: 2}
	if a.Compare(b) != -1 || b.Compare(a) != 1 || a.Compare(a) != 0 {
		t.Error("Compare does not order IDs by their bytes")
	}
	if a.IsZero() || !(NodeID{}).IsZero() {
		t.Error("IsZero is true of the zero ID and of no other")
	}
}

func TestServiceAndConnID(t *testing.T) {
	for _, tt := range []struct {
		text string
		want ServiceID
	}{
		{"1", 1}, {"65535", 65535}, {"70", 70},
		{"0", 0}, {"65536", 0}, {"", 0}, {"-1", 0}, {"x", 0}, {"1 ", 0}, {"+1", 0}, {"99999999999999999999", 0},
	} {
		got, err := ParseServiceID(tt.text)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseServiceID(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
		}
		if err == nil && got.String() != tt.text {
			t.Errorf("ServiceID %q prints as %q", tt.text, got)
		}
	}
	if got := ConnID(1<<64 - 1).String(); got != "18446744073709551615" {
		t.Errorf("ConnID prints as %q", got)
	}
}

func FuzzParseNodeID(f *testing.F) {
	f.Add(zeros)
	f.Add(zeros[:51] + "b")
	f.Add("74" + zeros[:50])
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseNodeID(s)
		if err != nil {
			return
		}
		if id.String() != s {
			t.Errorf("ParseNodeID(%q) prints as %q: two texts name one node", s, id)
		}
	})
}

func ExampleNodeID() {
	id, err := ParseNodeID("2vnjqaoqjknkbwjq6jsr7cpelz4imtc22tt2s4wqpg6y72rxxkxa")
	fmt.Println(id, err)
	fmt.Println(id.Short())
	_, err = ParseNodeID("2vnjqaoqjknkbwjq6jsr7cpelz4imtc22tt2s4wqpg6y72rxxkx1")
	fmt.Println(err)
	// Output:
	// 2vnjqaoqjknkbwjq6jsr7cpelz4imtc22tt2s4wqpg6y72rxxkxa <nil>
	// 2vnjqaoq
	// identity: node ID "2vnjqaoqjknkbwjq6jsr7cpelz4imtc22tt2s4wqpg6y72rxxkx1": character 52 is '1': only a-z and 2-7 may appear
}
