package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
)

// A shelf is a journal in memory.
type shelf struct {
	before func(endpoint.Change) error // called by Save first; may be nil

	mu       sync.Mutex // guards what follows
	state    []byte
	messages []string
	saves    int
	life     int // the last that has loaded it
}

// A shelfLife is a shelf as one life of an endpoint has it.
type shelfLife struct {
	*shelf
	life int
}

func (s *shelf) open() *shelfLife { return &shelfLife{shelf: s} }

func (s *shelfLife) Load() (state []byte, messages [][]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shelf.life++
	s.life = s.shelf.life
	for _, p := range s.messages {
		messages = append(messages, []byte(p))
	}
	return append([]byte(nil), s.state...), messages, nil
}

func (s *shelfLife) Save(c endpoint.Change) error {
	if s.before != nil {
		if err := s.before(c); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != s.shelf.life || c.Drop > len(s.messages) || c.State == nil {
		return errors.New("a change that cannot be")
	}
	s.messages = s.messages[c.Drop:]
	for _, p := range c.Append {
		s.messages = append(s.messages, string(p))
	}
	s.state = append([]byte(nil), c.State...)
	s.saves++
	return nil
}

// has returns what is on the shelf.
func (s *shelf) has() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.messages, " ")
}

// A desk is a cable between processes that can end at any time.
type desk struct {
	*cable
	shelves [2]*shelf // nil: the node has no journal
	kill    [2]context.CancelFunc
}

func newDesk(t *testing.T, shelves [2]*shelf) *desk {
	d := &desk{cable: newCable(t, endpoint.Config{}), shelves: shelves}
	d.cable.close()
	d.restart(0)
	d.restart(1)
	return d
}

// restart ends the process of a node without a word, and starts another.
func (d *desk) restart(i int) {
	d.t.Helper()
	d.stop(i)
	ctx, cancel := context.WithCancel(d.t.Context())
	d.kill[i] = cancel
	var cfg endpoint.Config
	if s := d.shelves[i]; s != nil {
		cfg.Journal = s.open()
	}
	var err error
	if d.ends[i], err = endpoint.New(ctx, d.keys[i].ID(), d.keys[1-i].ID(), cfg); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) stop(i int) {
	d.cut()
	if d.kill[i] != nil {
		if s := d.shelves[i]; s != nil {
			s.mu.Lock()
			s.life++ // what it still does comes too late
			s.mu.Unlock()
		}
		d.kill[i]()
		<-d.ends[i].Done()
	}
}

func (d *desk) close() {
	d.kill[0]()
	d.kill[1]()
	for _, e := range d.ends {
		<-e.Done()
	}
	<-time.After(time.Minute) // of the bubble, for a journal that is slow
}

// connect connects at the first attempt.
func (d *desk) connect() {
	d.t.Helper()
	if errs := d.cable.connect(); errs != [2]error{} {
		d.t.Fatal(errs)
	}
}

func (d *desk) send(i int, texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if err := d.ends[i].Send(d.t.Context(), []byte(text)); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *desk) want(i int, texts ...string) {
	d.t.Helper()
	if got := d.recv(i, len(texts)); fmt.Sprint(got) != fmt.Sprint(texts) {
		d.t.Errorf("received %q, want %q", got, texts)
	}
}

// nothing fails if something is there to be received.
func (d *desk) nothing(i int) {
	d.t.Helper()
	synctest.Wait()
	if p, err := d.ends[i].TryRecv(); err != endpoint.ErrEmpty {
		d.t.Errorf("received %q, %v; want nothing", p, err)
	}
}
