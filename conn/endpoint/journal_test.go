package endpoint_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/internal/durable"
)

// What Send has taken arrives, and what was taken does not come again, whoever's
// process ends: also both, and also without a connection.
func TestJournalOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, [2]*shelf{{}, {}})
		defer d.close()
		d.send(0, "1", "2")
		d.restart(0)
		d.connect()
		d.want(1, "1", "2")
		d.send(0, "3", "4")
		d.send(1, "a")
		d.want(1, "3")
		time.Sleep(time.Second) // the news that 2 was taken has come; 3 is in hand
		for i := range 2 {
			d.restart(i)
			d.connect()
			time.Sleep(time.Second)
		}
		d.want(0, "a")
		d.want(1, "3", "4")
		d.nothing(0) // and so "a" is taken
		d.nothing(1)
		time.Sleep(time.Second)
		d.restart(0)
		d.restart(1)
		d.connect()
		d.nothing(0)
		d.nothing(1)
		d.send(0, "5")
		d.want(1, "5")
		for i, e := range d.ends {
			if s := e.Stats(); s.Restarts != 0 || s.Unknown != 0 {
				t.Errorf("node %d saw the other start anew: %+v", i, s)
			}
		}
	})
}

// A message is taken when Ack says so, or Recv asks for the next; also where there
// is no connection on which the sender could be told.
func TestJournalAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, [2]*shelf{{}, {}})
		defer d.close()
		d.connect()
		d.send(0, "1", "2", "3", "4")
		d.want(1, "1")
		synctest.Wait()
		d.cut() // at this moment
		d.want(1, "2")
		time.Sleep(time.Second)
		d.want(1, "3") // and when it is long known
		d.ends[1].Ack()
		time.Sleep(time.Second)
		d.restart(1)
		d.connect()
		d.want(1, "4")
		d.restart(1)
		d.connect()
		d.want(1, "4")
	})
}

// Messages of unknown fate are told until Recv is called again, in a later process
// if need be, in front of what comes from the peer's new life.
func TestJournalKeepsWhatIsOfUnknownFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, [2]*shelf{{}, nil})
		defer d.close()
		d.connect()
		d.send(0, "1", "2")
		synctest.Wait()
		d.cut()
		d.send(0, "3") // was never on its way: the new life gets it
		d.restart(1)
		d.connect()
		d.want(1, "3")
		d.nothing(1)
		d.send(1, "new")
		time.Sleep(time.Second)
		unknown := func() {
			t.Helper()
			var restart *endpoint.RestartError
			if _, err := d.ends[0].Recv(t.Context()); !errors.As(err, &restart) || fmt.Sprintf("%s", restart.Unknown) != "[1 2]" {
				t.Errorf("Recv = %v, want a restart with 1 and 2", err)
			}
		}
		d.restart(0) // Recv was not called
		unknown()
		d.restart(0) // it was not called again
		unknown()
		d.connect()
		d.want(0, "new")
		time.Sleep(time.Second)
		if has := d.shelves[0].has(); has != "" {
			t.Errorf("the journal has %q", has)
		}
		d.restart(0)
		d.connect()
		d.want(0, "new")
		d.send(0, "4")
		d.want(1, "4")
	})
}

// While a save takes its time, the other end is told nothing of what is in it: not
// the message, not that one was taken, and nothing at all if it has started anew.
func TestJournalIsWrittenAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan chan struct{}, 2) // has the ones to wait for, if any
		slow := &shelf{before: func(endpoint.Change) error {
			select {
			case wait := <-gate:
				<-wait
			default:
			}
			return nil
		}}
		d := newDesk(t, [2]*shelf{slow, nil})
		defer d.close()
		d.connect()
		hold := func() (release func()) {
			wait := make(chan struct{})
			gate <- wait
			return func() { close(wait) }
		}

		release := hold()
		sent := make(chan error, 1)
		go func() { sent <- d.ends[0].Send(t.Context(), []byte("1")) }()
		d.nothing(1)
		if len(sent) > 0 {
			t.Error("Send has returned")
		}
		release()
		d.want(1, "1")
		if err := <-sent; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)

		d.send(1, "2")
		d.want(0, "2")
		release = hold()
		d.ends[0].Ack()
		time.Sleep(time.Second)
		if w := d.ends[1].Stats().Waiting; w != 1 {
			t.Errorf("%d messages wait, want 1: nothing was told", w)
		}
		release()
		time.Sleep(time.Second)
		if w := d.ends[1].Stats().Waiting; w != 0 {
			t.Errorf("%d messages wait", w)
		}

		d.stop(1) // and a save is under way when another life is met
		d.send(0, "3")
		d.restart(1)
		release, again := hold(), hold()
		go func() { sent <- d.ends[0].Send(t.Context(), []byte("4")) }()
		synctest.Wait()
		done := make(chan [2]error)
		go func() { done <- d.cable.connect() }()
		d.nothing(1)
		release()
		d.nothing(1)
		again()
		if errs := <-done; errs != [2]error{} {
			t.Error(errs)
		}
		d.want(1, "3", "4")
	})
}

// Those who send while the journal is written are served together.
func TestJournalServesManyTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &shelf{before: func(endpoint.Change) error { time.Sleep(time.Second); return nil }}
		d := newDesk(t, [2]*shelf{slow, nil})
		defer d.close()
		d.connect()
		go func() { // so that there is always something else to save
			for {
				if _, err := d.ends[1].Recv(t.Context()); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		count := func() int {
			slow.mu.Lock()
			defer slow.mu.Unlock()
			return slow.saves
		}
		before, began := count(), time.Now()
		var work sync.WaitGroup
		for range 100 {
			work.Go(func() { d.send(0, "x", "x", "x") })
		}
		work.Wait()
		if saves := count() - before; saves > 8 || time.Since(began) > 8*time.Second {
			t.Errorf("%d saves in %v for 100 senders at once, three times, want 6 or a few more", saves, time.Since(began))
		}
	})
}

// When the context of New ends, the journal learns at once of what was taken.
func TestJournalLearnsOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, [2]*shelf{{}, {}})
		defer d.close()
		d.connect()
		d.send(0, "1", "2", "3")
		d.want(1, "1", "2")
		d.kill[1]()
		<-d.ends[1].Done()
		d.restart(1)
		d.cut()
		d.connect()
		d.want(1, "2", "3")
	})
}

// A journal that fails ends the endpoint, and Send says why.
func TestJournalFails(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("disk full") },
		"panic": func() error { panic("disk full") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now func() error
				s := &shelf{before: func(endpoint.Change) error {
					if now != nil {
						return now()
					}
					return nil
				}}
				d := newDesk(t, [2]*shelf{s, nil})
				defer d.close()
				d.connect()
				d.send(0, "1")
				d.want(1, "1")
				now = fail
				err := d.ends[0].Send(t.Context(), []byte("2"))
				if err == nil || !strings.Contains(err.Error(), "disk full") {
					t.Errorf("Send = %v", err)
				}
				<-d.ends[0].Done()
				if cause := d.ends[0].Cause(); cause == nil || !strings.Contains(cause.Error(), "disk full") {
					t.Errorf("Cause = %v", cause)
				}
				now = nil
				d.restart(0)
				d.connect()
				d.send(0, "3")
				d.want(1, "3")
				now = fail
				if _, err := endpoint.New(t.Context(), d.keys[0].ID(), d.keys[1].ID(), endpoint.Config{Journal: s.open()}); err == nil || !strings.Contains(err.Error(), "disk full") {
					t.Errorf("New = %v", err)
				}
			})
		})
	}
}

type unreadable struct {
	shelfLife
	panics bool
}

func (u unreadable) Load() ([]byte, [][]byte, error) {
	if u.panics {
		panic("no such table")
	}
	return nil, nil, errors.New("no such table")
}

// A journal that makes no sense is refused, with what to do about it.
func TestJournalIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		d := newDesk(t, [2]*shelf{s, nil})
		d.send(0, "1")
		d.close()
		whole := string(s.state)
		for name, damage := range map[string]func(){
			"short":           func() { s.state = []byte(whole)[:20] },
			"another version": func() { s.state[0]++ },
			"no epoch":        func() { clear(s.state[9:25]) },
			"no life":         func() { clear(s.state[1:9]) },
			"too many lives":  func() { s.state[1] = 0xff },
			"unknown ones missing": func() {
				s.state[25] = 1
				s.state[len(s.state)-1] = 0xfe
				fill(s.state[len(s.state)-8:len(s.state)-1], 0xff)
			},
			"taken of nobody":       func() { s.state[len(s.state)-9] = 1 },
			"dropped beyond bounds": func() { s.state[25] = 1; s.state[len(s.state)-8] = 0x7f },
			"no state":              func() { s.state = nil },
			"a huge message":        func() { s.messages = []string{strings.Repeat("x", 1<<24)} },
		} {
			s.state, s.messages = []byte(whole), []string{"1"}
			damage()
			_, err := endpoint.New(t.Context(), d.keys[0].ID(), d.keys[1].ID(), endpoint.Config{Journal: s.open()})
			if !errors.Is(err, durable.ErrJournal) || !strings.Contains(err.Error(), "begins anew") {
				t.Errorf("%s: New = %v", name, err)
			}
		}
		for _, panics := range []bool{false, true} {
			_, err := endpoint.New(t.Context(), d.keys[0].ID(), d.keys[1].ID(), endpoint.Config{Journal: &unreadable{panics: panics}})
			if err == nil || !strings.Contains(err.Error(), "no such table") {
				t.Errorf("New = %v", err)
			}
		}
	})
}

func fill(p []byte, b byte) {
	for i := range p {
		p[i] = b
	}
}

// Close ends the life that the journal keeps, on both sides.
func TestJournalIsEmptiedByClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, [2]*shelf{{}, {}})
		defer d.close()
		d.connect()
		d.send(0, "1")
		d.send(1, "never read")
		closed := make(chan error)
		go func() { closed <- d.ends[0].Close(t.Context(), nil) }()
		d.want(1, "1")
		if err := <-closed; err != nil {
			t.Errorf("Close = %v", err)
		}
		for i, s := range d.shelves {
			if len(s.state) != 0 || s.has() != "" {
				t.Errorf("journal %d has a state of %d bytes, and %q", i, len(s.state), s.has())
			}
		}
		d.restart(0)
		d.restart(1)
		d.connect()
		d.send(0, "2")
		d.want(1, "2")
	})
}

// A copy from yesterday is no journal: the peer knows more than it.
func TestJournalThatHasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, [2]*shelf{{}, nil})
		defer d.close()
		d.connect()
		d.send(0, "1")
		d.want(1, "1")
		time.Sleep(time.Second)
		synctest.Wait()
		old := shelf{state: d.shelves[0].state}
		d.send(0, "2", "3")
		d.want(1, "2", "3")
		time.Sleep(time.Second)
		d.stop(0)
		synctest.Wait()
		d.shelves[0] = &shelf{state: old.state}
		d.restart(0)
		errs := d.cable.connect()
		if err := errors.Join(errs[:]...); !errors.Is(err, durable.ErrProtocol) || !strings.Contains(err.Error(), "forgotten") {
			t.Errorf("connected with a journal that has forgotten two messages: %v", errs)
		}
	})
}
