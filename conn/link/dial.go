package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Dial connects to an address, as net.Dialer does, and logs in. What cannot be
// reached is tried again, every Config.RetryAfter, until ctx ends: give it a
// deadline. A login that fails is not tried again.
func Dial[In, Out any](ctx context.Context, network, address string, c Config[In, Out]) (*Link[In, Out], error) {
	var d net.Dialer
	return Connect(ctx, func(ctx context.Context) (Stream, error) { return d.DialContext(ctx, network, address) }, c)
}

// Connect is Dial for streams of any kind: stream makes one, and has to return
// when its ctx ends.
func Connect[In, Out any](ctx context.Context, stream func(ctx context.Context) (Stream, error), c Config[In, Out]) (*Link[In, Out], error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		s, err := attempt(ctx, stream, c.ConnectTimeout)
		if err == nil {
			return open(ctx, s, true, c, nil)
		}
		if ctx.Err() == nil {
			pause := c.RetryAfter
			if c.Retry != nil {
				if p := guard(func() error { pause = c.Retry(n, err); return nil }); p != nil {
					return nil, fmt.Errorf("link: %s: Config.Retry: %w (after %w)", c.Name, p, err)
				}
			}
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
			}
		}
		return nil, fmt.Errorf("link: %s: no connection after %d attempts: %w (the last: %w)", c.Name, n, context.Cause(ctx), err)
	}
}

func attempt(ctx context.Context, open func(ctx context.Context) (Stream, error), timeout time.Duration) (s Stream, err error) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	defer caught(&err)
	if s, err = open(ctx); err == nil && s == nil {
		err = errors.New("link: there is neither a stream nor an error")
	}
	return s, err
}
