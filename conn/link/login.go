package link

import (
	"context"
	"fmt"
	"net"
	"time"
)

// open makes a link of a stream and logs in. c has been checked. onEnd is
// called exactly once, when the link has ended or if there is none.
func open[In, Out any](ctx context.Context, s Stream, dialled bool, c Config[In, Out], onEnd func()) (*Link[In, Out], error) {
	ctx, stop := context.WithTimeout(ctx, c.LoginTimeout)
	defer stop()
	info := Info{ID: lastID.Add(1), Name: c.Name, Dialled: dialled}
	info.Local, info.Remote = addresses(s)
	var ends []func()
	if onEnd != nil {
		ends = append(ends, onEnd)
	}
	l, err := prepare(ctx, s, info, c, ends)
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

// prepare calls the factory of hooks and OnStream. If it fails, the stream is
// closed.
func prepare[In, Out any](ctx context.Context, s Stream, info Info, c Config[In, Out], onEnd []func()) (*Link[In, Out], error) {
	var hooks Hooks[In, Out]
	last := s
	err := guard(func() error {
		hooks = c.Hooks()
		if hooks.OnStream == nil {
			return nil
		}
		defer bound(ctx, s)()
		wrapped, err := hooks.OnStream(ctx, s, info.Dialled)
		if err == nil && wrapped == nil {
			err = fmt.Errorf("link: OnStream returned no stream")
		}
		if err == nil {
			last = wrapped
		}
		return err
	})
	if err == nil {
		err = closable(last)
	}
	var l *Link[In, Out]
	if err == nil {
		l, err = newLink(last, info, c, hooks, onEnd)
	}
	if err != nil {
		_ = closeStream(last, err)
		_ = closeStream(s, err) // what it wrapped, where that is another
	}
	return l, err
}

// bound makes reading and writing fail once ctx has ended, until release.
func bound(ctx context.Context, s Stream) (release func()) {
	set := func(t time.Time) { _, _ = s.SetReadDeadline(t), s.SetWriteDeadline(t) } // reads and writes tell
	if d, ok := ctx.Deadline(); ok {
		set(d)
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { set(time.Unix(1, 0)); close(fired) })
	return func() {
		if !stop() {
			<-fired
		}
		set(time.Time{})
	}
}

func closable(s Stream) error {
	switch s.(type) {
	case interface{ Close(cause error) error }, interface{ Close() error }:
		return nil
	}
	return fmt.Errorf("link: %T has no method Close() error or Close(cause error) error", s)
}

// addresses tells those of a stream, as far as it knows.
func addresses(s Stream) (local, remote string) {
	if c, ok := s.(interface {
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
	}); ok {
		return text(c.LocalAddr()), text(c.RemoteAddr())
	}
	if c, ok := s.(connAddresses); ok {
		return c.LocalAddr().String(), c.RemoteAddr().String()
	}
	return "", ""
}

func text(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
