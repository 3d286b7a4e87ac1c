// Package link carries typed messages over a stream of bytes: a TCP or Unix
// socket, a TLS connection, a [conn.Conn], net.Pipe. It needs nothing else of
// plexus.
//
//	l, err := link.Dial(ctx, "tcp", "example.org:7000", link.Config[Reply, Request]{})
//	if err != nil { ... }
//	defer l.Close()
//	err = l.Send(ctx, Request{...})
//	reply, err := l.Recv(ctx)
//
// # What a message passes
//
//	Send ─> OnSend ─> Codec ─> Framer ─> buffer ─> one Write for many ─> stream
//	Recv <─ Reply, Skip <─ OnReceive <─ Codec <─ Framer <─ buffer <─── stream
//
// A [Codec] makes bytes of a message, a [Framer] tells where they end. Both
// work in the buffers that are sent from and read into: sending allocates
// nothing, receiving what the message itself needs. Messages leave as soon as
// the stream is free, together with those that have come in the meantime.
//
// A Send that has returned has put its message into the buffer: [Link.Flush]
// and [Hooks.OnSent] tell when the operating system has it. Nothing here tells
// whether the other side has; messages may be lost when a link ends. Package
// conn/endpoint is for those that must not be.
//
// # Waiting
//
// Send and Recv wait until ctx ends, which costs nothing where ctx cannot end,
// and one registration, kept with the link, where it can. TrySend and TryRecv
// do not wait: they report true (done), false without an error (it would
// block), or an error. io.EOF is the error of a link that the other side has
// closed in order.
//
// # Hooks
//
// [Hooks] see what passes and take part: a login, numbers stamped on messages,
// scripted replies, heartbeats, a goodbye. Config.Hooks makes them anew for
// each link, so that their state is that link's; what is to outlive links, such
// as a session, is a value that the function refers to:
//
//	session := &Session{}
//	config.Hooks = func() link.Hooks[In, Out] {
//		next := 0 // of this link
//		return link.Hooks[In, Out]{
//			OnSend:  func(v *Out) { next++; v.Number = next },
//			OnLogin: func(ctx context.Context, l *link.Link[In, Out]) error { return session.Resume(ctx, l) },
//		}
//	}
//
// A panic in a hook, codec, framer or observer, or in a stream that is not a
// socket of package net, ends its link with a [*PanicError] and nothing else.
package link
