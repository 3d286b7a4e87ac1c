//go:build unix

package journal_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/journal"
)

// peers is of how many nodes full has journals.
const peers = 6

// full makes a file of many pages, and returns what is in it.
func full(t *testing.T) (path string, b []byte) {
	t.Helper()
	path = file(t)
	s := open(t, path, quick)
	for i := range peers {
		j := loaded(t, s, key(byte(i)).ID())
		for k := range 12 {
			must(t, j.Save(change("state", 0, fmt.Sprint(k), strings.Repeat("x", k*i*100))))
		}
	}
	must(t, s.Close())
	b, err := os.ReadFile(path)
	must(t, err)
	return path, b
}

// A file that is no journal is refused with an error that says what to do, and is
// left as it is.
func TestForeignFiles(t *testing.T) {
	_, whole := full(t)
	database := func(fill func(*bbolt.Tx) error) []byte {
		path := file(t)
		db, err := bbolt.Open(path, 0o600, nil)
		must(t, err)
		must(t, db.Update(fill))
		must(t, db.Close())
		b, err := os.ReadFile(path)
		must(t, err)
		return b
	}
	bucket := func(name, value string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte(name))
			if err == nil && value != "" {
				err = b.Put([]byte("version"), []byte(value))
			}
			return err
		}
	}
	const advice = "begin anew"
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"text":             {[]byte("This is a letter to my aunt.\n"), advice},
		"long text":        {bytes.Repeat([]byte("This is a letter to my aunt.\n"), 10000), advice},
		"zeros":            {make([]byte, 1<<16), advice},
		"the beginning":    {whole[:100], advice},
		"one page":         {whole[:os.Getpagesize()], ""},
		"half":             {whole[:len(whole)/2], advice},
		"no first pages":   {append(make([]byte, 2*os.Getpagesize()), whole[2*os.Getpagesize():]...), advice},
		"another database": {database(bucket("users", "")), advice},
		"no version":       {database(bucket("plexus/journal", "")), "version"},
		"a later version":  {database(bucket("plexus/journal", "\x02")), "version [2], this is 1"},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t)
			must(t, os.WriteFile(path, tt.b, 0o600))
			s, err := journal.Open(path, quick)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open = %v, want an error with %q", err, tt.want)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, tt.b) {
				t.Errorf("the file has changed: %v", err)
			}
		})
	}
	path := file(t)
	must(t, os.WriteFile(path, nil, 0o600))
	open(t, path, quick) // empty: is as if it were not there
}

// Any page may be garbage: then the file, or a journal in it, cannot be read, or
// the page was not in use, or it has messages that are others now. The process
// lives, and another file can be opened.
func TestDamagedPages(t *testing.T) {
	_, whole := full(t)
	page := os.Getpagesize()
	rng := rand.New(rand.NewPCG(1, 1))
	refused, path := 0, file(t)
	for at := 2 * page; at < len(whole); at += page {
		for _, fill := range []func(int) byte{
			func(int) byte { return 0 },
			func(int) byte { return 0xff },
			func(int) byte { return byte(rng.Uint32()) },
			func(i int) byte { // a page of its kind, with garbage in it
				if i < 16 {
					return whole[at+i]
				}
				return byte(rng.Uint32())
			},
		} {
			b := bytes.Clone(whole)
			for i := range page {
				b[at+i] = fill(i)
			}
			must(t, os.WriteFile(path, b, 0o600))
			s, err := journal.Open(path, quick)
			if err != nil {
				refused++
				continue
			}
			for i := range peers {
				if _, _, err := s.For(key(byte(i)).ID()).Load(); err != nil {
					refused++
					break
				}
			}
			must(t, s.Close())
		}
	}
	if refused < 4*10 {
		t.Errorf("%d damaged files were refused: the test does not bite", refused)
	}
}

// A file that was spoilt while it is open: saving fails, for all who wait, the
// process lives, and Close returns.
func TestSpoiltWhileOpen(t *testing.T) {
	for name, spoil := range map[string]func(path string, size int64) error{
		"cut off": func(path string, _ int64) error { return os.Truncate(path, int64(2*os.Getpagesize())) },
		"garbage": func(path string, size int64) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt(bytes.Repeat([]byte{0xee}, int(size)-2*os.Getpagesize()), int64(2*os.Getpagesize()))
				f.Close()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, whole := full(t)
			s := open(t, path, quick)
			errs := make([]error, peers)
			var all []endpoint.Journal
			for i := range peers {
				all = append(all, loaded(t, s, key(byte(i)).ID()))
			}
			must(t, spoil(path, int64(len(whole)))) // not meanwhile: half a page may send the database round in circles
			var work sync.WaitGroup
			for i, j := range all {
				work.Go(func() {
					for errs[i] == nil {
						errs[i] = j.Save(change("s", 0, "x"))
					}
				})
			}
			work.Wait()
			for _, err := range errs {
				if !strings.Contains(err.Error(), "damaged") {
					t.Errorf("Save = %v", err)
				}
			}
			if _, _, err := s.For(key(1).ID()).Load(); err == nil {
				t.Error("Load worked")
			}
			must(t, s.Close())
			if _, err := journal.Open(path, quick); err == nil || !strings.Contains(err.Error(), "begin anew") {
				t.Errorf("Open = %v, want it to be damaged, and not in use", err)
			}
		})
	}
}

// Where writing fails all further saves do, and what is in the file is what was
// saved before.
func TestWriteFails(t *testing.T) {
	path, peer := file(t), key(1).ID()
	s := open(t, path, quick)
	j, other := loaded(t, s, peer), loaded(t, s, key(2).ID())
	must(t, j.Save(change("a", 0, "1")))
	journal.CloseFile(s)
	first := j.Save(change("b", 0, "2"))
	if first == nil || !strings.Contains(first.Error(), "file already closed") {
		t.Errorf("Save = %v", first)
	}
	for _, j := range []endpoint.Journal{j, other} {
		if err := j.Save(change("b", 0, "2")); err != first {
			t.Errorf("Save afterwards = %v, want %v", err, first)
		}
	}
	if err := s.Close(); err == nil {
		t.Error("Close has not said that the file was closed")
	}
	s = open(t, path, quick)
	has(t, s, peer, "a", "1")
}
