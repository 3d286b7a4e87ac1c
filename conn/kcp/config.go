package kcp

import (
	"errors"
	"fmt"
	"time"

	"github.com/xtaci/kcp-go/v5"
)

// A Config tunes connections. Its zero value is what [New] uses. Ends need not
// agree but for KeepAlive, where a factor of three matters.
type Config struct {
	// Window is how many packets may be on their way to each end, 32 to
	// 32768. Default 1024. It bounds the memory of a connection, at some
	// 1.5 KiB for each.
	Window int
	// Interval is how often a connection looks for what to repeat, 10 ms to
	// 5 s. Default 10 ms.
	Interval time.Duration
	// Resend is how many packets must have overtaken another until that is
	// sent again without waiting for its time-out. Default 2; negative: it is
	// waited for.
	Resend int
	// IgnoreLoss sends as fast as Window allows, whatever gets lost: for lines
	// that lose packets without being full. It is unfair to all others on the
	// line. Default false: loss slows down.
	IgnoreLoss bool
	// MTU is the size of the largest packet in bytes, without the headers of
	// UDP and IP, 576 to 1500. Default 1400.
	MTU int
	// KeepAlive is after how much silence an end says that it is alive.
	// Default 15 s. A connection over which nothing came for three times as
	// long is dead.
	KeepAlive time.Duration
}

// missedAlive is how many signs of life may be missing.
const missedAlive = 3

func (c Config) withDefaults() (Config, error) {
	if c.Window == 0 {
		c.Window = 1024
	}
	if c.Interval == 0 {
		c.Interval = 10 * time.Millisecond
	}
	if c.Resend == 0 {
		c.Resend = 2
	}
	if c.MTU == 0 {
		c.MTU = 1400
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 15 * time.Second
	}
	var errs []error
	if c.Window < 32 || c.Window > 32768 {
		errs = append(errs, fmt.Errorf("Config.Window is %d packets; want 32 to 32768, or 0 for the default", c.Window))
	}
	if c.Interval < 10*time.Millisecond || c.Interval > 5*time.Second {
		errs = append(errs, fmt.Errorf("Config.Interval is %v; want 10ms to 5s, or 0 for the default", c.Interval))
	}
	if c.MTU < 576 || c.MTU > 1500 {
		errs = append(errs, fmt.Errorf("Config.MTU is %d bytes; want 576 to 1500, or 0 for the default", c.MTU))
	}
	if c.KeepAlive < 0 {
		errs = append(errs, fmt.Errorf("Config.KeepAlive is %v; want more, or 0 for the default", c.KeepAlive))
	}
	return c, errors.Join(errs...)
}

// tune prepares a new session.
func (c *Config) tune(u *kcp.UDPSession) {
	var ignore int
	if c.IgnoreLoss {
		ignore = 1
	}
	u.SetNoDelay(1, int(c.Interval/time.Millisecond), max(c.Resend, 0), ignore)
	u.SetWindowSize(c.Window, c.Window)
	u.SetMtu(c.MTU)
	u.SetACKNoDelay(true)
	u.SetWriteDelay(false)
}
