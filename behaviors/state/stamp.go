package state

import (
	"fmt"
	"time"
)

// A Stamp is a hybrid logical clock reading (Kulkarni et al., 2014): 48 bits of
// milliseconds since 1970, then 16 bits of a counter. Stamps order the writes
// of a key: what was written by a node that had seen another write is always
// stamped later than that write.
type Stamp uint64

// maxStamp is the latest stamp that can be written.
const maxStamp = ^Stamp(0)

// stampOf returns the first stamp of the millisecond that t is in.
func stampOf(t time.Time) Stamp {
	ms := t.UnixMilli()
	return Stamp(min(max(ms, 0), 1<<48-1)) << 16
}

// Time returns the physical part of the stamp.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> 16)) }

// String returns the time and the counter, such as
// 2026-11-21T04:55:28.123Z+7.
func (s Stamp) String() string {
	return fmt.Sprintf("%s+%d", s.Time().UTC().Format("2006-01-02T15:04:05.000Z"), uint16(s))
}

// A clock is a hybrid logical clock. Its owner locks.
type clock struct {
	last    Stamp
	maxSkew time.Duration
}

// next returns a stamp later than every stamp returned or observed before.
//
// There is one exception: where the clock of this node has been set back by
// more than maxSkew, the reading starts again from there, or a clock that once
// was a year ahead would stamp a year ahead until the node restarts. Writes of
// one key keep their order even then: see [store.stampFor].
func (c *clock) next(now time.Time) Stamp {
	n := stampOf(now)
	if c.last < n || c.ahead(c.last, now) {
		c.last = n
	} else {
		c.last++
	}
	return c.last
}

// observe makes later stamps of this clock come after s, unless s is too far
// ahead of now to be believed.
func (c *clock) observe(s Stamp, now time.Time) {
	if s > c.last && !c.ahead(s, now) {
		c.last = s
	}
}

// ahead reports whether s is more than maxSkew in the future.
func (c *clock) ahead(s Stamp, now time.Time) bool { return s>>16 > stampOf(now.Add(c.maxSkew))>>16 }
