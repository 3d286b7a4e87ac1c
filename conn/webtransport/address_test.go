package webtransport

import (
	"strings"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

func TestAddresses(t *testing.T) {
	one, two := hash{1}, hash{2}
	text := func(h hash) string { return "cert=" + hashText.EncodeToString(h[:]) }
	for _, tt := range []struct {
		path   string
		url    string
		hashes []hash
	}{
		{"", "https://h:1/", nil},
		{"/", "https://h:1/", nil},
		{"/a%2Fb?x=1", "https://h:1/a%2Fb?x=1", nil},
		{"/a?" + text(one) + "&x=1&" + text(two), "https://h:1/a?x=1", []hash{one, two}},
		{"?" + text(one), "", nil},
		{"/?cert=", "", nil},
		{"/?cert=AAAA", "", nil},
		{"/?cert=" + strings.Repeat("A", 42) + "B", "", nil}, // bits beyond the last byte
		{"/?cert=" + strings.Repeat("A", 1000), "", nil},
		{"/?" + strings.Repeat(text(one)+"&", maxHashes+1), "", nil},
		{"/?a;b", "", nil},
	} {
		got, err := parse(identity.Address{Scheme: "wt", Host: "h:1", Path: tt.path})
		if tt.url == "" {
			if err == nil {
				t.Errorf("%q was taken", tt.path)
			}
			continue
		}
		if err != nil || got.url.String() != tt.url || len(got.hashes) != len(tt.hashes) {
			t.Errorf("%q: %v, %v, %d hashes; want %s and %d", tt.path, err, got.url, len(got.hashes), tt.url, len(tt.hashes))
		}
	}
}

// What a listener calls its address can be parsed, with the hashes, and gives
// the same request.
func FuzzAddress(f *testing.F) {
	f.Add("/plexus", "x")
	f.Add("/?cert=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "")
	f.Add("/a%2Fb?x=%20&y", "yy")
	f.Add("//h/?cert=%", "")
	f.Add("/%23##?", "a")
	f.Fuzz(func(t *testing.T, path, seed string) {
		to, err := parse(identity.Address{Scheme: scheme, Host: "h:1", Path: path})
		if err != nil {
			return
		}
		var h hash
		copy(h[:], seed)
		again, err := parse(to.address("h:1", h))
		if err != nil || len(again.hashes) != 1 || again.hashes[0] != h || again.url.String() != to.url.String() {
			t.Errorf("%q is %s; as the address %q it is %v with %v, %v", path, to.url, to.address("h:1", h), again.url, again.hashes, err)
		}
	})
}
