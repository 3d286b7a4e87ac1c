package secure

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// Stop ends the dials that run, with the reason, and Wait waits for them; none
// begins any more.
func TestDialsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDials()
		result := make(chan error, 1)
		go func() {
			_, err := d.Run(t.Context(), func(ctx context.Context) (conn.Conn, error) {
				<-ctx.Done()
				time.Sleep(time.Second) // to free what it has
				return nil, net.ErrClosed
			})
			result <- err
		}()
		synctest.Wait()
		start := time.Now()
		d.Stop()
		d.Stop()
		d.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("Wait took %v, want that of the dial, 1 s", took)
		}
		if err := <-result; !errors.Is(err, conn.ErrClosed) {
			t.Errorf("the dial's error is %v, want ErrClosed", err)
		}
		_, err := d.Run(t.Context(), func(context.Context) (conn.Conn, error) {
			t.Error("a dial ran after Stop")
			return nil, nil
		})
		if !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Run after Stop = %v, want ErrClosed", err)
		}
		if _, _, err := d.Begin(t.Context()); !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Begin after Stop = %v, want ErrClosed", err)
		}
	})
}

// An error is that of the dial, unless the caller has given up before: then it is
// why.
func TestDialsError(t *testing.T) {
	d := NewDials()
	failed, tired := errors.New("failed"), errors.New("tired of it")
	if _, err := d.Run(t.Context(), func(context.Context) (conn.Conn, error) { return nil, failed }); err != failed {
		t.Errorf("error %v, want that of the dial", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(tired)
	if _, err := d.Run(ctx, func(context.Context) (conn.Conn, error) { return nil, failed }); err != tired {
		t.Errorf("error %v, want that of the caller", err)
	}
	inner, end, err := d.Begin(t.Context())
	if err != nil || inner.Err() != nil {
		t.Fatalf("Begin = %v, its context %v", err, inner.Err())
	}
	end()
	if inner.Err() == nil {
		t.Error("the context lives on after end")
	}
	d.Stop()
	d.Wait()
}

// A failing is a net.Listener of which some accepts fail.
type failing struct {
	net.Listener
	errs chan error
}

func (f *failing) Accept() (net.Conn, error) { return nil, <-f.errs }

// After errors of a listener Take pauses, longer each time and at most a second,
// goes on, and tells who waits; it ends with the listener.
func TestTakePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := NewHandshakes(1), &failing{errs: make(chan error)}
		full := errors.New("no file descriptors")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.Take(l, "accept at here", nil)
		}()
		start := time.Now()
		for range 10 { // that nobody hears of
			l.errs <- full
		}
		synctest.Wait()
		if got, want := time.Since(start), (5+10+20+40+80+160+320+640+1000)*time.Millisecond; got != want {
			t.Errorf("the tenth accept came after %v, want %v", got, want)
		}
		if _, err := h.Accept(t.Context()); !errors.Is(err, full) || err.Error() != "accept at here: no file descriptors" {
			t.Errorf("Accept = %v", err)
		}
		l.errs <- net.ErrClosed
		<-ended
		h.Close()
	})
}
