package quicgo_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"go.uber.org/goleak"

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

// A connection counts until it says hello or ends, whichever comes first, once.
func TestGreetings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g quicgo.Greetings
		want := func(n int, when string) {
			t.Helper()
			synctest.Wait()
			if got := g.Silent(); got != n {
				t.Errorf("%s: %d are silent, want %d", when, got, n)
			}
		}
		first, end := context.WithCancel(t.Context())
		counted, ok := g.Await(first, 2)
		_, ok2 := g.Await(t.Context(), 2)
		if !ok || !ok2 {
			t.Fatal("there was room")
		}
		if _, ok := g.Await(t.Context(), 2); ok {
			t.Error("there was no room")
		}
		want(2, "full")
		quicgo.Said(t.Context())
		want(2, "one that was not counted")
		quicgo.Said(counted)
		want(1, "hello")
		quicgo.Said(counted)
		end()
		want(1, "the end after hello")
		third, end := context.WithCancel(t.Context())
		counted, ok = g.Await(third, 2)
		if !ok {
			t.Fatal("there was room again")
		}
		end()
		want(1, "the end without hello")
		quicgo.Said(counted)
		want(1, "hello after the end")
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
