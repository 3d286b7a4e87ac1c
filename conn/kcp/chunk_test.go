package kcp

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// dechunk takes p apart as it is cut by size.
func dechunk(p []byte, size func() int) (data []byte, ended bool, err error) {
	var d dechunker
	for len(p) > 0 && !d.ended {
		n := min(size(), len(p))
		for rest := p[:n]; len(rest) > 0; {
			var part []byte
			if part, rest, err = d.next(rest); err != nil {
				return data, false, err
			}
			data = append(data, part...)
		}
		p = p[n:]
	}
	return data, d.ended, nil
}

func TestChunks(t *testing.T) {
	whole := bytes.Repeat([]byte("x"), maxChunk)
	for name, test := range map[string]struct {
		in, want []byte
		ended    bool
		fails    bool
	}{
		"nothing":       {},
		"alive":         {in: head(alive)},
		"end":           {in: head(end), ended: true},
		"one":           {in: append(head(3), "abc"...), want: []byte("abc")},
		"largest":       {in: append(head(maxChunk), whole...), want: whole},
		"too large":     {in: append(head(maxChunk+1), whole...), fails: true},
		"several":       {in: append(append(append(head(1), 'a'), head(alive)...), append(head(2), "bc\xff\xff"...)...), want: []byte("abc"), ended: true},
		"after the end": {in: append(head(end), append(head(1), 'a')...), ended: true},
		"half":          {in: append(head(9), "abc"...), want: []byte("abc")},
	} {
		random := rand.New(rand.NewPCG(1, 2))
		for cut, size := range map[string]func() int{"whole": func() int { return 1 << 20 }, "bytes": func() int { return 1 }, "anywhere": func() int { return 1 + random.IntN(5) }} {
			got, ended, err := dechunk(test.in, size)
			if !bytes.Equal(got, test.want) || ended != test.ended || (err != nil) != test.fails {
				t.Errorf("%s, %s: %d bytes, ended %t, %v; want %d bytes, ended %t, an error %t", name, cut, len(got), ended, err, len(test.want), test.ended, test.fails)
			}
		}
	}
}

func FuzzDechunk(f *testing.F) {
	f.Add([]byte("\x00\x05hello\x00\x00\xff\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		once, onceEnded, onceErr := dechunk(p, func() int { return len(p) })
		each, eachEnded, eachErr := dechunk(p, func() int { return 1 })
		if !bytes.Equal(once, each) || onceEnded != eachEnded || (onceErr == nil) != (eachErr == nil) {
			t.Errorf("%x gives %x, %t, %v at once, and %x, %t, %v byte by byte", p, once, onceEnded, onceErr, each, eachEnded, eachErr)
		}
		if len(once) > len(p) {
			t.Errorf("%d bytes of data in %d", len(once), len(p))
		}
	})
}

func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		p := make([]byte, 4)
		b.setDeadline(time.Now().Add(time.Second))
		start := time.Now()
		if _, err := b.read(p); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("read = %v after %v, want that the deadline is over after 1s", err, time.Since(start))
		}
		b.setDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute)
			b.put([]byte("hello"))
			b.finish(io.EOF)
			b.put([]byte("more"))
			b.finish(errDead)
		}()
		var got []byte
		for {
			n, err := b.read(p)
			if got = append(got, p[:n]...); err != nil {
				if err != io.EOF || string(got) != "hello" {
					t.Errorf("read %q, then %v; want what came before the first end, then that", got, err)
				}
				break
			}
		}
	})
}

// A writer to an inbox that nobody reads waits, until there is room or nobody
// will read.
func TestInboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		b.put(make([]byte, maxInbox))
		done := make(chan struct{})
		go func() {
			b.put([]byte("x"))
			close(done)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("a full inbox took more")
		default:
		}
		if _, err := b.read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		<-done
		b.close(io.ErrClosedPipe)
		b.put(make([]byte, 2*maxInbox)) // goes nowhere
		if n, err := b.read(make([]byte, 1)); n != 0 || err != io.ErrClosedPipe {
			t.Errorf("read after close = %d, %v", n, err)
		}
	})
}
