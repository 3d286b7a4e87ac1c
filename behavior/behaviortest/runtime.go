package behaviortest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// start is OnStart. false: the behaviour does not want to run.
func (d *driver) start() bool {
	for _, w := range d.watch {
		d.call("PartStart", true, func() { w.PartStart(d.rec.Behavior()) })
	}
	var err error
	if d.hooks.start != nil {
		d.call("OnStart", true, func() { err = d.hooks.start.OnStart(d.rec.Behavior()) })
	}
	if err != nil && d.refuse == nil {
		d.found.add(ruleStart, "OnStart failed: %v", err)
	}
	d.settle()
	return err == nil && !d.broken
}

// connect admits and opens a connection, nil if it is not admitted.
func (d *driver) connect(info conn.Info) *link {
	info.Service = conn.Service{ID: 70, Name: d.info.Name, Version: d.info.Version}
	var err error
	if d.hooks.admit != nil {
		peer := conn.Peer{Node: info.Node, Direction: info.Direction, Remote: info.Remote, Services: []conn.Service{info.Service}}
		d.call("Admit", true, func() { err = d.hooks.admit.Admit(d.rec.Behavior(), peer) })
	}
	readOnly := errors.Is(err, conn.ErrReadOnly)
	if d.broken || err != nil && !readOnly {
		return nil
	}
	l := &link{info: d.rec.Connect(info)}
	if readOnly {
		d.rec.SetStats(l.info.ID, conn.Stats{ReadOnly: true})
	}
	l.agent = d.rec.Handler(l.info.ID)
	if d.hooks.connect != nil {
		d.call("OnConnect", true, func() { l.handler = d.hooks.connect.OnConnect(d.rec.Behavior(), l.info) })
	}
	d.mu.Lock()
	d.links = append(d.links, l)
	d.mu.Unlock()
	if l.handler == nil {
		d.settle()
		return l
	}
	if err := behavior.CheckHandler(l.handler); err != nil {
		d.found.add(ruleCheck, "the handler that OnConnect returned: %v", err)
		d.broken = true
		return l
	}
	if h, ok := l.handler.(behavior.Opener); ok {
		d.call("handler's OnOpen", false, func() { h.OnOpen(l.agent) })
	}
	d.settle()
	return l
}

// disconnect ends a connection, as a node does: OnClose, what it told, and
// OnDisconnect.
func (d *driver) disconnect(l *link, cause error) {
	d.settle()
	d.mu.Lock()
	d.links = slices.DeleteFunc(d.links, func(x *link) bool { return x == l })
	d.mu.Unlock()
	d.rec.Disconnect(l.info.ID, cause)
	d.wait()
	if h, ok := l.handler.(behavior.Closer); ok {
		d.call("handler's OnClose", false, func() { h.OnClose(l.agent, cause) })
	}
	d.settle()
	d.disconnected(l.info, cause)
	d.settle()
}

// disconnected is OnDisconnect, and PartDisconnect, which is not on the turn.
func (d *driver) disconnected(info conn.Info, cause error) {
	for _, w := range d.watch {
		d.call("PartDisconnect", false, func() { w.PartDisconnect(d.rec.Behavior(), info, cause) })
	}
	if d.hooks.disconnect != nil {
		d.call("OnDisconnect", true, func() { d.hooks.disconnect.OnDisconnect(d.rec.Behavior(), info, cause) })
	}
}

// message delivers a message: to the handler of its connection if it came
// directly, else to the parts and, if none takes it, to the behaviour.
func (d *driver) message(m conn.Message, direct bool) {
	m.Payload = bytes.Clone(m.Payload)
	what := fmt.Sprintf("(kind %d, %d bytes: %.40q)", m.Kind, len(m.Payload), m.Payload)
	defer d.settle()
	defer overwrite(&m)
	if l := d.link(m.Conn); direct && l != nil && l.handler != nil {
		d.call("handler's OnMessage"+what, false, func() { l.handler.OnMessage(l.agent, &m) })
		return
	}
	taken := false
	for _, p := range d.parts {
		d.call("Take"+what, false, func() { taken = p.Take(d.rec.Behavior(), &m) })
		if taken || d.broken {
			return
		}
	}
	queued := m // the runtime copies what it queues
	queued.Payload = bytes.Clone(m.Payload)
	defer overwrite(&queued)
	d.call("OnMessage"+what, true, func() { d.b.OnMessage(d.rec.Behavior(), &queued) })
}

// tick is OnTick of the behaviour and of its handlers.
func (d *driver) tick() {
	if d.info.Tick <= 0 {
		return
	}
	d.advance(d.info.Tick)
	now := d.rec.Behavior().Now()
	if d.hooks.tick != nil {
		d.call("OnTick", true, func() { d.hooks.tick.OnTick(d.rec.Behavior(), now) })
	}
	for _, l := range slices.Clone(d.links) {
		if h, ok := l.handler.(behavior.HandlerTicker); ok {
			d.call("handler's OnTick", false, func() { h.OnTick(l.agent, now) })
		}
	}
	d.settle()
}

// dialError is OnDialError.
func (d *driver) dialError(dial conn.Dial, err error) {
	if d.hooks.dialError != nil {
		d.call("OnDialError", true, func() { d.hooks.dialError.OnDialError(d.rec.Behavior(), dial, err) })
		d.settle()
	}
}

// report is PartReport for a message of a reserved kind, else OnReport.
func (d *driver) report(r agent.Report) {
	defer d.settle()
	if r.Kind >= conn.KindReserved {
		for _, w := range d.watch {
			d.call("PartReport", false, func() { w.PartReport(d.rec.Behavior(), r) })
		}
		return
	}
	if d.hooks.report != nil {
		d.call("OnReport", true, func() { d.hooks.report.OnReport(d.rec.Behavior(), r) })
	}
}

// stop is OnStop, after which connections still close.
func (d *driver) stop() {
	if d.hooks.stop != nil {
		d.call("OnStop", true, func() { d.hooks.stop.OnStop(d.rec.Behavior()) })
	}
	for _, w := range d.watch {
		d.call("PartStop", true, func() { w.PartStop(d.rec.Behavior()) })
	}
	d.settle()
	for len(d.links) > 0 {
		d.disconnect(d.links[len(d.links)-1], errStop)
	}
}

// errStop is why connections close when a node stops.
var errStop = &conn.CloseError{Code: conn.CodeShutdown}

// idle is how long end lets the bubble's time pass, without the agents'.
const idle = 10 * time.Minute

// end ends the contexts of all agents, and looks for what goes on nevertheless.
func (d *driver) end() {
	if !d.broken && !d.fast {
		d.enter("nothing")
		time.Sleep(idle)
		synctest.Wait()
		if calls := d.rec.TakeCalls(); len(calls) > 0 {
			d.found.add(ruleTime, "asked for by a timer of package time, while the agent's clock stood still: %s", calls[0])
		}
	}
	d.rec.Stop(agent.ErrStopped)
	synctest.Wait()
	if left := leftovers(); len(left) > 0 && !d.broken {
		d.found.add(ruleGoroutines, "%d goroutines run on after the agent's context has ended; one of them:\n%s", len(left), left[0])
		time.Sleep(forever) // some may only sleep
	}
}

// checkSend looks for overwritten messages in what is sent.
func (d *driver) checkSend(c agenttest.Call) {
	o := c.Message
	if bytes.Contains(o.Payload, mark) || bytes.Contains(o.To.Target[:], mark) || o.Kind == markKind ||
		o.To.Rule == router.RuleConn && o.To.Conn == markConn {
		d.found.add(ruleRetain, "%s used an earlier message after its callback: %s", d.running(), c)
	}
}

// checkEvent looks for overwritten messages in an event.
func (d *driver) checkEvent(name string, ev any) {
	var p []byte
	switch v := ev.(type) {
	case []byte:
		p = v
	case *conn.Message:
		p = v.From[:]
	case conn.Message:
		p = v.Payload
	}
	if bytes.Contains(p, mark) {
		d.found.add(ruleRetain, "%s carries a message after its callback", name)
	}
}
