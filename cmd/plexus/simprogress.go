package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A progress tells how far a simulation is: a bar on a terminal, else a line
// for each tenth.
type progress struct {
	w      io.Writer // nil: nobody wants to know
	tty    bool
	opts   simOptions
	began  time.Time
	shown  time.Time
	events uint64
	tenths int
}

const (
	redraw    = 200 * time.Millisecond // of the bar
	lineEvery = 2 * time.Second        // at least
)

func newProgress(o simOptions, w io.Writer) *progress {
	p := &progress{w: w, opts: o, began: time.Now(), shown: time.Now()}
	if o.quiet {
		p.w = nil
	}
	f, ok := w.(*os.File)
	p.tty = ok && term.IsTerminal(int(f.Fd()))
	if p.w != nil && p.tty {
		p.draw(fmt.Sprintf("starting %d nodes", o.nodes))
	}
	return p
}

// show is called often, and seldom does anything.
func (p *progress) show(at time.Duration, events uint64, up func() int) {
	if p.w == nil {
		return
	}
	now := time.Now() //simvet:ignore who watches the bar does so in real time
	done := min(1, float64(at)/float64(p.opts.length))
	if tenths := int(done * 10); !p.tty && tenths > p.tenths && now.Sub(p.shown) >= lineEvery {
		p.tenths, p.shown = tenths, now
		fmt.Fprintf(p.w, "%3d %%  %v of virtual time after %.1f s, %d nodes up, %s events\n",
			tenths*10, at.Round(time.Second), now.Sub(p.began).Seconds(), up(), short(float64(events)))
	}
	if !p.tty || now.Sub(p.shown) < redraw {
		return
	}
	rate := float64(events-p.events) / now.Sub(p.shown).Seconds()
	p.shown, p.events = now, events
	const cells = 24
	bar := strings.Repeat("█", int(done*cells)) + strings.Repeat("░", cells-int(done*cells))
	left := ""
	if done > 0.02 {
		d := time.Duration(float64(now.Sub(p.began)) * (1 - done) / done)
		left = fmt.Sprintf(", about %v to go", d.Round(time.Second))
	}
	p.draw(fmt.Sprintf("%s %3.0f %%  %v of %v, %d of %d nodes up, %s events/s%s", bar, 100*done,
		at.Round(time.Second), p.opts.length, up(), p.opts.nodes, short(rate), left))
}

// draw replaces the line on the terminal.
func (p *progress) draw(line string) {
	width, _, err := term.GetSize(int(p.w.(*os.File).Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	if r := []rune(line); len(r) >= width {
		line = string(r[:width-1])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
}

// end removes the bar.
func (p *progress) end() {
	if p.w != nil && p.tty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
