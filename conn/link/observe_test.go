package link_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// Observers see what passes, each event once; a store finds it, also if it has
// not happened yet.
func TestObservers(t *testing.T) {
	var counter link.Counter
	var log bytes.Buffer
	store := &link.Store{}
	logger := slog.New(slog.NewTextHandler(&log, nil))
	a, b := tcpPair(t)
	x, y := linkOver(t, a, b, noteConfig{Name: "client", Observer: link.Chain{&counter, store}},
		noteConfig{Name: "server", Observer: link.Chain{store, link.Log{Logger: logger}}})
	found := make(chan link.Event)
	go func() {
		e, err := store.Find(noContext, "server", func(e link.Event) bool {
			v, ok := e.Message.(note)
			return ok && e.Kind == link.Received && v.Number == 2
		})
		must(t, err)
		found <- e
	}()
	for i := range 3 {
		must(t, x.Send(noContext, note{Number: i}))
		_, err := y.Recv(noContext)
		must(t, err)
	}
	if e := <-found; e.Link != y.Info() || e.Message != (note{Number: 2}) || time.Since(e.Time) > time.Hour {
		t.Errorf("found %+v", e)
	}
	must(t, x.Close())
	y.Abort(errors.New("why"))
	_ = y.Close()
	if counter.Sent.Load() != 3 || counter.Received.Load() != 0 || counter.Failed.Load() != 0 {
		t.Errorf("the client counted %d sent, %d received, %d ends", counter.Sent.Load(), counter.Received.Load(), counter.Failed.Load())
	}
	counts := map[string]int{}
	for _, e := range store.Events() {
		counts[e.Link.Name+" "+e.Kind.String()]++
	}
	if len(counts) != 3 || counts["client sent"] != 3 || counts["server received"] != 3 || counts["server failed"] != 1 {
		t.Errorf("stored %v", counts)
	}
	if text := log.String(); strings.Count(text, "link: received") != 3 || strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "err=why") {
		t.Errorf("logged:\n%s", text)
	}
	ctx, stop := context.WithTimeout(noContext, time.Millisecond)
	defer stop()
	if e, err := store.Find(ctx, "nobody", func(link.Event) bool { return true }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("found %+v, %v", e, err)
	}
}

// A session from login to goodbye leaves exactly the events that its protocol
// says, on both sides.
func TestSessionIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &link.Store{}
		skip := func(v note) bool { return v.Text == "beat" || v.Text == "ping" }
		client, server := with(noteHooks{
			OnLogin: func(ctx context.Context, l *noteLink) error {
				if err := l.Send(ctx, note{Text: "login"}); err != nil {
					return err
				}
				_, err := l.Recv(ctx)
				return err
			},
			Heartbeat: link.Heartbeat[note]{Interval: time.Second, Message: func() note { return note{Text: "beat"} }},
			Goodbye:   func() (note, bool) { return note{Text: "bye"}, true },
		}), with(noteHooks{
			OnLogin: func(ctx context.Context, l *noteLink) error {
				v, err := l.Recv(ctx)
				if err == nil {
					err = l.Send(ctx, note{Text: "welcome " + v.Text})
				}
				return err
			},
			Reply: func(v note) (note, bool) { return note{Text: "pong"}, v.Text == "ping" },
			Skip:  skip,
		})
		client.Name, client.Observer = "client", store
		server.Name, server.Observer = "server", store
		a, b := net.Pipe()
		x, y := linkOver(t, a, b, client, server)
		rest := make(chan string)
		go func() {
			var got []string
			for v, err := range y.All(noContext) {
				must(t, err)
				got = append(got, v.Text)
			}
			rest <- strings.Join(got, " ")
		}()
		must(t, x.Send(noContext, note{Text: "ping"}))
		if v, err := x.Recv(noContext); err != nil || v.Text != "pong" {
			t.Errorf("received %+v, %v", v, err)
		}
		time.Sleep(2500 * time.Millisecond)
		must(t, x.Close())
		if got := <-rest; got != "bye" {
			t.Errorf("the server was handed %q, want the goodbye alone", got)
		}
		must(t, y.Close())
		counts := map[string]int{}
		for _, e := range store.Events() {
			counts[e.Link.Name+" "+e.Kind.String()+" "+e.Message.(note).Text]++
		}
		for _, what := range []string{"client sent login", "server received login", "server sent welcome login", "client received welcome login",
			"client sent ping", "server received ping", "server sent pong", "client received pong", "client sent bye", "server received bye"} {
			if counts[what] != 1 {
				t.Errorf("%s: %d times, want once", what, counts[what])
			}
		}
		if n := len(store.Events()); n != 14 || counts["client sent beat"] != 2 || counts["server received beat"] != 2 {
			t.Errorf("%d events, want 14 with two heartbeats on each side: %v", n, counts)
		}
	})
}

// A store keeps the last Max events and no more.
func TestStoreIsBounded(t *testing.T) {
	s := &link.Store{Max: 10}
	for i := range 1000 {
		s.Observe(link.Event{Message: i})
	}
	events := s.Events()
	if len(events) != 10 || events[0].Message != 990 || events[9].Message != 999 {
		t.Errorf("kept %v", events)
	}
	ended, stop := context.WithCancel(noContext)
	stop()
	if _, err := s.Find(ended, "", func(e link.Event) bool { return e.Message == 980 }); err == nil {
		t.Error("found what is not kept")
	}
	if e, err := s.Find(ended, "", func(e link.Event) bool { return e.Message == 995 }); err != nil || e.Message != 995 {
		t.Errorf("did not find what is kept: %v", err)
	}
}

// Who sends and who receives may change their bytes afterwards: observers have
// their own.
func TestObserversHaveTheirOwnBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &link.Store{}
		x, y := pipePair(t, bytesConfig{Observer: store})
		p := []byte("aaaa")
		must(t, x.Send(noContext, p))
		copy(p, "bbbb")
		must(t, x.Send(noContext, p))
		copy(p, "cccc")
		for range 2 {
			v, err := y.Recv(noContext)
			must(t, err)
			copy(v, "dddd")
		}
		must(t, x.Flush(noContext))
		var got []string
		for _, e := range store.Events() {
			got = append(got, e.Kind.String()+" "+string(e.Message.([]byte)))
		}
		slices.Sort(got)
		if want := []string{"received aaaa", "received bbbb", "sent aaaa", "sent bbbb"}; !slices.Equal(got, want) {
			t.Errorf("recorded %q, want %q", got, want)
		}
	})
}
