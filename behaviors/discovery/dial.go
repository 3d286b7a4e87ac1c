package discovery

import (
	"errors"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/identity"
)

// A dialState is what this node remembers of its dials of another.
type dialState struct {
	fails int
	next  time.Time // not before this
	avoid time.Time // not before this, unless there is no other in its bucket
	since time.Time // of the dial under way; zero: none
}

// Bounds of back-off and of joining.
const (
	maxDoublings   = 16
	replaceFirst   = 2 * time.Second // between replacements in one bucket, doubling
	replaceLongest = 10 * time.Minute
	coverPatience  = 2 * time.Second // a dial that takes longer does not keep others from being tried
	maxHeal        = 10 * time.Minute
)

// dialOf returns the state for a node.
func (d *Discovery) dialOf(id identity.NodeID) *dialState {
	s := d.dials[id]
	if s == nil {
		s = &dialState{}
		d.dials[id] = s
	}
	return s
}

// failed notes that a dial ended without a connection, or with a short one.
func (d *Discovery) failed(a *agent.Behavior, id identity.NodeID, now time.Time) {
	s := d.dialOf(id)
	delay := d.config.Backoff << min(s.fails, maxDoublings)
	if delay > d.config.MaxBackoff || delay <= 0 {
		delay = d.config.MaxBackoff
	}
	s.fails++
	s.since, s.next = time.Time{}, now.Add(d.jitter(a, delay))
}

// jitter draws from the upper half of a duration.
func (d *Discovery) jitter(a *agent.Behavior, of time.Duration) time.Duration {
	return of/2 + time.Duration(a.Rand().Int64N(int64(of/2)+1))
}

// addresses returns where a node may be dialled: where its record says and, for
// seeds, where the configuration does.
func (d *Discovery) addresses(id identity.NodeID) []identity.Address {
	var out []identity.Address
	if n := d.store.nodes[id]; n != nil {
		out = slices.Clone(n.addresses)
	}
	for _, seed := range d.config.Seeds {
		if seed.ID != id {
			continue
		}
		for _, addr := range seed.Addresses {
			if !slices.Contains(out, addr) {
				out = append(out, addr)
			}
		}
	}
	return out[:min(len(out), maxAddresses)]
}

// seed reports whether a node is one of the seeds.
func (d *Discovery) seed(id identity.NodeID) bool {
	return slices.ContainsFunc(d.config.Seeds, func(p identity.PeerAddress) bool { return p.ID == id })
}

// dialling counts the dials under way.
func (d *Discovery) dialling() int { return len(d.underway) }

// dial connects to a node, if that is not under way and its time has come.
func (d *Discovery) dial(a *agent.Behavior, id identity.NodeID, now time.Time) bool {
	s := d.dialOf(id)
	if id == d.self || d.linked(id) || !s.since.IsZero() || now.Before(s.next) || d.dialling() >= d.config.MaxDials {
		return false
	}
	to := d.addresses(id)
	if len(to) == 0 {
		return false
	}
	switch err := a.Dial(identity.PeerAddress{ID: id, Addresses: to}); {
	case err == nil:
		s.since = now
		d.underway = append(d.underway, id)
		d.stats.Dials++
		return true
	case errors.Is(err, agent.ErrConnected):
		s.next = now.Add(d.config.MaxBackoff) // it lacks this service, or OnConnect is on its way
	default:
		d.failed(a, id, now)
	}
	return false
}

// dialled forgets that a dial is under way.
func (d *Discovery) dialled(id identity.NodeID) {
	if s := d.dials[id]; s != nil {
		s.since = time.Time{}
	}
	if i := slices.Index(d.underway, id); i >= 0 {
		d.underway = slices.Delete(d.underway, i, i+1)
	}
}

// seek dials whom this node needs.
func (d *Discovery) seek(a *agent.Behavior, now time.Time) {
	for _, id := range slices.Clone(d.underway) {
		if now.Sub(d.dials[id].since) >= dialPatience {
			d.dialled(id)
			d.failed(a, id, now)
		}
	}
	if len(d.links) == 0 {
		d.join(a, now)
		return
	}
	if len(d.links)+d.dialling() < d.config.Max {
		d.fill(a, now)
	}
	d.heal(a, now)
}

// join finds a way back from having no connection: through the seeds first, then
// through any node that was ever heard of, nearest first.
func (d *Discovery) join(a *agent.Behavior, now time.Time) {
	for _, seed := range d.config.Seeds {
		d.dial(a, seed.ID, now)
	}
	if len(d.store.nodes) == 0 || d.dialling() >= d.config.MaxDials {
		return
	}
	nodes := d.store.sorted(func(n *node) bool { return !n.left })
	slices.SortFunc(nodes, func(x, y *node) int {
		switch {
		case x.dead != y.dead && y.dead:
			return -1
		case x.dead != y.dead:
			return 1
		case d.key.Closer(x.key, y.key):
			return -1
		}
		return 1
	})
	for _, n := range nodes {
		d.dial(a, n.id, now)
	}
}

// fill dials into empty buckets, into those whose only link is to a crowded
// node, and up to the target, in this order.
func (d *Discovery) fill(a *agent.Behavior, now time.Time) {
	var count [identity.KeyBits + 1]int
	var best [identity.KeyBits + 1]*link
	total := 0
	for _, l := range d.links {
		if l.going() {
			continue
		}
		total++
		count[l.bucket]++
		if b := best[l.bucket]; b == nil || d.better(l, b) {
			best[l.bucket] = l
		}
	}
	for _, id := range d.underway {
		if now.Sub(d.dials[id].since) < coverPatience {
			total++
			count[d.key.CommonPrefix(id.Key())]++
		}
	}
	if !d.lacking(&count, &best, total, now) {
		return
	}
	picks := d.candidates(now)
	for i, n := range picks {
		if n != nil && count[i] == 0 && d.store.buckets[i] > 0 && d.dial(a, n.id, now) {
			count[i]++
			total++
			picks[i] = nil
		}
	}
	for i, n := range picks {
		if n != nil && d.replaceable(best[i], count[i], now) && !d.avoided(n, now) && d.dial(a, n.id, now) {
			d.replaced(i, now)
			picks[i] = nil
		}
	}
	for total < d.config.Target && d.extra(a, &picks, &count, now) {
		total++
	}
}

// lacking reports whether there is anything to dial for, so that a node that
// has what it needs does not search.
func (d *Discovery) lacking(count *[identity.KeyBits + 1]int, best *[identity.KeyBits + 1]*link, total int, now time.Time) bool {
	if total < d.config.Target {
		return true
	}
	for i, known := range d.store.buckets {
		if known > 0 && (count[i] == 0 || known > 1 && d.replaceable(best[i], count[i], now)) {
			return true
		}
	}
	return false
}

// candidates returns, for each bucket, whom to dial there: the nearest of those
// that may be dialled, and those that were trimmed lately only if there is no
// other.
func (d *Discovery) candidates(now time.Time) (picks [identity.KeyBits + 1]*node) {
	for id, n := range d.store.nodes {
		if n.dead || len(n.addresses) == 0 || d.linked(id) {
			continue
		}
		if s := d.dials[id]; s != nil && (!s.since.IsZero() || now.Before(s.next)) {
			continue
		}
		old := picks[n.bucket]
		if old != nil {
			if na, oa := d.avoided(n, now), d.avoided(old, now); na != oa && na || na == oa && !d.key.Closer(n.key, old.key) {
				continue
			}
		}
		picks[n.bucket] = n
	}
	return picks
}

// avoided reports whether the link to a node was trimmed lately.
func (d *Discovery) avoided(n *node, now time.Time) bool {
	s := d.dials[n.id]
	return s != nil && now.Before(s.avoid)
}

// replaceable reports whether the only link of a bucket is to a crowded node
// and it is time to find another.
func (d *Discovery) replaceable(l *link, count int, now time.Time) bool {
	return l != nil && count == 1 && d.crowded(l) && now.Sub(l.info.Opened) >= d.config.TrimAge && !now.Before(d.replace[l.bucket].next)
}

// A replacement keeps a bucket from trying one node after another.
type replacement struct {
	next  time.Time
	delay time.Duration
}

func (d *Discovery) replaced(bucket int, now time.Time) {
	r := d.replace[bucket]
	if now.Sub(r.next) > replaceLongest {
		r.delay = 0
	}
	r.delay = min(max(2*r.delay, replaceFirst), replaceLongest)
	r.next = now.Add(r.delay)
	d.replace[bucket] = r
}

// extra dials one node more, in the bucket with the fewest links.
func (d *Discovery) extra(a *agent.Behavior, picks *[identity.KeyBits + 1]*node, count *[identity.KeyBits + 1]int, now time.Time) bool {
	i := -1
	for j, n := range picks {
		if n != nil && !d.avoided(n, now) && (i < 0 || count[j] < count[i]) {
			i = j
		}
	}
	if i < 0 || !d.dial(a, picks[i].id, now) {
		return false
	}
	count[i]++
	picks[i] = nil
	return true
}

// heal dials, rarely, a seed or forgotten node that is not known to be alive. If
// the network was split, that is how the halves find each other.
func (d *Discovery) heal(a *agent.Behavior, now time.Time) {
	wait := float64(d.config.Heal) * float64(d.store.live+1) * d.healDraw
	if now.Sub(d.healed) < time.Duration(min(wait, float64(maxHeal))) {
		return
	}
	d.healed, d.healDraw = now, a.Rand().ExpFloat64() // so that all nodes together have a steady rate
	var lost []identity.NodeID
	for _, seed := range d.config.Seeds {
		if n := d.store.nodes[seed.ID]; seed.ID != d.self && (n == nil || n.dead) && !d.linked(seed.ID) {
			lost = append(lost, seed.ID)
		}
	}
	if len(lost) == 0 || a.Rand().IntN(2) == 0 {
		for _, n := range d.store.sorted(func(n *node) bool { return n.dead && !n.left && len(n.addresses) > 0 }) {
			lost = append(lost, n.id)
		}
	}
	if len(lost) > 0 {
		d.dial(a, lost[a.Rand().IntN(len(lost))], now)
	}
}
