package link

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// open makes a link of a stream and logs in. c has been checked. onEnd is
// called exactly once, when the link has ended or if there is none.
func open[In, Out any](ctx context.Context, s Stream, dialled bool, c Config[In, Out], onEnd func()) (*Link[In, Out], error) {
	ctx, stop := context.WithTimeout(ctx, c.LoginTimeout)
	defer stop()
	info := Info{ID: lastID.Add(1), Name: c.Name, Dialled: dialled}
	var ends []func()
	if onEnd != nil {
		ends = append(ends, onEnd)
	}
	l, err := prepare(ctx, s, &info, c, ends)
	if err != nil {
		if onEnd != nil {
			onEnd()
		}
		return nil, fmt.Errorf("link: %s: login: %w", info, err)
	}
	if login := l.hooks.OnLogin; login != nil {
		// The hook may wait in what does not know of ctx.
		unhook := context.AfterFunc(ctx, func() { l.end(fmt.Errorf("link: login: %w", context.Cause(ctx))) })
		err = guard(func() error { return login(ctx, l) })
		if !unhook() && err == nil {
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		err = l.Err()
	}
	if err != nil {
		_ = l.Flush(ctx) // what the login had to say goes out
		l.end(err)
		l.join()
		return nil, fmt.Errorf("link: %s: login: %w", info, err)
	}
	if h := &l.hooks.Heartbeat; h.Interval > 0 {
		l.mu.Lock()
		if l.cause == nil {
			l.timer = time.AfterFunc(h.Interval, l.beat)
		}
		l.mu.Unlock()
	}
	return l, nil
}

// prepare fills in the addresses of info and calls the factory of hooks and
// OnStream. If it fails, the stream is closed.
func prepare[In, Out any](ctx context.Context, s Stream, info *Info, c Config[In, Out], onEnd []func()) (l *Link[In, Out], err error) {
	var hooks Hooks[In, Out]
	last := s
	if info.Local, info.Remote, err = addresses(s); err == nil {
		err = guard(func() (err error) {
			hooks = c.Hooks()
			last, err = onStream(ctx, s, info.Dialled, hooks.OnStream)
			return err
		})
	}
	if err == nil {
		err = closable(last)
	}
	if err == nil {
		l, err = newLink(last, s, *info, c, hooks, onEnd)
	}
	if err != nil {
		_ = closeSoon(last, beneath(last, s), err)
	}
	return l, err
}

// onStream lets the hook, if there is one, make another stream of s.
func onStream(ctx context.Context, s Stream, dialled bool, hook func(context.Context, Stream, bool) (Stream, error)) (wrapped Stream, err error) {
	if hook == nil {
		return s, nil
	}
	release, err := bound(ctx, s)
	if err != nil {
		return s, err
	}
	defer func() {
		if e := release(); e != nil {
			err = e
		}
		if err != nil {
			wrapped = s
		}
	}()
	if wrapped, err = hook(ctx, s, dialled); err == nil && wrapped == nil {
		err = errors.New("link: OnStream returned no stream")
	}
	return wrapped, err
}

// bound makes reading and writing fail once ctx has ended, until release. Its
// errors are panics of the stream; others are left for reads and writes to
// tell.
func bound(ctx context.Context, s Stream) (release func() error, err error) {
	g := guardedStream(s)
	set := func(t time.Time) error {
		for _, err := range []error{g.SetReadDeadline(t), g.SetWriteDeadline(t)} {
			if panicked(err) {
				return err
			}
		}
		return nil
	}
	if d, ok := ctx.Deadline(); ok {
		if err := set(d); err != nil {
			return nil, err
		}
	}
	fired := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		err := set(past)
		if err != nil {
			_ = closeStream(s, err) // else the hook might wait for ever
		}
		fired <- err
	})
	return func() error {
		if !stop() {
			if err := <-fired; err != nil {
				return err
			}
		}
		return set(time.Time{})
	}, nil
}
