package link

import (
	"context"
	"errors"
	"time"
)

// Close says goodbye, waits until all that was sent is written, for
// Config.CloseTimeout at most, and closes the stream. Where that says goodbye
// too, as TLS does, it gets a tenth of a second; of a stream of another kind,
// made by Connect, Close waits for its Close. It returns when nothing of the link
// is left running; hooks call Abort instead. Its error is why not all was
// written, or why the link had ended before, with a panic that came after that.
// Every call returns the same.
func (l *Link[In, Out]) Close() error {
	l.mu.Lock()
	first := !l.closing
	l.closing = true
	l.mu.Unlock()
	if first {
		l.closed = l.finish()
		close(l.finished)
	}
	<-l.finished
	return l.closed
}

func (l *Link[In, Out]) finish() error {
	ctx, stop := context.WithTimeout(context.Background(), l.config.CloseTimeout)
	defer stop()
	goodbye := l.goodbye(ctx)
	err := l.writer.Close(ctx)
	if err == nil {
		err = goodbye
	}
	if cause := l.Err(); cause != nil {
		err = cause
	}
	l.end(ErrClosed)
	l.join()
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late != nil {
		return errors.Join(err, l.late)
	}
	return err
}

// goodbye sends the last message.
func (l *Link[In, Out]) goodbye(ctx context.Context) error {
	if l.hooks.Goodbye == nil || l.Err() != nil {
		return nil
	}
	err := guard(func() error {
		v, ok := l.hooks.Goodbye()
		if !ok {
			return nil
		}
		return l.Send(ctx, v)
	})
	if panicked(err) {
		l.end(err)
	}
	return err
}

// Abort ends the link at once, for a reason that calls on it then return; nil
// means ErrClosed. What was not yet written is lost. It does not wait and may
// be called from anywhere but OnSend, codecs and framers. Close waits for what
// it leaves behind.
func (l *Link[In, Out]) Abort(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	l.end(cause)
}

// enter counts work that join waits for, unless the link has ended: false. It
// ends with l.beside.Done.
func (l *Link[In, Out]) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return false
	}
	l.beside.Add(1)
	return true
}

// join waits for what the link has started. It has ended, or another goroutine
// is about to end it.
func (l *Link[In, Out]) join() {
	<-l.done
	_ = l.writer.Flush(context.Background()) // the stream is closed: its Write returns
	l.beside.Wait()
}

// end ends the link, once.
func (l *Link[In, Out]) end(cause error) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	onEnd := l.onEnd
	l.onEnd = nil
	l.mu.Unlock()
	l.writer.Drop(cause)
	l.unwatch()
	shut := func() {
		l.noteLate(closeSoon(l.stream, l.under, cause))
		for _, f := range onEnd {
			f()
		}
	}
	if _, waits := l.stream.(*guarded); waits {
		_ = l.stream.SetReadDeadline(past) // who receives need not wait for the rest
		l.beside.Go(shut)
	} else {
		shut()
	}
	if !errors.Is(cause, ErrClosed) {
		l.noteLate(guard(func() error {
			if l.observer != nil {
				l.observer.Observe(Event{Link: l.info, Time: time.Now(), Kind: Failed, Err: cause})
			}
			if l.hooks.OnError != nil {
				l.hooks.OnError(cause)
			}
			return nil
		}))
	}
	close(l.done)
}

// noteLate keeps a panic that came after the end, for Close to tell of. Other
// errors of closing mean nothing: closed is closed.
func (l *Link[In, Out]) noteLate(err error) {
	if panicked(err) {
		l.mu.Lock()
		l.late = errors.Join(l.late, err)
		l.mu.Unlock()
	}
}
