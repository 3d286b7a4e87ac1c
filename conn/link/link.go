package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/internal/batch"
)

// The errors that callers branch on, beside [ErrTooLarge] and io.EOF.
var (
	// ErrClosed is the error of a link, listener or pool that this side has
	// closed. It is a net.ErrClosed.
	ErrClosed = fmt.Errorf("link: closed: %w", net.ErrClosed)
	// ErrSilent is the end of a link from which nothing came: see [Heartbeat].
	ErrSilent = errors.New("link: nothing received")
)

// A Config describes the links of a protocol. The zero value works for all
// types that package codec can encode.
type Config[In, Out any] struct {
	// Name is what observers and errors call the links. Default "link".
	Name string
	// Framer tells where messages end. Default Prefix{}.
	Framer Framer
	// Codec makes bytes of messages. Default Bytes for []byte and string, else
	// Coded, which is msgpack.
	Codec Codec[In, Out]
	// Hooks makes the hooks of each link. Default none.
	Hooks func() Hooks[In, Out]
	// Observer sees what passes. Default none: it costs an allocation or two
	// for each message, and a copy of those that are bytes.
	Observer Observer

	// MaxPending is how many bytes may wait to be written before TrySend
	// returns false and Send waits. The last message may exceed it by its own
	// size. Default 256 KiB.
	MaxPending int
	// LoginTimeout bounds OnStream and OnLogin together. Default 10 s.
	LoginTimeout time.Duration
	// WriteTimeout bounds how long the stream may take nothing; then the link
	// ends. Default none: who does not receive is waited for.
	WriteTimeout time.Duration
	// CloseTimeout bounds how long Close waits for what is still to be
	// written. Default 1 s.
	CloseTimeout time.Duration
	// BusyPoll is how long Recv looks for data again and again before it lets
	// itself be woken. It saves some microseconds and takes a processor, and
	// where there are fewer of these than goroutines that run, it makes
	// everything slower. It needs GOMAXPROCS of at least 2 and a TCP or Unix
	// socket on Unix systems; links without are refused. At most 1 s. Default
	// 0: never.
	BusyPoll time.Duration

	// RetryAfter is the pause between two attempts of Dial. Default 1 s.
	RetryAfter time.Duration
	// Retry, if not nil, takes RetryAfter's place: the pause after the n-th
	// attempt, from 1, which has failed with err.
	Retry func(n int, err error) time.Duration
	// ConnectTimeout bounds each attempt. Default 5 s.
	ConnectTimeout time.Duration

	// MaxConns is how many links of a [Listener] may be open, with those that
	// log in. Default 1024.
	MaxConns int
	// MaxLogins is how many of these may log in or wait for Accept. Default 256.
	//
	// Where one more arrives than MaxConns or MaxLogins allow, one that still
	// logs in is given up, so that stalled ones keep nobody out: the oldest of
	// the IPv4 address, or IPv6 /64, that has most of them. The new one is
	// closed at once where none logs in, and where the hooks of MaxLogins that
	// were given up have not returned yet.
	MaxLogins int
}

const maxBusyPoll = time.Second

// checked returns c with its defaults, or what is wrong with it.
func (c Config[In, Out]) checked() (Config[In, Out], error) {
	if c.Name == "" {
		c.Name = "link"
	}
	if c.Framer == nil {
		c.Framer = Prefix{}
	}
	if c.Codec == nil {
		c.Codec = usual[In, Out]()
	}
	if c.Hooks == nil {
		c.Hooks = func() Hooks[In, Out] { return Hooks[In, Out]{} }
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&c.LoginTimeout, 10 * time.Second}, {&c.CloseTimeout, time.Second}, {&c.RetryAfter, time.Second}, {&c.ConnectTimeout, 5 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	for _, n := range []struct {
		value *int
		usual int
	}{{&c.MaxConns, 1024}, {&c.MaxLogins, 256}} {
		if *n.value <= 0 {
			*n.value = n.usual
		}
	}
	for _, part := range []any{c.Framer, c.Codec} {
		if v, ok := part.(interface{ validate() error }); ok {
			if err := v.validate(); err != nil {
				return c, err
			}
		}
	}
	switch {
	case c.BusyPoll < 0 || c.BusyPoll > maxBusyPoll:
		return c, fmt.Errorf("link: Config.BusyPoll is %v, want 0 to %v", c.BusyPoll, maxBusyPoll)
	case c.BusyPoll > 0 && runtime.GOMAXPROCS(0) < 2:
		return c, errors.New("link: Config.BusyPoll needs GOMAXPROCS of at least 2: what it waits for could not run meanwhile")
	}
	return c, nil
}

// An Info describes a link.
type Info struct {
	ID            uint64 // not used twice in a process
	Name          string // Config.Name
	Local, Remote string // addresses, where the stream knows them
	Dialled       bool   // this side has dialled
}

// String returns the name, number and remote address.
func (i Info) String() string {
	if i.Remote == "" {
		return fmt.Sprintf("%s %d", i.Name, i.ID)
	}
	return fmt.Sprintf("%s %d (%s)", i.Name, i.ID, i.Remote)
}

// A Link sends messages of type Out and receives messages of type In. Any
// goroutines may send; one at a time may receive, beside them.
//
// After the other side has closed, Recv returns io.EOF, and sending works as
// long as the stream takes something. Every other error of the stream, of a
// frame or of a hook ends the link: its stream is closed, and all that waits
// fails. Close it in any case.
type Link[In, Out any] struct {
	config   Config[In, Out]
	hooks    Hooks[In, Out]
	framer   Framer
	codec    Codec[In, Out]
	observer Observer
	info     Info
	stream   Stream // guarded, if it may be the user's
	under    Stream // what it wraps; nil: not known
	writer   *batch.Writer
	lender   lender[Out] // nil: messages go through the buffer
	prefix   Prefix      // for lender
	sentFunc func(error) // nil: nobody wants to know what became of a message
	done     chan struct{}

	finished chan struct{} // closed when Close has closed
	closed   error         // what it returns then

	mu      sync.Mutex // guards what follows
	cause   error      // why it has ended; nil: it has not
	late    error      // a panic after that
	timer   *time.Timer
	onEnd   []func()
	closing bool

	beside sync.WaitGroup // what runs beside: none begins after the end but what end begins

	// Of sending, under the writer's lock.
	out      Out
	accepted ring[Out] // with a lock of its own, as those that have been sent leave

	receiver[In]
	reply    Out // of Hooks.Reply, to be sent before anything is received
	replying bool

	messagesIn, bytesIn atomic.Uint64

	waiting atomic.Bool // in Recv
	polled  atomic.Bool // by TryRecv
	beats   struct {    // of the timer's goroutine
		bytes  uint64
		waited bool
		misses int
	}
}

var lastID atomic.Uint64

// New makes a link of a stream, which it then owns, also if it fails. It
// returns when the login has succeeded, which ctx bounds. dialled tells the
// hooks on which side they are.
func New[In, Out any](ctx context.Context, s Stream, dialled bool, c Config[In, Out]) (*Link[In, Out], error) {
	c, err := c.checked()
	if err != nil {
		_ = closeStream(s, err)
		return nil, err
	}
	return open(ctx, s, dialled, c, nil)
}

// newLink makes a link of a stream that has passed OnStream, and was made of
// bare there.
func newLink[In, Out any](s, bare Stream, info Info, c Config[In, Out], hooks Hooks[In, Out], onEnd []func()) (*Link[In, Out], error) {
	l := &Link[In, Out]{config: c, hooks: hooks, framer: fastest(c.Framer), codec: c.Codec, observer: c.Observer, info: info, stream: guardedStream(s), under: beneath(s, bare), onEnd: onEnd, done: make(chan struct{}), finished: make(chan struct{})}
	l.writer = batch.New(l.stream, batch.Config{MaxBytes: c.MaxPending, WriteTimeout: c.WriteTimeout, OnError: func(err error) { l.end(fmt.Errorf("link: send: %w", err)) }})
	l.reader = batch.NewReader(l.stream)
	if c.BusyPoll > 0 && !l.reader.CanTry() {
		return nil, fmt.Errorf("link: Config.BusyPoll: %w: leave it 0 for %T", batch.ErrCannotTry, s)
	}
	if hooks.OnSent != nil || l.observer != nil {
		l.sentFunc = l.sent
	}
	if prefix, ok := c.Framer.(Prefix); ok && l.sentFunc == nil && hooks.OnSend == nil {
		l.prefix = prefix
		l.lender, _ = c.Codec.(lender[Out])
	}
	return l, nil
}

// Info describes the link.
func (l *Link[In, Out]) Info() Info { return l.info }

// Done is closed when the link has ended.
func (l *Link[In, Out]) Done() <-chan struct{} { return l.done }

// Err returns why the link has ended, nil while it has not.
func (l *Link[In, Out]) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Stats counts what a [Link] has carried. Counters only grow.
type Stats struct {
	// MessagesSent and BytesSent are what the stream has taken, with so many
	// Writes; bytes are those of whole frames.
	MessagesSent, BytesSent uint64
	Writes                  uint64
	// MessagesReceived are those that were decoded, with those that
	// Hooks.Skip has kept from Recv; BytesReceived were read from the stream.
	MessagesReceived, BytesReceived uint64
	// Polls is how often busy-polling has looked for data in vain.
	Polls uint64
}

// Stats tells what the link has carried. It may be called by anybody, also
// after the end.
func (l *Link[In, Out]) Stats() Stats {
	w := l.writer.Stats()
	return Stats{MessagesSent: w.Frames, BytesSent: w.Bytes, Writes: w.Batches,
		MessagesReceived: l.messagesIn.Load(), BytesReceived: l.bytesIn.Load(), Polls: l.reader.Polls()}
}
