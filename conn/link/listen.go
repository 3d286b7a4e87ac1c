package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// A Listener makes links of incoming connections. Each logs in beside the
// others: a slow one delays nobody. Methods may be called from any goroutine.
type Listener[In, Out any] struct {
	config Config[In, Out]
	accept func(context.Context) (Stream, error)
	close  func() error
	addr   string
	ready  chan *Link[In, Out]
	ctx    context.Context // ends with the listener
	stop   context.CancelCauseFunc
	work   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	open    int        // links and logins, without those given up
	leaving int        // logins given up whose hooks have not returned
	refused uint64
	logins  []*login // the oldest first
}

// A login is an incoming connection that is not yet a link that somebody has
// accepted.
type login struct {
	from    netip.Prefix
	stop    context.CancelCauseFunc
	done    bool // it waits for Accept
	givenUp bool
	freed   bool // it does not count as open any more
}

var (
	errGivenUp = errors.New("link: login given up for a newer one: Config.MaxConns or MaxLogins is reached")
	// acceptPause is how long to wait after an error of accepting, such as
	// that of too many descriptors.
	acceptPause = 50 * time.Millisecond
)

// Listen listens on an address, as net.Listen does.
func Listen[In, Out any](network, address string, c Config[In, Out]) (*Listener[In, Out], error) {
	if _, err := c.checked(); err != nil {
		return nil, err
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("link: listen: %w", err)
	}
	return ListenOn(l, c)
}

// ListenOn makes links of what l accepts, which it then owns: TLS listeners,
// those with a socket of their own. If it fails, l is closed.
func ListenOn[In, Out any](l net.Listener, c Config[In, Out]) (*Listener[In, Out], error) {
	return listen(func(context.Context) (Stream, error) { return l.Accept() }, l.Close, l.Addr().String(), c)
}

// ListenConn makes links of what l accepts, which it then owns. If it fails, l
// is closed.
func ListenConn[In, Out any](l conn.Listener, c Config[In, Out]) (*Listener[In, Out], error) {
	return listen(func(ctx context.Context) (Stream, error) { return l.Accept(ctx) }, l.Close, l.Addr().String(), c)
}

func listen[In, Out any](accept func(context.Context) (Stream, error), close func() error, addr string, c Config[In, Out]) (*Listener[In, Out], error) {
	c, err := c.checked()
	if err != nil {
		_ = close()
		return nil, err
	}
	once := sync.OnceValue(func() error { return guard(close) })
	l := &Listener[In, Out]{config: c, accept: accept, close: once, addr: addr, ready: make(chan *Link[In, Out])}
	l.ctx, l.stop = context.WithCancelCause(context.Background())
	l.work.Go(l.run)
	return l, nil
}

// Addr returns the address that is listened on, with its real port.
func (l *Listener[In, Out]) Addr() string { return l.addr }

// Accept waits for the next link that has logged in, until ctx ends or the
// listener is closed: [ErrClosed]. A listener that panics is closed, too, with a
// [*PanicError].
func (l *Listener[In, Out]) Accept(ctx context.Context) (*Link[In, Out], error) {
	select {
	case k := <-l.ready:
		return k, nil
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Open tells how many links are open, with those that log in, and how many
// connections were closed at once as Config.MaxConns or MaxLogins was reached.
func (l *Listener[In, Out]) Open() (open int, refused uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.refused
}

// Close stops listening and gives up the logins. Links that Accept has returned
// live on. It returns when nothing of the listener is left running, and must
// not be called by a hook.
func (l *Listener[In, Out]) Close() error {
	l.stop(ErrClosed)
	err := l.close()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, conn.ErrClosed) {
		err = nil
	}
	l.work.Wait()
	return err
}

func (l *Listener[In, Out]) run() {
	for l.ctx.Err() == nil {
		var s Stream
		err := guard(func() (err error) { s, err = l.accept(l.ctx); return err })
		switch {
		case err == nil:
			l.take(s)
		case errors.Is(err, net.ErrClosed) || errors.Is(err, conn.ErrClosed) || panicked(err):
			l.stop(fmt.Errorf("link: accept: %w", err))
			_ = l.close() // Close returns the same again
		default:
			select {
			case <-time.After(acceptPause):
			case <-l.ctx.Done():
			}
		}
	}
}

// take lets a connection log in, if there is room.
func (l *Listener[In, Out]) take(s Stream) {
	ctx, stop := context.WithCancelCause(l.ctx)
	g := &login{from: originOf(s), stop: stop}
	l.mu.Lock()
	if !l.room() {
		l.refused++
		l.mu.Unlock()
		stop(nil)
		_ = closeStream(s, &conn.CloseError{Code: conn.CodeLimit, Reason: "Config.MaxConns or MaxLogins"})
		return
	}
	l.open++
	l.logins = append(l.logins, g)
	l.mu.Unlock()
	l.work.Go(func() {
		defer stop(nil)
		defer l.forget(g)
		k, err := open(ctx, s, false, l.config, func() { l.freed(g) })
		if err != nil {
			return // the hooks know; the other side reads it from the stream
		}
		l.mu.Lock()
		g.done = !g.givenUp
		l.mu.Unlock()
		if g.done {
			select {
			case l.ready <- k:
				return
			case <-ctx.Done():
			}
		}
		k.Abort(context.Cause(ctx))
		k.join()
	})
}

// room reports whether there is a place for one more, if need be that of a
// login. l.mu is held.
func (l *Listener[In, Out]) room() bool {
	for l.open >= l.config.MaxConns || len(l.logins) >= l.config.MaxLogins {
		if l.leaving >= l.config.MaxLogins || !l.giveUp() {
			return false
		}
	}
	return true
}

// giveUp ends a login, if there is one: the oldest of where most of them come
// from. l.mu is held.
func (l *Listener[In, Out]) giveUp() bool {
	count := map[netip.Prefix]int{}
	for _, g := range l.logins {
		if !g.done {
			count[g.from]++
		}
	}
	at := -1
	for i, g := range l.logins {
		if !g.done && (at < 0 || count[g.from] > count[l.logins[at].from]) {
			at = i
		}
	}
	if at < 0 {
		return false
	}
	g := l.logins[at]
	l.logins = append(l.logins[:at], l.logins[at+1:]...)
	g.givenUp = true
	g.stop(errGivenUp)
	l.leaving++
	l.free(g)
	return true
}

// free counts a link, or a login, as open no more. l.mu is held.
func (l *Listener[In, Out]) free(g *login) {
	if !g.freed {
		g.freed = true
		l.open--
	}
}

// freed is called when a link has ended, or a login has failed.
func (l *Listener[In, Out]) freed(g *login) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free(g)
}

// forget is called when the hooks of a login have returned, and it has been
// accepted if there is a link.
func (l *Listener[In, Out]) forget(g *login) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.givenUp {
		l.leaving--
		return
	}
	for i, other := range l.logins {
		if other == g {
			l.logins = append(l.logins[:i], l.logins[i+1:]...)
			return
		}
	}
}
