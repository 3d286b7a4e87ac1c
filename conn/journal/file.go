//go:build unix || windows

package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// errDamaged is beneath the errors about what a file has.
var errDamaged = errors.New("the file is damaged, or no journal; with another file the channels begin anew, as after a restart")

// guarded calls f, which uses the file. That there is something wrong with a file,
// or with its disk, a database may tell by a panic, or by a fault where the file is
// mapped into memory: that becomes an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errDamaged, v)
		}
	}()
	return f()
}

// open opens the file at path, if it is a journal or empty.
func (s *Store) open(path string) error {
	err := guarded(func() error { return s.inspect(path) })
	if err == nil {
		s.db, s.file, err = s.bolt(path, false)
	}
	if err == nil {
		err = errors.Join(s.commit(mark), s.settle(path))
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %s", ErrInUse, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return fmt.Errorf("journal: open %s: %w: %w", path, errDamaged, err)
	case err != nil:
		return fmt.Errorf("journal: open %s: %w", path, err)
	}
	return nil
}

// bolt opens the database.
func (s *Store) bolt(path string, readOnly bool) (db *bbolt.DB, file *os.File, err error) {
	o := &bbolt.Options{
		Timeout: s.cfg.LockTime, ReadOnly: readOnly, NoSync: s.cfg.NoSync, NoGrowSync: s.cfg.NoSync,
		// A list of free pages would be written with every change.
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, perm os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, perm)
			return file, err
		},
	}
	opened := false
	defer func() {
		if !opened && file != nil {
			file.Close() // if it has panicked; else it is closed already
		}
	}()
	err = guarded(func() error {
		db, err = bbolt.Open(path, 0o600, o)
		opened = err == nil
		return err
	})
	return db, file, err
}

// inspect reads through a file, before it is opened to be written: that reads
// through it too, but on a goroutine of its own, where a panic would be the end of
// the process.
func (s *Store) inspect(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	db, _, err := s.bolt(path, true)
	if err != nil {
		return err
	}
	err = guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			if err := marked(tx); err != nil {
				return err
			}
			return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
		})
	})
	return errors.Join(err, db.Close())
}

// walk touches all that a bucket has.
func walk(b *bbolt.Bucket) error {
	if b == nil {
		return errDamaged
	}
	var last, end []byte
	return b.ForEach(func(k, v []byte) error {
		if bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("%w: its keys are in disorder", errDamaged)
		}
		last = append(last[:0], k...)
		if v == nil {
			return walk(b.Bucket(k))
		}
		end = append(end[:0], v[max(len(v)-1, 0):]...)
		return nil
	})
}

// The bucket that says that a file is a journal.
var (
	markKey    = []byte("plexus/journal")
	versionKey = []byte("version")
)

const version = 1

// marked reports whether a file is a journal of this version, or nothing yet.
func marked(tx *bbolt.Tx) error {
	b := tx.Bucket(markKey)
	if b == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return fmt.Errorf("%w: it is a database of something else", errDamaged)
		}
		return nil
	}
	if v := b.Get(versionKey); len(v) != 1 || v[0] != version {
		return fmt.Errorf("the file has version %d, this is %d", v, version)
	}
	return nil
}

// mark says that a file is a journal.
func mark(tx *bbolt.Tx) error {
	if err := marked(tx); err != nil || tx.Bucket(markKey) != nil {
		return err
	}
	b, err := tx.CreateBucket(markKey)
	if err != nil {
		return err
	}
	return b.Put(versionKey, []byte{version})
}

// settle has the name of the file outlive the machine, too.
func (s *Store) settle(path string) error {
	if s.cfg.NoSync || runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
