package rpc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

func TestKindsAndCodesOnTheWire(t *testing.T) {
	if kindRequest != 0xff01 || kindAnswer != 0xff02 || kindCancel != 0xff03 {
		t.Errorf("kinds are %#x, %#x, %#x; want 0xff01, 0xff02, 0xff03", kindRequest, kindAnswer, kindCancel)
	}
	want := []Code{0, Timeout, NoRoute, NoService, NoMethod, Overloaded, TooLarge, Decode, Remote, Canceled, Stopped, Unauthenticated, ConnClosed}
	for i, c := range want {
		if int(c) != i {
			t.Errorf("code %v is %d, want %d: values are part of the wire format", c, c, i)
		}
	}
	if len(codeText) != len(want) {
		t.Errorf("%d codes have a text, want %d", len(codeText), len(want))
	}
}

func TestGoldenHeaders(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"request", appendRequest(nil, 0x0102030405060708, 1500*time.Millisecond, "sum"), "11" + "0102030405060708" + "000005dc" + "03" + "73756d"},
		{"answer", appendAnswer(nil, 0x0102030405060708, 0), "0a" + "0102030405060708" + "00"},
		{"error", append(appendAnswer(nil, math.MaxUint64, Remote), "no"...), "0a" + "ffffffffffffffff" + "08" + "6e6f"},
		{"cancel", appendCancel(nil, 0x0102030405060708), "09" + "0102030405060708"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	b, _ := hex.DecodeString("13" + "0102030405060708" + "000005dc" + "03" + "73756d" + "abcd" + "01")
	id, header, payload, ok := parseID(b)
	left, method, ok2 := parseRequest(header)
	if !ok || !ok2 || id != 0x0102030405060708 || left != 1500*time.Millisecond || string(method) != "sum" || !bytes.Equal(payload, []byte{1}) {
		t.Errorf("request: got %x %v %q %x %v %v", id, left, method, payload, ok, ok2)
	}
	b, _ = hex.DecodeString("0c" + "0102030405060708" + "05" + "abcd" + "01")
	_, header, payload, ok = parseID(b)
	code, ok2 := parseAnswer(header)
	if !ok || !ok2 || code != Overloaded || !bytes.Equal(payload, []byte{1}) {
		t.Errorf("answer: got %v %x %v %v", code, payload, ok, ok2)
	}
}

func TestMalformedHeaders(t *testing.T) {
	for _, in := range []string{"", "00", "08", "090102030405060", "ff0102030405060708", "080102030405060708"} {
		b, _ := hex.DecodeString(in)
		if _, _, _, ok := parseID(b); ok {
			t.Errorf("parseID(%s) succeeds", in)
		}
	}
	for _, in := range []string{"", "000005dc", "000005dc00", "000005dc03", "000005dc037375", "000005dc41" + strings.Repeat("61", 65)} {
		b, _ := hex.DecodeString(in)
		if _, _, ok := parseRequest(b); ok {
			t.Errorf("parseRequest(%s) succeeds", in)
		}
	}
	if _, ok := parseAnswer(nil); ok {
		t.Error("parseAnswer of nothing succeeds")
	}
}

func TestMillisecondsRoundUp(t *testing.T) {
	for d, want := range map[time.Duration]uint32{0: 1, -time.Second: 1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2,
		10 * time.Second: 10000, math.MaxInt64: math.MaxUint32, 60 * 24 * time.Hour: math.MaxUint32} {
		if got := milliseconds(d); got != want {
			t.Errorf("milliseconds(%v) = %d, want %d", d, got, want)
		}
	}
}

func TestIDsAreUniqueAndScattered(t *testing.T) {
	var q sequence
	q.start(rand.New(rand.NewPCG(1, 2)))
	var scratch [idBlockSize]byte
	const n = 1 << 17
	seen := make(map[uint64]bool, n)
	var high int
	for range n {
		_, id := q.next(&scratch)
		if seen[id] {
			t.Fatalf("ID %#x comes twice", id)
		}
		seen[id] = true
		if id>>63 == 1 {
			high++
		}
	}
	if high < n*49/100 || high > n*51/100 {
		t.Errorf("%d of %d IDs have their first bit set; want about half", high, n)
	}
}

func TestErrorsBranch(t *testing.T) {
	for code := Timeout; code <= ConnClosed; code++ {
		err := fmt.Errorf("wrapped: %w", &Error{Code: code, Method: "sum", Text: "why"})
		for other := Timeout; other <= ConnClosed; other++ {
			if got := errors.Is(err, other); got != (code == other) {
				t.Errorf("errors.Is(%v, %v) = %v", err, other, got)
			}
		}
	}
	err := &Error{Code: NoRoute, Method: "sum", Err: agent.ErrNoRoute}
	if !errors.Is(err, agent.ErrNoRoute) {
		t.Error("the error beneath is not found")
	}
	if got, want := err.Error(), "rpc: call of sum: no route: agent: no route"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Code(200).String(), "code 200"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCodesOfAgents(t *testing.T) {
	for err, want := range map[error]Code{agent.ErrNoRoute: NoRoute, agent.ErrNoConn: ConnClosed, agent.ErrNoService: NoService, agent.ErrQueueFull: Overloaded,
		agent.ErrTooLarge: TooLarge, agent.ErrStopped: Stopped, conn.ErrReadOnly: Unauthenticated, errors.New("other"): NoRoute} {
		if got := codeOf(fmt.Errorf("send: %w", err)); got != want {
			t.Errorf("codeOf(%v) = %v, want %v", err, got, want)
		}
	}
}

func TestErrorsOfServedFunctions(t *testing.T) {
	base := errors.New("base")
	for _, tt := range []struct {
		name string
		err  error
		code Code
		text string
	}{
		{"plain", base, Remote, "base"},
		{"code", Errorf(Unauthenticated, "only %s", "alice"), Unauthenticated, "only alice"},
		{"wrapped code", fmt.Errorf("sum: %w", Errorf(Overloaded, "later")), Overloaded, "sum: rpc: overloaded: later"},
		{"code that misleads", Errorf(NoRoute, "x"), Remote, "rpc: no route: x"},
		{"call further on", &Error{Code: Overloaded, Method: "next"}, Remote, "rpc: call of next: overloaded"},
		{"long", errors.New(strings.Repeat("é", 1000)), Remote, strings.Repeat("é", 512)},
		{"not UTF-8", errors.New("a\xffb"), Remote, "ab"},
	} {
		if code, text := failure(tt.err); code != tt.code || text != tt.text {
			t.Errorf("%s: got %v %q, want %v %q", tt.name, code, text, tt.code, tt.text)
		}
	}
	if !errors.Is(Errorf(Decode, "x: %w", base), base) {
		t.Error("Errorf does not wrap")
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(appendRequest(nil, 1, time.Second, "sum"))
	f.Add(appendAnswer(nil, 1, Remote))
	f.Add(appendCancel(nil, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, header, payload, ok := parseID(b)
		if !ok {
			return
		}
		if 9+len(header)+len(payload) != len(b) {
			t.Fatalf("header and payload have %d and %d bytes of %d", len(header), len(payload), len(b))
		}
		if left, method, ok := parseRequest(header); ok {
			again := appendRequest(nil, id, left, string(method))
			if left > 0 && !bytes.Equal(again[1:], b[1:len(again)]) {
				t.Fatalf("request %x becomes %x", b, again)
			}
		}
		if code, ok := parseAnswer(header); ok {
			if again := appendAnswer(nil, id, code); !bytes.Equal(again[1:], b[1:len(again)]) {
				t.Fatalf("answer %x becomes %x", b, again)
			}
		}
	})
}
