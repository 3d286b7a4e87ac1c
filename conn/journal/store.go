//go:build unix || windows

package journal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
)

// ErrInUse is beneath the error of Open for a file that another process has open,
// or another Store of this one.
var ErrInUse = errors.New("journal: the file is in use")

var (
	errClosed = errors.New("the store is closed")
	// errReplaced is the error of an endpoint that saves what another has loaded
	// since.
	errReplaced = errors.New("another endpoint has loaded this journal since, or it was removed")
)

// A Config says how a store behaves. The zero value is the safe one.
type Config struct {
	// NoSync leaves it to the system when changes reach the disk: they outlive
	// the process, but the last seconds of them not a machine that crashes or
	// loses power, after which the file may also be damaged. A save takes tens
	// of microseconds then, instead of what the disk needs.
	NoSync bool
	// LockTime is how long Open waits for another process to close the file.
	// Default 1 s.
	LockTime time.Duration
}

// A Store is a file with the journals of a node's endpoints, one for each peer.
// Methods may be called from any goroutine. After an error of the file, such as a
// disk that is full, nothing more is saved: the endpoints that have something to
// save end with that error, and the file has to be opened again.
type Store struct {
	cfg  Config
	db   *bbolt.DB
	file *os.File      // of db
	turn chan struct{} // holds a token while the file is used

	// Guarded by the turn.
	loaded map[identity.NodeID]*peerJournal // that may save
	over   error                            // why the file is not used any more
	stuck  bool                             // a lock of db is held for ever

	mu      sync.Mutex // guards waiting
	waiting []*save
}

// Open opens the file at path, or makes it, readable by its owner only. The
// directory must exist. A file that is damaged, or no journal, is left as it is.
func Open(path string, c Config) (*Store, error) {
	if c.LockTime < 0 {
		return nil, fmt.Errorf("journal: Config.LockTime is %v, want more than zero", c.LockTime)
	}
	if c.LockTime == 0 {
		c.LockTime = time.Second
	}
	s := &Store{cfg: c, turn: make(chan struct{}, 1), loaded: map[identity.NodeID]*peerJournal{}}
	if err := s.open(path); err != nil {
		return nil, err
	}
	return s, nil
}

// Close waits for a save that is under way, and closes the file; with
// Config.NoSync it is written to the disk first. End the endpoints before: one
// that has something to save afterwards ends with an error. Calls after the first
// do nothing.
func (s *Store) Close() (err error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	switch {
	case s.over == errClosed:
		return nil
	case s.stuck:
		err = s.file.Close()
	default:
		if s.cfg.NoSync {
			err = s.db.Sync()
		}
		err = errors.Join(err, s.db.Close())
	}
	if s.over = errClosed; err != nil {
		return fmt.Errorf("journal: close: %w", err)
	}
	return nil
}

// For returns the journal of the node's endpoint to a peer. The last one that was
// loaded is the one that can save.
func (s *Store) For(peer identity.NodeID) endpoint.Journal { return &peerJournal{store: s, peer: peer} }

// Peers returns the nodes of which there is a journal, in the order of their IDs.
// That of an endpoint that was closed is empty, and there no longer.
func (s *Store) Peers() (peers []identity.NodeID, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if len(name) == len(identity.NodeID{}) {
				peers = append(peers, identity.NodeID(name))
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return peers, nil
}

// Remove forgets the journal of a peer: the next endpoint begins a new life, as
// after a restart. One that has the journal loaded ends when it saves.
func (s *Store) Remove(peer identity.NodeID) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	delete(s.loaded, peer)
	if err := s.commit(func(tx *bbolt.Tx) error { return forget(tx, peer) }); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// forget deletes the bucket of a peer, if there is one.
func forget(tx *bbolt.Tx, peer identity.NodeID) error {
	if tx.Bucket(peer[:]) == nil {
		return nil
	}
	return tx.DeleteBucket(peer[:])
}

// view reads the file.
func (s *Store) view(f func(*bbolt.Tx) error) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.use(false, f)
}

// commit changes the file. The caller has the turn.
//
// What an error leaves in memory and on the disk may differ (a disk that has once
// failed to write may say that all is well the next time), so it is the last.
func (s *Store) commit(f func(*bbolt.Tx) error) error {
	err := s.use(true, f)
	if s.over == nil {
		s.over = err
	}
	return err
}

// use has f run in a transaction. The caller has the turn.
func (s *Store) use(writable bool, f func(*bbolt.Tx) error) error {
	if s.over != nil {
		return s.over
	}
	var tx *bbolt.Tx
	s.stuck = true
	err := guarded(func() (err error) {
		tx, err = s.db.Begin(writable)
		s.stuck = false
		if err == nil {
			err = f(tx)
		}
		if err == nil && writable {
			err = tx.Commit()
		}
		return err
	})
	if s.stuck {
		s.over = err
	}
	if tx != nil {
		_ = guarded(tx.Rollback) // if it is not over
	}
	return err
}
