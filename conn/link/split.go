package link

import (
	"context"
	"iter"
)

// Split returns the two halves of the link, for two goroutines or two parts of
// a program that are to know no more than they need. Closing either closes the
// link, as does Close of the link itself.
func (l *Link[In, Out]) Split() (Receiver[In], Sender[Out]) {
	return Receiver[In]{l}, Sender[Out]{l}
}

// A Receiver is the half of a [Link] that receives: its methods are those of
// the link. One goroutine at a time may use it.
type Receiver[In any] struct {
	link interface {
		Recv(context.Context) (In, error)
		TryRecv() (In, bool, error)
		All(context.Context) iter.Seq2[In, error]
		Close() error
	}
}

// Recv is Link.Recv.
func (r Receiver[In]) Recv(ctx context.Context) (In, error) { return r.link.Recv(ctx) }

// TryRecv is Link.TryRecv.
func (r Receiver[In]) TryRecv() (v In, ok bool, err error) { return r.link.TryRecv() }

// All is Link.All.
func (r Receiver[In]) All(ctx context.Context) iter.Seq2[In, error] { return r.link.All(ctx) }

// Close closes the link.
func (r Receiver[In]) Close() error { return r.link.Close() }

// A Sender is the half of a [Link] that sends: its methods are those of the
// link. Any goroutines may use it.
type Sender[Out any] struct {
	link interface {
		Send(context.Context, Out) error
		TrySend(Out) (bool, error)
		Flush(context.Context) error
		Close() error
	}
}

// Send is Link.Send.
func (s Sender[Out]) Send(ctx context.Context, v Out) error { return s.link.Send(ctx, v) }

// TrySend is Link.TrySend.
func (s Sender[Out]) TrySend(v Out) (bool, error) { return s.link.TrySend(v) }

// Flush is Link.Flush.
func (s Sender[Out]) Flush(ctx context.Context) error { return s.link.Flush(ctx) }

// Close closes the link.
func (s Sender[Out]) Close() error { return s.link.Close() }
