// Package journal keeps in a file what durable endpoints need to live on when
// their process ends, or their machine.
//
//	store, err := journal.Open("node.journal", journal.Config{})
//	defer store.Close()
//	e, err := endpoint.New(ctx, key.ID(), peer, endpoint.Config{Journal: store.For(peer)})
//
// After that, what e.Send has taken is in the file when Send returns, until the
// peer has taken it, and the next process that does the same goes on where this
// one has ended: see [endpoint.Journal] for what that promises. A hub has
// Config.Journal for it:
//
//	h, err := hub.New(hub.Config{Journal: store.For, ...})
//
// One file holds the journals of all the peers of a node; one process at a time
// has it open. It is a database of go.etcd.io/bbolt, that is, a tree whose pages
// are never changed in place (the file is whole after any crash), with a bucket for
// each peer. What many goroutines send at the same time is written together.
//
// A file grows to the most that it has ever held, with some room, and does not
// shrink. Opening one reads through it. It should be on a local disk: that a
// network file system locks files, and writes what it is told to, is rare.
//
// For Unix and Windows; elsewhere, such as with GOOS=js, the package is empty.
package journal

//	┌ bucket "plexus/journal": "version" = 1
//	├ bucket of a peer, by its ID (32 bytes)
//	│   ├ "state"
//	│   └ bucket "messages": number (8) = message, without gaps
//	└ bucket of another peer ...
