package discovery

import (
	"cmp"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// notNeeded is the cause of closing a connection that neither end needs.
const notNeeded = "discovery: link not needed"

// A link is what this node knows of one of its connections.
//
//	          both ends idle, this one has more links
//	needed <--> idle ----------------> dropping --- peer agrees --> closed
//	  ^                                   |
//	  +-------- either end needs it ------+
type link struct {
	info   conn.Info
	key    identity.Key
	bucket int

	peer     linkReport // what the other end last said
	told     linkReport // what it was last told
	needs    bool       // this node needs it
	dropping bool       // this node has proposed to close it
	agreed   bool       // this node has agreed to that
	leaving  time.Time  // since when it is dropping or agreed
	barred   bool       // it is being closed: nothing of it is of interest

	queue    []fingerprint // to ask the other end for
	asked    []fingerprint // what it was asked for
	deadline time.Time     // of its answer
	synced   time.Time     // when everything was last announced to it
	replied  time.Time     // when it was last answered with that
	resync   bool          // an announcement to it was lost
}

// going reports whether the link is about to be closed, so that it no longer
// counts.
func (l *link) going() bool { return l.dropping || l.agreed || l.barred }

func (l *link) stay() { l.dropping, l.agreed, l.leaving = false, false, time.Time{} }

func (l *link) takeAsked() []fingerprint {
	fps := l.asked
	l.asked = nil
	return fps
}

// linkOf finds an open connection, or nil.
func (d *Discovery) linkOf(id identity.ConnID) *link {
	i, found := slices.BinarySearchFunc(d.links, id, func(l *link, id identity.ConnID) int { return cmp.Compare(l.info.ID, id) })
	if !found {
		return nil
	}
	return d.links[i]
}

// linked reports whether there is a connection to a node.
func (d *Discovery) linked(id identity.NodeID) bool { return d.peers[id] > 0 }

// degree counts the links that are to stay.
func (d *Discovery) degree() int {
	n := 0
	for _, l := range d.links {
		if !l.going() {
			n++
		}
	}
	return n
}

// judge decides which links this node needs: the best one of each bucket, so
// that it can forward to every node, and others up to the target.
func (d *Discovery) judge() {
	best := make(map[int]*link)
	spare := make([]*link, 0, len(d.links))
	for _, l := range d.links {
		if l.needs = false; l.barred {
			continue
		}
		if b := best[l.bucket]; b == nil || d.better(l, b) {
			best[l.bucket] = l
		}
	}
	for _, l := range d.links {
		switch {
		case best[l.bucket] == l:
			l.needs = true
		case !l.going():
			spare = append(spare, l)
		}
	}
	// Of the rest, those stay that the peer needs anyway, then the nearest.
	slices.SortStableFunc(spare, func(a, b *link) int {
		switch {
		case d.better(a, b):
			return -1
		case d.better(b, a):
			return 1
		}
		return 0
	})
	excess := max(d.degree()-d.config.Target, 0)
	for _, l := range spare[:max(len(spare)-excess, 0)] {
		l.needs = true
	}
}

// better orders the links of this node: those that stay, then those that the
// peer needs, then those to peers that are not crowded, then the nearest.
func (d *Discovery) better(a, b *link) bool {
	if a.going() != b.going() {
		return b.going()
	}
	if an, bn := a.peer.state == linkNeeded, b.peer.state == linkNeeded; an != bn {
		return an
	}
	if ac, bc := d.crowded(a), d.crowded(b); ac != bc {
		return bc
	}
	if a.key != b.key {
		return d.key.Closer(a.key, b.key)
	}
	return a.info.ID < b.info.ID
}

// crowded reports whether the peer would rather lose the link, since it has many
// more than this node.
func (d *Discovery) crowded(l *link) bool {
	return l.peer.state != linkNeeded && int(l.peer.count) > 3*max(d.config.Target, len(d.links))/2+2
}

// trim tells neighbours which links this node needs, and closes those that
// neither end does.
//
// Closing takes three messages. The end with more links, having heard that the
// other one is idle, proposes it and no longer counts on the link; the other
// end agrees and does not count on it either; then the first closes it. So
// neither loses a link that it has come to need since it last spoke.
func (d *Discovery) trim(a *agent.Behavior, now time.Time) {
	for _, l := range d.links {
		if !l.leaving.IsZero() && now.Sub(l.leaving) >= leaveTimeout {
			l.stay()
		}
	}
	d.judge()
	count := d.degree()
	for _, l := range d.links {
		if l.needs {
			l.stay()
			continue
		}
		if l.going() || l.peer.state != linkIdle || l.told.state != linkIdle || now.Sub(l.info.Opened) < d.config.TrimAge {
			continue
		}
		more := count - int(l.peer.count)
		if more > 0 || more == 0 && d.self.Compare(l.info.Node) < 0 {
			l.dropping, l.leaving = true, now
			count--
		}
	}
	for _, l := range d.links {
		d.report(a, l, false)
	}
}

// report tells the other end what this node thinks of the link, if it has
// changed or must be said again.
func (d *Discovery) report(a *agent.Behavior, l *link, again bool) {
	r := linkReport{state: linkNeeded, count: uint16(min(d.degree(), 1<<16-1))}
	switch {
	case l.barred:
		return
	case l.agreed:
		r.state = linkAgree
	case l.dropping:
		r.state = linkDrop
	case !l.needs:
		r.state = linkIdle
	}
	if (again || r != l.told) && d.send(a, l, kindLink, r.append(nil)) {
		l.told = r
	}
}

// onLink hears what the other end thinks of the link.
func (d *Discovery) onLink(a *agent.Behavior, l *link, payload []byte, now time.Time) error {
	r, err := decodeLink(payload)
	if err != nil {
		return err
	}
	l.peer = r
	switch r.state {
	case linkNeeded, linkIdle:
		if l.dropping || l.agreed {
			l.stay()
			d.report(a, l, false)
		}
	case linkDrop:
		d.judge()
		if l.needs {
			l.stay()
		} else if !l.agreed {
			l.agreed, l.leaving = true, now
		}
		d.report(a, l, true)
	case linkAgree:
		if d.judge(); l.needs || !l.dropping {
			l.stay()
			d.report(a, l, true)
			return nil
		}
		d.stats.Trimmed++
		d.close(a, l, &conn.CloseError{Code: conn.CodeClosed, Reason: notNeeded})
	}
	return nil
}

// close ends a connection.
func (d *Discovery) close(a *agent.Behavior, l *link, cause error) {
	if err := a.Close(l.info.ID, cause); err != nil {
		a.Log().Debug("discovery: connection not closed", "conn", l.info.ID, "err", err)
	}
}
