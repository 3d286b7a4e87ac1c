package endpoint

import (
	"errors"
	"fmt"

	"github.com/plexus-net/plexus/internal/durable"
)

// A Journal keeps what an endpoint needs to live on in another process: a state,
// and a queue of messages. Package journal has one in a file; a table of the
// application's own database may do as well.
//
// An endpoint with a journal ([Config.Journal]) outlives its process. The next
// endpoint that is made with the same journal, for the same two nodes, is the same
// end of the same channel: the peer does not see a restart but a long break. Then
//
//   - a message that Send has taken arrives, whether the process ends or not;
//   - a message counts as taken when Recv is called for the next one, or by
//     [Endpoint.Ack], or when Config.Receive returns. One that was not, or whose
//     taking the journal has not learned of yet, comes again in the next process,
//     in its order: at least once, instead of exactly once.
//
// Only the peer's own restart, if it has no journal, leaves messages of unknown
// fate. They stay in the journal until Recv is called after it has returned the
// [RestartError], or Config.OnRestart returns.
//
// [Endpoint.Close] ends the life of the channel and empties the journal. To stop a
// process and let the channel live, end the context of New, and wait for
// [Endpoint.Done]. A journal that was lost means a new life: the peer sees a
// restart. One that has forgotten what it had kept, such as a copy from yesterday,
// is refused by the peer.
type Journal interface {
	// Load returns what the journal has, and is called once, by [New]: nothing if
	// it is new, or was emptied. What it returns is the endpoint's. An endpoint
	// that has loaded the journal before must not be able to save any more.
	Load() (state []byte, messages [][]byte, err error)
	// Save makes a change, all of it or nothing. When it returns, the change
	// outlives whatever the journal is to protect from: the end of the process,
	// or that of the machine. There is one call at a time, from any goroutine;
	// it must not keep what it was given, nor call the endpoint. An error ends
	// the endpoint.
	Save(Change) error
}

// A Change is what a [Journal] is to keep.
type Change struct {
	// State takes the place of the former state.
	State []byte
	// Drop is how many messages leave at the head of the queue.
	Drop int
	// Append are messages that join the queue at its end.
	Append [][]byte
}

// restore takes up the life that the journal knows of.
func (e *Endpoint) restore() error {
	state, messages, err := e.load()
	switch {
	case err == errPanicked:
		return e.Cause()
	case err != nil:
		return fmt.Errorf("endpoint: journal: %w", err)
	}
	unknown, err := e.ch.Restore(durable.Kept{State: state, Messages: messages})
	switch {
	case errors.Is(err, durable.ErrJournal):
		return fmt.Errorf("endpoint: %w; with an empty journal the channel begins anew, as after a restart", err)
	case err != nil:
		return e.Cause()
	}
	if len(unknown) > 0 {
		e.restarted(unknown)
	}
	return e.Cause() // OnRestart has panicked
}

func (e *Endpoint) load() (state []byte, messages [][]byte, err error) {
	defer e.caught("Journal")
	err = errPanicked
	return e.cfg.Journal.Load()
}

var errPanicked = errors.New("it panicked")

// save keeps a change of the channel.
func (e *Endpoint) save(state []byte, drop int, add [][]byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("endpoint: journal: %w", err)
			e.setCause(err)
		}
	}()
	defer e.caught("Journal")
	err = errPanicked
	err = e.cfg.Journal.Save(Change{state, drop, add})
	return err
}

// Ack counts the message that Recv has returned last as taken, if there is a
// [Config.Journal]: the application has dealt with it, and it does not come again
// once that is in the journal, within a fraction of a second or when the context of
// New ends. The next call of Recv does so too. The goroutine that calls Recv may
// call it. Without a journal, messages are taken when Recv returns them.
func (e *Endpoint) Ack() {
	switch o := &e.in.open; {
	case o.restart:
		e.ch.Reported()
	case o.message:
		e.ch.Consumed(1, o.size, o.urgent)
	}
	e.in.open = open{}
}

// open is what Recv has returned last, until it is dealt with.
type open struct {
	message, restart bool // restart: with messages of unknown fate
	size             int
	urgent           bool
}
