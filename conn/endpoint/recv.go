package endpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"sync"
)

// An inbox holds the messages that wait for Recv: each behind its length, whose
// highest bit says that the sender waits for it to be taken. It is handed over
// in batches.
type inbox struct {
	signal  chan struct{} // one token: look again
	onReady func()        // optional

	mu       sync.Mutex // guards what follows
	fresh    []byte
	box      *[]byte       // holds fresh
	waiting  bool          // Recv waits for signal
	restarts []restartMark // in fresh

	// Of the goroutine that calls Recv.
	batch []byte // what is left of it
	last  *[]byte
	marks []restartMark // in batch
	at    int           // of batch in the batch that was taken
	open  open          // if there is a journal
}

// A restartMark is a restart of the peer, before the message at a place.
type restartMark struct {
	at  int
	err *RestartError
}

const (
	urgentBit = 1 << 31
	maxBox    = 2 << 20 // of what is kept for others
)

var boxes = sync.Pool{New: func() any { return new([]byte) }}

func (i *inbox) put(p []byte, urgent bool) {
	n := uint32(len(p))
	if urgent {
		n |= urgentBit
	}
	i.mu.Lock()
	if i.fresh == nil {
		i.box = boxes.Get().(*[]byte)
		i.fresh = (*i.box)[:0]
	}
	i.fresh = binary.BigEndian.AppendUint32(i.fresh, n)
	i.fresh = append(i.fresh, p...)
	wake := i.waiting
	i.waiting = false
	i.mu.Unlock()
	if wake {
		i.wake()
	}
}

func (i *inbox) putRestart(unknown [][]byte) {
	i.mu.Lock()
	i.restarts = append(i.restarts, restartMark{len(i.fresh), &RestartError{unknown}})
	i.mu.Unlock()
	i.wake()
}

// wake has Recv look again.
func (i *inbox) wake() {
	select {
	case i.signal <- struct{}{}:
	default:
	}
	if i.onReady != nil {
		i.onReady()
	}
}

// swap takes what has come as the next batch. It reports whether there is any;
// if not, the next message wakes.
func (i *inbox) swap() bool {
	if i.last != nil {
		boxes.Put(i.last)
		i.last, i.batch = nil, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.fresh) == 0 && len(i.restarts) == 0 {
		i.waiting = true
		return false
	}
	i.batch, i.marks, i.at = i.fresh, i.restarts, 0
	if i.box != nil && cap(i.fresh) <= maxBox {
		*i.box = i.fresh
		i.last = i.box
	}
	i.fresh, i.box, i.restarts = nil, nil, nil
	return true
}

// next returns what comes next in the batch.
func (i *inbox) next() (p []byte, urgent bool, err error) {
	if len(i.marks) > 0 && i.marks[0].at == i.at {
		err, i.marks = i.marks[0].err, i.marks[1:]
		return nil, false, err
	}
	n := binary.BigEndian.Uint32(i.batch)
	urgent, n = n&urgentBit != 0, n&^urgentBit
	p = i.batch[4 : 4+n : 4+n]
	i.batch = i.batch[4+n:]
	i.at += 4 + int(n)
	return p, urgent, nil
}

func (i *inbox) empty() bool { return len(i.batch) == 0 && len(i.marks) == 0 }

// Recv waits for the next message, until ctx ends. p is valid until the next
// call. After the channel has ended, it first returns what came before, then the
// cause. A [*RestartError] is no end.
func (e *Endpoint) Recv(ctx context.Context) (p []byte, err error) {
	for {
		if p, err = e.TryRecv(); err != ErrEmpty {
			return p, err
		}
		switch e.env.Wait(e.in.signal, ctx.Done(), e.ch.Done()) {
		case 1:
			return nil, context.Cause(ctx)
		case 2:
			if p, err = e.TryRecv(); err == ErrEmpty {
				err = e.Cause()
			}
			return p, err
		}
	}
}

// TryRecv is Recv that does not wait: it fails with [ErrEmpty] where no message
// has come.
func (e *Endpoint) TryRecv() (p []byte, err error) {
	i := &e.in
	if e.cfg.Journal != nil {
		e.Ack()
	}
	if i.empty() {
		cause := e.Cause() // before it looks: what came before the end goes first
		over := cause != nil && e.ch.Closing()
		switch {
		case i.swap():
		case over:
			return nil, cause
		default:
			return nil, ErrEmpty
		}
	}
	p, urgent, err := i.next()
	switch {
	case e.cfg.Journal != nil:
		var restart *RestartError
		i.open = open{message: err == nil, size: len(p), urgent: urgent}
		i.open.restart = errors.As(err, &restart) && len(restart.Unknown) > 0
	case err == nil:
		e.ch.Consumed(1, len(p), urgent)
	}
	return p, err
}

// All returns the messages as they come, as Recv does, until an error other than
// a [*RestartError] has been returned, or the loop is left.
func (e *Endpoint) All(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			p, err := e.Recv(ctx)
			_, restart := err.(*RestartError)
			if !yield(p, err) || err != nil && !restart {
				return
			}
		}
	}
}
