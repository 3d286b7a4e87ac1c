package rpc

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
)

// A call is a call in flight.
//
//	begin --> add to the table --> send --> wait --> release
//	                 |                        ^
//	                 +-- taken out, once: ----+
//	                     by an answer, a report, the end of a connection or of
//	                     the behaviour, or by the caller who gives up
//
// Whoever takes a call out of the table, by its ID, decides how it ends. After
// that no answer can find it, so that it can be used again for another call,
// with another ID.
type call struct {
	host    *host
	number  uint64 // of all calls, in the order in which they begin
	id      uint64
	method  string
	to      router.Route
	service identity.ServiceID // the service asked
	left    time.Duration      // what the call has left when it begins
	timed   bool               // left is not watched over by the context

	// Set by who takes the call out of the table, unless the caller itself does.
	code Code // zero: answered, with in
	node identity.NodeID
	text string
	err  error
	in   []byte

	done    chan struct{}     // has a token when the call has ended; cap 1
	expired chan struct{}     // has a token when timer has fired; cap 1
	timer   env.Timer         // ends calls that wait, made when first needed
	expire  func()            // what timer does
	spoilt  bool              // timer has fired: a token may be in expired, or yet to come
	expiry  env.Timer         // ends calls of Go
	finish  func(*call)       // for calls of Go: to run on the behaviour's turn
	out     []byte            // the request
	scratch [idBlockSize]byte // for making the ID
}

func newCall(h *host) *call {
	k := &call{host: h, done: make(chan struct{}, 1), expired: make(chan struct{}, 1)}
	k.expire = func() { k.expired <- struct{}{} }
	return k
}

// wait waits for a call that somebody else has taken out of the table.
func (k *call) wait() error {
	k.host.env.Wait(k.done, nil, nil)
	return k.result()
}

// disarm stops the timer of a call that has ended.
func (k *call) disarm() { k.spoilt = !k.timer.Stop() }

// release makes a call that has ended ready for another. Two kinds are left to
// the garbage collector: those whose timer has fired, since that might end the
// other, and those of Go, whose request may still be on its way through Send.
func (k *call) release() {
	if k.finish != nil || k.spoilt {
		return
	}
	if cap(k.out) > maxKept {
		k.out = nil
	}
	if cap(k.in) > maxKept {
		k.in = nil
	}
	k.code, k.node, k.text, k.err = 0, identity.NodeID{}, "", nil
	k.host.calls.Put(k)
}

// asked reports whether a message comes from who may answer the call: the node
// or the connection asked. Calls to a key or a service may be answered by any
// node: nobody but the nodes that carried the request knows its ID.
func (k *call) asked(m *conn.Message) bool {
	if m.FromService != k.service {
		return false
	}
	switch k.to.Rule {
	case router.RuleConn:
		return m.Conn == k.to.Conn && m.Hops == 1
	case router.RuleNode:
		return m.From == k.to.Node()
	}
	return true
}

// uses reports whether the call cannot end well without a connection.
func (k *call) uses(c conn.Info, replaced bool) bool {
	switch k.to.Rule {
	case router.RuleConn:
		return k.to.Conn == c.ID
	case router.RuleNode:
		return k.to.Node() == c.Node && !replaced
	}
	return false
}

// result returns how the call ended, nil for an answer.
func (k *call) result() error {
	if k.code == 0 {
		return nil
	}
	return &Error{Code: k.code, Method: k.method, Node: k.node, Text: k.text, Err: k.err}
}

// fail returns an error of this side about the call.
func (k *call) fail(code Code, err error) error {
	return &Error{Code: code, Method: k.method, Err: err}
}

// tableShards spreads the calls in flight over locks. A power of two.
const tableShards = 16

// A table holds the calls in flight by their IDs.
type table struct {
	count  atomic.Int64
	shards [tableShards]shard
}

type shard struct {
	mu    sync.Mutex // guards what follows, and the calls in it
	calls map[uint64]*call
	open  bool
	_     [64]byte // a cache line of its own
}

func (t *table) shard(id uint64) *shard { return &t.shards[id%tableShards] }

// start opens the table.
func (t *table) start() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.open = true
		if s.calls == nil {
			s.calls = make(map[uint64]*call)
		}
		s.mu.Unlock()
	}
}

// add puts a call into the table; zero is success.
func (t *table) add(k *call, limit int) Code {
	if t.count.Add(1) > int64(limit) {
		t.count.Add(-1)
		return Overloaded
	}
	s := t.shard(k.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		t.count.Add(-1)
		return Stopped
	}
	s.calls[k.id] = k
	return 0
}

// drop takes a call out of the table on behalf of its caller. false: somebody
// else has, and done will tell.
func (t *table) drop(id uint64) bool {
	s := t.shard(id)
	s.mu.Lock()
	_, found := s.calls[id]
	delete(s.calls, id)
	s.mu.Unlock()
	if found {
		t.count.Add(-1)
	}
	return found
}

// idBlockSize is the size of a block of AES.
const idBlockSize = aes.BlockSize

// A sequence makes the IDs of calls: it counts, and encrypts the count with a
// key that it draws at its start. So no ID comes twice in 2^64 calls, and a
// node that has seen some of them cannot tell another.
type sequence struct {
	count atomic.Uint64
	block cipher.Block
}

// start draws the key, once.
func (q *sequence) start(r *rand.Rand) {
	if q.block != nil {
		return
	}
	key := binary.BigEndian.AppendUint64(nil, r.Uint64())
	block, err := aes.NewCipher(binary.BigEndian.AppendUint64(key, r.Uint64()))
	if err != nil {
		panic(err) // AES takes keys of 16 bytes
	}
	q.block = block
	q.count.Store(r.Uint64())
}

// next makes an ID, and returns with it the number that it was made from.
func (q *sequence) next(scratch *[idBlockSize]byte) (number, id uint64) {
	number = q.count.Add(1)
	return number, permute(q.block, scratch, number)
}

// permute maps 64 bits to 64 bits, one to one: a Feistel network of four rounds
// whose round function is AES (Luby and Rackoff, 1988).
func permute(b cipher.Block, scratch *[idBlockSize]byte, n uint64) uint64 {
	left, right := uint32(n>>32), uint32(n)
	for round := range uint64(4) {
		binary.BigEndian.PutUint64(scratch[:8], uint64(right)<<8|round)
		binary.BigEndian.PutUint64(scratch[8:], 0)
		b.Encrypt(scratch[:], scratch[:])
		left, right = right, left^binary.BigEndian.Uint32(scratch[:4])
	}
	return uint64(left)<<32 | uint64(right)
}
