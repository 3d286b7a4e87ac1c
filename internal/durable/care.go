package durable

import "time"

// quickTick is how often a carrier is looked at on which something is awaited.
const quickTick = 500 * time.Millisecond

// maxPatience bounds the patience with carriers that fall silent one after the
// other.
const maxPatience = 30 * time.Second

// watch looks after a carrier from now on. The caller holds mu.
func (c *Channel) watch(k *carrier, quick bool) {
	if c.tick != nil {
		c.tick.Stop()
	}
	d := c.cfg.Probe
	if quick {
		d = min(d, quickTick)
	}
	c.quick = quick
	c.tick = c.cfg.Env.AfterFunc(d, func() { c.look(k) })
}

// quicken has the carrier looked at soon: an answer is awaited from now on. The
// caller holds mu.
func (c *Channel) quicken() {
	if !c.quick && c.on != nil {
		c.on.heard = c.cfg.Env.Now().UnixNano()
		c.watch(c.on, true)
	}
}

// look is the caretaker: it probes a carrier that is silent while something is
// awaited, and gives it up when there is no answer. It tells the other end that
// this one is alive while a long message comes in.
func (c *Channel) look(k *carrier) {
	c.mu.Lock()
	if c.on != k || c.err != nil {
		c.mu.Unlock()
		return
	}
	now := c.cfg.Env.Now().UnixNano()
	reads, writes := k.reads.Load(), k.writes.Load()
	if reads != k.seen {
		if writes == k.wrote && k.partial.Load() && len(c.control) < packed {
			c.told, c.owed = c.tellable(), 0
			c.control = appendNumber(c.control, typeAck, c.told)
		}
		k.heard, k.asked = now, 0
	}
	busy := reads != k.seen || writes != k.wrote || c.out.sent > c.out.acked
	k.seen, k.wrote = reads, writes
	silent := time.Duration(now - k.heard)
	switch {
	case k.asked != 0 && time.Duration(now-k.asked) >= c.patience():
		c.mu.Unlock()
		c.lost(k, ErrSilent)
		return
	case k.asked == 0 && (busy && silent >= quickTick || silent >= c.cfg.Probe):
		k.asked = now
		c.control = appendEmpty(c.control, typePing)
		busy = true
	}
	c.watch(k, busy || k.asked != 0)
	write := c.claim()
	c.mu.Unlock()
	if write {
		c.spawn.Load().run(c.writer)
	}
}

// patience is how long an answer is waited for. It doubles with every carrier
// that fell silent since something got through: the path may be slow. The caller
// holds mu.
func (c *Channel) patience() time.Duration {
	d := c.cfg.Patience
	for i := 0; i < c.losses && d < maxPatience; i++ {
		d = min(2*d, maxPatience)
	}
	return d
}
