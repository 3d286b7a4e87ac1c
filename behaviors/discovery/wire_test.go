package discovery

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// goldenKey is the key of RFC 8032, section 7.1, test 1.
func goldenKey() identity.PrivateKey {
	key, err := identity.PrivateKeyFromSeed(unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
	if err != nil {
		panic(err)
	}
	return key
}

func goldenRecord() record {
	return record{
		id: goldenKey().ID(), sequence: 1_800_000_000_000, lifetime: time.Minute,
		addresses: []identity.Address{{Scheme: "quic", Host: "192.0.2.1:4100"}, {Scheme: "mem", Host: "a"}},
		services:  []conn.Service{{ID: 2, Name: "plexus/discovery", Version: 1}, {ID: 70, Name: "chat"}},
	}
}

const goldenBytes = `
01
d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a
000001a3185c5000
0000ea60
02 15 717569633a2f2f3139322e302e322e313a34313030
   07 6d656d3a2f2f61
02 0002 00000001 10 706c657875732f646973636f76657279
   0046 00000000 04 63686174
`

const goldenSignature = `
26a56b9d03d03a296092612f067ec01729c7145638ac1f6ea66c696518f711b8
8535003f6b9be62f577587769188a9324ffc053a1ab3329ef06db5057737de0f
`

func TestRecordGolden(t *testing.T) {
	r := goldenRecord()
	b, err := appendRecord(nil, &r, goldenKey())
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(goldenBytes + goldenSignature); !bytes.Equal(b, want) {
		t.Errorf("record is\n%x, want\n%x", b, want)
	}
	back, err := decodeRecord(b)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("decoded %+v, %v, want %+v", back, err, r)
	}
	if err := verifyRecord(t.Context(), b, r.id); err != nil {
		t.Error(err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x20
		if d, err := decodeRecord(bad); err == nil && verifyRecord(t.Context(), bad, d.id) == nil {
			t.Errorf("record is accepted with byte %d changed", i)
		}
	}
}

func TestMessagesGolden(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"records", appendEntry([]byte{flagEnd}, []byte("record"), 1500*time.Millisecond), "01 000005dc 0006 7265636f7264"},
		{"records of a clock that went back", appendEntry([]byte{0}, []byte("r"), -time.Second), "00 00000000 0001 72"},
		{"announce", appendFingerprints([]byte{flagReply}, []fingerprint{1, 0x0203}), "01 0000000000000001 0000000000000203"},
		{"request", appendFingerprints(nil, []fingerprint{0x0102030405060708}), "0102030405060708"},
		{"digest", digest{count: 3, hash: 0x0102030405060708}.append(nil), "00000003 0102030405060708"},
		{"link", linkReport{state: linkDrop, count: 300}.append(nil), "02 012c"},
	} {
		if want := unhex(tt.want); !bytes.Equal(tt.got, want) {
			t.Errorf("%s: got %x, want %x", tt.name, tt.got, want)
		}
	}
	if fp := fingerprintOf([]byte("abc")); fp != 0xba7816bf8f01cfea {
		t.Errorf("fingerprint of abc is %x, want the start of its SHA-256", fp)
	}
}

func TestMessagesDecode(t *testing.T) {
	if l, err := decodeLink(unhex("09 0005 ffff")); err != nil || l != (linkReport{linkNeeded, 5}) {
		t.Errorf("link of a later version: %v, %v; want needed, and what follows skipped", l, err)
	}
	if d, err := decodeDigest(unhex("00000001 0000000000000002 ff")); err != nil || d != (digest{1, 2}) {
		t.Errorf("digest of a later version: %v, %v; what follows is skipped", d, err)
	}
	for name, err := range map[string]error{
		"short link":        second(decodeLink([]byte{0, 0})),
		"short digest":      second(decodeDigest(make([]byte, 11))),
		"ragged request":    second(decodeFingerprints(make([]byte, 9), 10)),
		"long request":      second(decodeFingerprints(make([]byte, 88), 10)),
		"empty records":     second(decodeRecords(nil, nil)),
		"truncated records": second(decodeRecords(unhex("00 00000000 0005 01"), func([]byte, time.Duration) bool { return true })),
		"too many records":  second(decodeRecords(make([]byte, 1+entryHeader*(maxRequest+1)), func([]byte, time.Duration) bool { return true })),
		"huge records":      second(decodeRecords(make([]byte, maxMessage+1), nil)),
	} {
		if !errors.Is(err, errMessage) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestRecordLimits(t *testing.T) {
	full := goldenRecord()
	full.addresses, full.services = nil, nil
	for i := range maxAddresses + 1 {
		full.addresses = append(full.addresses, identity.Address{Scheme: "mem", Host: strings.Repeat("x", i+1)})
	}
	if _, err := appendRecord(nil, &full, goldenKey()); err == nil {
		t.Error("a record of 17 addresses is made")
	}
	r := goldenRecord()
	r.services = make([]conn.Service, maxServices+1)
	if _, err := appendRecord(nil, &r, goldenKey()); err == nil {
		t.Error("a record of 65 services is made")
	}
	r.services = []conn.Service{{ID: 1, Name: strings.Repeat("x", maxServiceName+1)}}
	if _, err := appendRecord(nil, &r, goldenKey()); err == nil {
		t.Error("a record with a service name of 65 bytes is made")
	}
	r = goldenRecord()
	r.services = make([]conn.Service, maxServices)
	for i := range r.services {
		r.services[i] = conn.Service{ID: 9, Name: strings.Repeat("x", maxServiceName)}
	}
	if b, err := appendRecord(nil, &r, goldenKey()); err == nil {
		t.Errorf("a record of %d bytes is made", len(b))
	}
}

func TestRecordRefused(t *testing.T) {
	good := unhex(goldenBytes + goldenSignature)
	set := func(i int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[i:], v)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, errRecordSize},
		{"too short", make([]byte, minRecord-1), errRecordSize},
		{"too long", append(bytes.Clone(good), make([]byte, maxRecord)...), errRecordSize},
		{"version", set(0, 2), errRecordVersion},
		{"sequence near overflow", set(33, 0x40), errRecordLayout},
		{"lifetime above a day", set(41, 0x7f), errRecordLayout},
		{"17 addresses", set(45, 17), errRecordLayout},
		{"address beyond the end", set(46, 255), errRecordLayout},
		{"65 services", set(45+1+22+8, 65), errRecordLayout},
		{"service name of 65 bytes", set(45+1+22+8+1+6, 65), errRecordLayout},
	} {
		if _, err := decodeRecord(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: error is %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestRecordOfLaterVersion: addresses that this version cannot read, or should
// not dial, are left out, and fields that it does not know are skipped.
func TestRecordOfLaterVersion(t *testing.T) {
	texts := []string{"carrier-pigeon:coop", "quic://0.0.0.0:4100", "quic://[::]:1", "tcp://:80", "quic://192.0.2.1:0", "udp://224.0.0.1:1", "quic://255.255.255.255:9", "quic://192.0.2.7:4100"}
	r := goldenRecord()
	r.addresses, r.services = nil, nil
	b, _ := appendBody(nil, &r)
	b = b[:headerSize]
	b = append(b, byte(len(texts)))
	for _, s := range texts {
		b = append(append(b, byte(len(s))), s...)
	}
	b = append(b, 0)
	b = append(b, "a field of a later version"...)
	b = append(b, goldenKey().Sign(signed(b))...)
	got, err := decodeRecord(b)
	if err != nil || len(got.addresses) != 1 || got.addresses[0].Host != "192.0.2.7:4100" {
		t.Errorf("got %v, %v, want the last address alone", got.addresses, err)
	}
	if err := verifyRecord(t.Context(), b, got.id); err != nil {
		t.Error(err)
	}
}

func TestAdvertised(t *testing.T) {
	c := Config{
		Addresses: func() []identity.Address {
			return []identity.Address{{Scheme: "quic", Host: "0.0.0.0:1"}, {Scheme: "quic", Host: "[::1]:0"}, memAddress("a"), memAddress("a"), {Scheme: "tcp", Host: ":4100"}, memAddress(strings.Repeat("x", 300)), memAddress("b")}
		},
		Services: func() []conn.Service {
			s := []conn.Service{{ID: 0, Name: "none"}, {ID: 1, Name: strings.Repeat("x", 65)}}
			for i := range 100 {
				s = append(s, conn.Service{ID: identity.ServiceID(i + 2), Name: strings.Repeat("y", 64)})
			}
			return s
		},
	}.withDefaults()
	addresses, services := c.advertised()
	if len(addresses) != 2 || addresses[0].Host != "a" || addresses[1].Host != "b" {
		t.Errorf("advertises %v, want a and b", addresses)
	}
	r := record{id: goldenKey().ID(), sequence: 1, lifetime: time.Minute, addresses: addresses, services: services}
	b, err := appendRecord(nil, &r, goldenKey())
	if err != nil || len(services) < 20 {
		t.Errorf("%d services make a record of %d bytes: %v", len(services), len(b), err)
	}
}
