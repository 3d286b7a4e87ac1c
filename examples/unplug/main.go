// Unplug sends numbered messages through a cable that is pulled all the time, and
// counts: none is lost. With -without it does the same without resumption, and
// they are.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	o := options{out: os.Stdout, in: os.Stdin}
	flag.DurationVar(&o.length, "for", 10*time.Second, "how long to send")
	flag.DurationVar(&o.every, "every", time.Second, "how often the cable is pulled; 0: when Enter is pressed")
	flag.BoolVar(&o.without, "without", false, "without resumption: connect again, and go on")
	flag.Parse()
	if err := o.check(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "unplug:", err)
		flag.Usage()
		os.Exit(2)
	}
	if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		o.inPlace = true
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C does not wait for what is under way
	if _, err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "unplug:", err)
		os.Exit(1)
	}
}

// options say how to run.
type options struct {
	length  time.Duration
	every   time.Duration
	without bool
	inPlace bool // print in place: out is a terminal
	out     io.Writer
	in      io.Reader // each line pulls the cable; nil: none
}

// check says what is wrong with the options, or that there is more than options.
func (o options) check(args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("there is no %q: it has flags alone", args[0])
	case o.length <= 0:
		return fmt.Errorf("-for is %v, want a time", o.length)
	case o.every < 0:
		return fmt.Errorf("-every is %v, want a time, or 0 to pull the cable with Enter", o.every)
	}
	return nil
}

// counts are what is counted, while it happens.
type counts struct {
	sent, received, cuts atomic.Uint64
	again                atomic.Uint64 // sent again
	dropped              atomic.Uint64 // arrived again, and not received
	lost                 atomic.Uint64 // gaps in the numbers received
	disorder             atomic.Uint64 // numbers that had to come before
	next                 uint64        // number; of who receives
}

// receive counts a message.
func (c *counts) receive(number uint64) {
	c.received.Add(1)
	switch {
	case number < c.next:
		c.disorder.Add(1)
		return
	case number > c.next:
		c.lost.Add(number - c.next)
	}
	c.next = number + 1
}

// rows are the counts, to be shown.
func (c *counts) rows() []row {
	return []row{{"sent", c.sent.Load()}, {"received", c.received.Load()}, {"cuts", c.cuts.Load()}, {"sent again", c.again.Load()},
		{"repeated and dropped", c.dropped.Load()}, {"lost", c.lost.Load()}, {"out of order", c.disorder.Load()}}
}

type row struct {
	name  string
	count uint64
}

func (c *counts) String() string {
	var texts []string
	for _, r := range c.rows() {
		texts = append(texts, fmt.Sprintf("%s %d", r.name, r.count))
	}
	return strings.Join(texts, ", ")
}

// show writes the counts, one below the other, over those written before.
func (c *counts) show(out io.Writer, cable string, again bool) {
	rows := c.rows()
	if again {
		fmt.Fprintf(out, "\x1b[%dA", len(rows)+1)
	}
	fmt.Fprintf(out, "\x1b[K  %-20s %12s\n", "cable", cable)
	for _, r := range rows {
		fmt.Fprintf(out, "\x1b[K  %-20s %12d\n", r.name, r.count)
	}
}

const (
	rate = 20000 // messages a second
	size = 256   // bytes of each
)

// run sends for a time, while the cable is pulled, and says what has happened.
func run(ctx context.Context, o options) (*counts, error) {
	c := &counts{}
	talk := durable
	if o.without {
		talk = plain
	}
	sending, stop := context.WithTimeout(ctx, o.length)
	defer stop()
	fmt.Fprintf(o.out, "%d messages of %d bytes a second, for %v, through a cable that is pulled. resumption: %t\n", rate, size, o.length, !o.without)
	began, show := time.Now(), make(chan struct{})
	var shown chan struct{}
	err := talk(sending, c, func(cable *cable) {
		shown = make(chan struct{})
		go func() {
			defer close(shown)
			watch(sending, o, c, cable, show)
		}()
	})
	close(show)
	if shown != nil {
		<-shown
	}
	if err != nil {
		return c, err
	}
	if missing := int64(c.sent.Load()) - int64(c.next); missing > 0 {
		c.lost.Add(uint64(missing)) // at the end
	}
	fmt.Fprintf(o.out, "in %.1f s: %v\n", time.Since(began).Seconds(), c)
	if !o.without {
		return c, c.verify()
	}
	return c, nil
}

// verify says what resumption does not allow.
func (c *counts) verify() error {
	lost, disorder, sent, received := c.lost.Load(), c.disorder.Load(), c.sent.Load(), c.received.Load()
	if lost > 0 || disorder > 0 || received < sent {
		return fmt.Errorf("%d of %d messages are received, %d are lost and %d out of order: with resumption none may be", received, sent, lost, disorder)
	}
	return nil
}

// watch pulls the cable and prints the counts, until over is closed.
func watch(sending context.Context, o options, c *counts, cable *cable, over <-chan struct{}) {
	step, pull := time.Second, (<-chan time.Time)(nil)
	if o.inPlace {
		step = 100 * time.Millisecond
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	enter := make(chan struct{}, 1)
	switch {
	case o.every > 0:
		t := time.NewTicker(o.every)
		defer t.Stop()
		pull = t.C
	case o.in != nil:
		go func() {
			for in := bufio.NewScanner(o.in); in.Scan(); {
				enter <- struct{}{}
			}
		}()
	}
	how := "whole"
	cut := func() {
		if sending.Err() == nil {
			how = cable.pull()
			c.cuts.Add(1)
		}
	}
	for shown := false; ; {
		select {
		case <-over:
			return
		case <-pull:
			cut()
		case <-enter:
			cut()
		case <-tick.C:
			if o.inPlace {
				c.show(o.out, how, shown)
				shown = true
			} else {
				fmt.Fprintf(o.out, "%v; cable %s\n", c, how)
			}
		}
	}
}

// pace calls send with one number after the other, at the rate, until ctx ends.
func pace(ctx context.Context, send func(number uint64) error) error {
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for number := uint64(0); ; {
		for due := uint64(time.Since(began).Seconds() * rate); number < due; number++ {
			if ctx.Err() != nil {
				return nil
			}
			if err := send(number); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
