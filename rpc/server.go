package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// Defaults of the limits of [Server].
const (
	defaultServing = 1024
	defaultPerPeer = 256
)

// A Server serves calls for the behaviour that embeds or holds it, and makes
// calls, with the Client that is in it. The zero Server is ready; a behaviour
// that embeds one needs nothing else:
//
//	type Calc struct{ rpc.Server }
//
//	calc := &Calc{}
//	Sum.Handle(&calc.Server, sum)
//	err := node.Register(70, calc)
//
// A function is called for each call that is within the limits; others are
// answered with Overloaded at once, so that nothing queues up. Every call that
// reaches a function is answered when the function returns, panics or ends its
// goroutine.
type Server struct {
	Client

	// MaxServing bounds the calls that are served in goroutines at the same
	// time. Set it before the behaviour starts. Default 1024.
	MaxServing int
	// MaxPerPeer bounds how many of them are calls of one node. Set it before
	// the behaviour starts. Default 256.
	MaxPerPeer int

	registering sync.Mutex // held by those who change methods
	methods     atomic.Pointer[map[string]*method]

	mu      sync.Mutex // guards what follows; never held while calling out
	crew    *crew      // nil: not running
	number  uint64     // of the last call that was admitted
	serving map[callKey]*serving
	peers   map[identity.NodeID]int // calls served, by caller
	waiting int                     // answers that wait until their caller takes them
}

// A method is a function that serves calls.
type method struct {
	name    string
	options Options
	serve   func(s *serving, dst []byte) ([]byte, error) // appends the answer
	running int                                          // guarded by Server.mu
}

// callKey names a call among all callers.
type callKey struct {
	node    identity.NodeID
	service identity.ServiceID
	id      uint64
}

// Options says how a method is served. The zero Options serve each call in a
// goroutine, where the function may block.
type Options struct {
	// Inline calls the function on the goroutine that the call arrives on,
	// which is the fastest way: it must not block, nor take long, since
	// everything that arrives on the same connection waits for it. No limits
	// apply.
	Inline bool
	// OnTurn calls the function on the behaviour's turn, between its
	// callbacks: it needs no locks, and must not block.
	OnTurn bool
	// MaxCalls bounds the calls of the method that are served at the same
	// time. Default: no bound but those of the Server.
	MaxCalls int
}

// HandleRaw registers the function that serves a method by name, with payloads
// as they are. req is valid until the function returns; the answer, which may be
// req, is copied. What is said of [Method.Handle] holds.
func (s *Server) HandleRaw(name string, o Options, f func(ctx context.Context, req []byte) ([]byte, error)) {
	if o.OnTurn {
		turned := onTurn(f)
		f = func(ctx context.Context, req []byte) ([]byte, error) {
			// It may run after the call has ended, and the buffer has another use.
			return turned(ctx, append([]byte(nil), req...))
		}
	}
	s.register(name, o, func(v *serving, dst []byte) ([]byte, error) {
		res, err := f(v, v.body)
		return append(dst, res...), err
	})
}

// register adds a method. Errors are errors in the program.
func (s *Server) register(name string, o Options, serve func(*serving, []byte) ([]byte, error)) {
	checkName(name)
	if o.Inline && (o.OnTurn || o.MaxCalls != 0) {
		panic(fmt.Sprintf("rpc: method %q: Inline goes with neither OnTurn nor MaxCalls", name))
	}
	s.registering.Lock()
	defer s.registering.Unlock()
	all := make(map[string]*method)
	if old := s.methods.Load(); old != nil {
		maps.Copy(all, *old)
	}
	if all[name] != nil {
		panic(fmt.Sprintf("rpc: method %q is registered twice", name))
	}
	all[name] = &method{name: name, options: o, serve: serve}
	s.methods.Store(&all)
}

// checkName panics where a name is no name for a method: that is an error in the
// program.
func checkName(name string) {
	if len(name) == 0 || len(name) > maxName {
		panic(fmt.Sprintf("rpc: method name %q has %d bytes; want 1 to %d", name, len(name), maxName))
	}
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	st := s.Client.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Serving = len(s.serving)
	return st
}

// Take takes the messages that belong to calls. It runs on the goroutine that
// they arrive on.
func (s *Server) Take(a *agent.Behavior, m *conn.Message) bool {
	switch m.Kind {
	case kindRequest:
		s.request(a, m)
	case kindCancel:
		s.cancel(m)
	default:
		return s.Client.Take(a, m)
	}
	return true
}

// request serves a call, or refuses it.
func (s *Server) request(a *agent.Behavior, m *conn.Message) {
	id, header, body, ok := parseID(m.Payload)
	if !ok {
		s.counts.malformed.Add(1)
		return
	}
	h := s.on(a)
	o := h.origin(m, id)
	left, name, ok := parseRequest(header)
	if !ok {
		s.counts.malformed.Add(1)
		s.fail(h, &o, Decode, "the header of the request is malformed")
		return
	}
	if left != 0 { // else it has the default already
		o.deadline = o.deadline.Add(left - defaultTimeout)
	}
	var mt *method
	if all := s.methods.Load(); all != nil {
		mt = (*all)[string(name)]
	}
	if mt == nil {
		s.counts.unknown.Add(1)
		s.fail(h, &o, NoMethod, "")
		return
	}
	v := &serving{origin: o, host: h, method: mt}
	if mt.options.Inline {
		v.body = body
		s.run(v)
		return
	}
	crew, w, code, text := s.admit(v)
	switch {
	case code != 0:
		s.counts.refused.Add(1)
		s.fail(h, &v.origin, code, text)
	case w != nil: // else it is the same call again
		v.hold(body)
		s.give(crew, w, v)
	}
}

// admit counts a call among those served and hires who is to serve it, or says
// which limit forbids that. A call that is being served already is refused
// without a code: w is nil.
func (s *Server) admit(v *serving) (c *crew, w *worker, code Code, text string) {
	key := v.key()
	all, each := s.MaxServing, s.MaxPerPeer
	if all <= 0 {
		all = defaultServing
	}
	if each <= 0 {
		each = defaultPerPeer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.crew == nil:
		return nil, nil, Stopped, ""
	case s.serving[key] != nil:
		return nil, nil, 0, ""
	case len(s.serving) >= all:
		return nil, nil, Overloaded, fmt.Sprintf("%d calls are being served; Server.MaxServing raises the limit", all)
	case s.peers[v.node] >= each:
		return nil, nil, Overloaded, fmt.Sprintf("%d calls of this node are being served; Server.MaxPerPeer raises the limit", each)
	case v.method.options.MaxCalls > 0 && v.method.running >= v.method.options.MaxCalls:
		return nil, nil, Overloaded, fmt.Sprintf("%d calls of this method are being served; Options.MaxCalls raises the limit", v.method.options.MaxCalls)
	}
	s.serving[key] = v
	s.peers[v.node]++
	v.method.running++
	s.number++
	v.number = s.number
	return s.crew, s.crew.hire(), 0, ""
}

// leave undoes admit.
func (s *Server) leave(v *serving) {
	if v.number == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.method.running--
	if s.serving[v.key()] != v {
		return // admitted before the last start
	}
	delete(s.serving, v.key())
	if s.peers[v.node]--; s.peers[v.node] <= 0 {
		delete(s.peers, v.node)
	}
}

// run calls the function and sends the answer, even where the function panics
// or ends its goroutine.
func (s *Server) run(v *serving) {
	buf := buffers.Get().(*[]byte)
	var out []byte
	err := errExited
	defer func() {
		s.finish(v, out, err)
		v.drop()
		keep(buf, out)
	}()
	out, err = v.invoke(appendAnswer((*buf)[:0], v.id, 0))
}

// finish ends a call that has been served and answers it, unless somebody else
// has ended it.
func (s *Server) finish(v *serving, out []byte, err error) {
	s.leave(v) // first, so that who gets the answer may call again
	s.counts.served.Add(1)
	answer := v.claim()
	v.end(context.Canceled)
	if !answer {
		return
	}
	if !v.host.env.Now().Before(v.deadline) {
		s.counts.lost.Add(1)
		return
	}
	if err != nil {
		code, text := failure(err)
		out = append(appendAnswer(out[:0], v.id, code), text...)
	}
	switch err := s.reply(v.host, &v.origin, out, v.host.SendMessage); {
	case errors.Is(err, agent.ErrTooLarge):
		s.fail(v.host, &v.origin, TooLarge, "the answer is too large")
	case errors.Is(err, agent.ErrQueueFull):
		s.sendLater(v, out)
	case err != nil:
		s.counts.lost.Add(1)
	}
}

// sendLater waits in a goroutine until the caller takes the answer, or has given
// up.
func (s *Server) sendLater(v *serving, out []byte) {
	s.mu.Lock()
	full := s.waiting >= max(s.MaxServing, defaultServing)
	if !full {
		s.waiting++
	}
	s.mu.Unlock()
	if full {
		s.counts.lost.Add(1)
		return
	}
	out = append([]byte(nil), out...)
	h := v.host
	h.env.Go(func() {
		ctx, cancel := env.WithTimeout(h.env, h.Context(), v.deadline.Sub(h.env.Now()))
		defer cancel()
		send := func(o agent.Outgoing) error { return h.SendMessageWait(ctx, o) }
		if s.reply(h, &v.origin, out, send) != nil {
			s.counts.lost.Add(1)
		}
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	})
}

// cancel ends a call because its caller asks for that. Nothing is answered.
func (s *Server) cancel(m *conn.Message) {
	id, _, _, ok := parseID(m.Payload)
	if !ok {
		s.counts.malformed.Add(1)
		return
	}
	s.mu.Lock()
	v := s.serving[callKey{m.From, m.FromService, id}]
	s.mu.Unlock()
	if v != nil && v.claim() {
		v.end(context.Canceled)
	}
}

// pick returns the calls being served that match, in the order of their arrival.
// The caller holds mu.
func (s *Server) pick(match func(*serving) bool) (picked []*serving) {
	for _, v := range s.serving {
		if match(v) {
			picked = append(picked, v)
		}
	}
	slices.SortFunc(picked, func(a, b *serving) int { return cmp.Compare(a.number, b.number) })
	return picked
}

// PartStart makes the server ready.
func (s *Server) PartStart(a *agent.Behavior) {
	h := newHost(a)
	s.mu.Lock()
	s.crew = &crew{env: h.env}
	s.serving = make(map[callKey]*serving)
	s.peers = make(map[identity.NodeID]int)
	s.mu.Unlock()
	s.start(h)
	s.unwatch = h.env.OnDone(a.Context(), func() { s.stop(h) })
}

// PartStop ends the contexts of all functions that run and answers their calls
// with Stopped. It does not wait until they return.
func (s *Server) PartStop(a *agent.Behavior) {
	if s.unwatch == nil {
		return // it has not started
	}
	s.unwatch()
	s.stop(s.on(a))
	s.turn.run()
}

func (s *Server) stop(h *host) {
	s.mu.Lock()
	var idle []*worker
	if s.crew != nil {
		idle = s.crew.disband()
		s.crew = nil
	}
	all := s.pick(func(*serving) bool { return true })
	s.mu.Unlock()
	dismiss(idle)
	for _, v := range all {
		if v.claim() {
			s.fail(h, &v.origin, Stopped, "")
			v.end(context.Canceled)
		}
	}
	s.Client.stop()
}

// PartDisconnect ends the calls of the node at the other end of a connection
// that has ended, as far as they came over it. Calls that were only relayed over
// it, and calls of a node to which another connection has taken its place, go
// on.
func (s *Server) PartDisconnect(a *agent.Behavior, lost conn.Info, cause error) {
	if !errors.Is(cause, conn.CodeReplaced) {
		s.mu.Lock()
		gone := s.pick(func(v *serving) bool { return v.direct && v.conn == lost.ID })
		s.mu.Unlock()
		for _, v := range gone {
			if v.claim() {
				v.end(context.Canceled)
			}
		}
	}
	s.Client.PartDisconnect(a, lost, cause)
}

// Parts returns the server itself, and with it its client.
func (s *Server) Parts() []behavior.Part { return []behavior.Part{s} }
