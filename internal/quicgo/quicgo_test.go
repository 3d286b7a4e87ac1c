package quicgo_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/internal/quicgo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// While the first datagram is held up, 128 more wait; the oldest of 130 are
// lost, the rest arrives in order, and senders may use their buffers again. An
// error of one says nothing about the next.
func TestOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box quicgo.Outbox
		var sent []byte
		gate := make(chan struct{})
		send := func(p []byte) error {
			<-gate
			sent = append(sent, p...)
			return errors.New("lost")
		}
		p := []byte{0}
		box.Put(p, send)
		synctest.Wait() // it is in send
		for i := byte(1); i <= 130; i++ {
			p[0] = i
			box.Put(p, send)
		}
		close(gate)
		synctest.Wait()
		want := []byte{0}
		for i := byte(3); i <= 130; i++ {
			want = append(want, i)
		}
		if !bytes.Equal(sent, want) {
			t.Errorf("sent %d, want %d", sent, want)
		}
		box.Put([]byte{200}, send) // the goroutine had ended
		synctest.Wait()
		if want = append(want, 200); !slices.Equal(sent, want) {
			t.Errorf("sent %d, want %d", sent, want)
		}
	})
}

// A connection counts until it says hello or ends, whichever comes first, once; and
// no host takes all places.
func TestGreetings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g quicgo.Greetings
		const forged = 0
		await := func(ctx context.Context, host byte, room bool) context.Context {
			t.Helper()
			from := &quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, host), Port: 1}, AddrVerified: true}
			if host == forged {
				from = &quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}} // host 1's
			}
			counted, ok := g.Await(ctx, from, 8)
			if ok != room {
				t.Errorf("there was room for host %d: %t, want %t", host, ok, room)
			}
			return counted
		}
		want := func(n int, when string) {
			t.Helper()
			synctest.Wait()
			if got := g.Silent(); got != n {
				t.Errorf("%s: %d are silent, want %d", when, got, n)
			}
		}
		first, end := context.WithCancel(t.Context())
		await(t.Context(), forged, true)
		await(t.Context(), forged, true)
		counted := await(first, 1, true)
		await(t.Context(), 1, true)
		second := await(t.Context(), 1, true)
		await(t.Context(), 1, false) // half of what forged ones leave is enough for one
		await(t.Context(), 2, true)
		await(t.Context(), 2, true) // as many as were left
		await(t.Context(), 2, false)
		await(t.Context(), 3, true) // there was a place for the next
		await(t.Context(), 4, false)
		await(t.Context(), forged, false)
		want(8, "full")
		quicgo.Said(t.Context())
		want(8, "one that was not counted")
		quicgo.Said(second)
		want(7, "hello")
		quicgo.Said(second)
		want(7, "hello, again")
		await(t.Context(), 1, false) // it has more than are left
		end()
		want(6, "the end without hello")
		quicgo.Said(counted)
		want(6, "hello after the end")
		await(t.Context(), 1, true)
		await(t.Context(), 4, true)
		want(8, "full again")
	})
}

func TestReason(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"enough", "enough"},
		{"a\xffb", "ab"},
		{strings.Repeat("a", 300), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "é", strings.Repeat("a", 255)},
	} {
		if got := quicgo.Reason(c.in); got != c.want || !utf8.ValidString(got) {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}
