//go:build unix || windows

package journal

import "go.etcd.io/bbolt"

// Transactions returns how many changes were made to the file in its life.
func Transactions(s *Store) (n int) {
	_ = s.view(func(tx *bbolt.Tx) error { n = tx.ID(); return nil })
	return n
}

// Hold has all who use the file wait until release is called.
func Hold(s *Store) (release func()) {
	s.turn <- struct{}{}
	return func() { <-s.turn }
}

// Waiting returns how many changes wait.
func Waiting(s *Store) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// CloseFile has the file fail to be written.
func CloseFile(s *Store) { s.file.Close() }
