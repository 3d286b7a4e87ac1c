//go:build unix || windows

package journal

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
)

// What is in the bucket of a peer.
var (
	stateKey    = []byte("state")
	messagesKey = []byte("messages")
)

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), n) }

// A peerJournal is an [endpoint.Journal].
type peerJournal struct {
	store *Store
	peer  identity.NodeID

	// The numbers of the first message that is kept, and of the next one.
	// Guarded by the store's turn.
	first, next uint64
}

// Load implements [endpoint.Journal].
func (j *peerJournal) Load() (state []byte, messages [][]byte, err error) {
	s := j.store
	err = s.view(func(tx *bbolt.Tx) (err error) {
		var first uint64
		if b := tx.Bucket(j.peer[:]); b != nil {
			state = append(state, b.Get(stateKey)...)
			if first, messages, err = load(b.Bucket(messagesKey)); err != nil {
				return err
			}
		}
		j.first, j.next = first, first+uint64(len(messages))
		s.loaded[j.peer] = j
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("what is kept for %s: %w", j.peer.Short(), err)
	}
	return state, messages, nil
}

// load returns copies of the messages in a bucket, and the number of the first.
func load(b *bbolt.Bucket) (first uint64, messages [][]byte, err error) {
	if b == nil {
		return 0, nil, nil
	}
	err = b.ForEach(func(k, v []byte) error {
		if len(k) != 8 || v == nil {
			return fmt.Errorf("%w: %x is not the number of a message", errDamaged, k)
		}
		n := binary.BigEndian.Uint64(k)
		if len(messages) == 0 {
			first = n
		}
		if want := first + uint64(len(messages)); n != want {
			return fmt.Errorf("%w: message %d is missing", errDamaged, want)
		}
		messages = append(messages, append([]byte{}, v...))
		return nil
	})
	return first, messages, err
}

// A save is a change that waits to be written.
type save struct {
	j      *peerJournal
	change endpoint.Change
	done   chan struct{} // closed when it is written, or refused
	err    error
}

// Save implements [endpoint.Journal]. Those who come while the file is being
// written are served together by one of them.
func (j *peerJournal) Save(c endpoint.Change) error {
	s, own := j.store, &save{j: j, change: c, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, own)
	s.mu.Unlock()
	select {
	case <-own.done:
	case s.turn <- struct{}{}:
		s.saveAll()
		<-s.turn
	}
	return own.err
}

// saveAll writes the changes that wait, in one transaction. The caller has the
// turn.
func (s *Store) saveAll() {
	s.mu.Lock()
	all := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	err := s.commit(func(tx *bbolt.Tx) error {
		for _, w := range all {
			if w.err = w.fits(); w.err != nil {
				continue
			}
			if err := w.j.apply(tx, w.change); err != nil {
				return err
			}
		}
		return nil
	})
	for _, w := range all {
		if w.err == nil {
			w.err = err
		}
		close(w.done)
	}
}

// fits reports why a change cannot be made. The caller has the store's turn.
func (w *save) fits() error {
	switch have := w.j.next - w.j.first; {
	case w.j.store.loaded[w.j.peer] != w.j:
		return errReplaced
	case uint64(w.change.Drop) > have: // also if it is negative
		return fmt.Errorf("%d messages are to leave, there are %d", w.change.Drop, have)
	}
	return nil
}

// apply makes a change in a transaction. If that comes to nothing, nothing more is
// saved in the store, so that the numbers are not of interest any more.
func (j *peerJournal) apply(tx *bbolt.Tx, c endpoint.Change) error {
	drop := j.first + uint64(c.Drop)
	if len(c.State) == 0 && len(c.Append) == 0 && drop == j.next {
		j.first = drop
		return forget(tx, j.peer)
	}
	b, err := tx.CreateBucketIfNotExists(j.peer[:])
	if err != nil {
		return err
	}
	if err := b.Put(stateKey, c.State); err != nil {
		return err
	}
	queue, err := b.CreateBucketIfNotExists(messagesKey)
	if err != nil {
		return err
	}
	queue.FillPercent = 0.95 // messages join at the end
	for ; j.first < drop; j.first++ {
		if err := queue.Delete(number(j.first)); err != nil {
			return err
		}
	}
	for _, p := range c.Append {
		if err := queue.Put(number(j.next), p); err != nil {
			return err
		}
		j.next++
	}
	return nil
}
