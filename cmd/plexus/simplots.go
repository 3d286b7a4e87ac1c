package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/plexus-net/plexus/internal/svgplot"
	"github.com/plexus-net/plexus/testnet"
)

// plots writes the plots of a run into a directory and returns the names of the
// files.
func (m *meter) plots(dir string) (files []string, err error) {
	for _, f := range []struct {
		name string
		plot svgplot.Plot
	}{
		{"connections.svg", m.plotConnections()},
		{"convergence.svg", m.plotConvergence()},
		{"messages.svg", m.plotMessages()},
		{"hops.svg", m.plotHops()},
		{"latency.svg", m.plotLatency()},
		{"events.svg", m.plotEvents()},
	} {
		if err := writePlot(filepath.Join(dir, f.name), &f.plot); err != nil {
			return files, err
		}
		files = append(files, f.name)
	}
	return files, nil
}

func writePlot(path string, p *svgplot.Plot) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := p.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// title names the run in the title of a plot.
func (m *meter) title(what string) string {
	return fmt.Sprintf("%s: %s, %d nodes, seed %d", what, m.scenario.name, m.opts.nodes, m.opts.seed)
}

// clock returns the unit of virtual time for plots, and its name.
func (m *meter) clock() (time.Duration, string) {
	switch end := m.samples[len(m.samples)-1].at; {
	case end > 3*time.Hour:
		return time.Hour, "virtual time, h"
	case end > 3*time.Minute:
		return time.Minute, "virtual time, min"
	}
	return time.Second, "virtual time, s"
}

// over draws something of each sample over time.
func (m *meter) over(name string, value func(p *simSample) float64) svgplot.Line {
	unit, _ := m.clock()
	l := svgplot.Line{Name: name}
	for _, p := range m.samples {
		l.Points = append(l.Points, svgplot.Point{X: float64(p.at) / float64(unit), Y: value(p)})
	}
	return l
}

// rate draws how fast something that is counted grows, in a second.
func (m *meter) rate(name string, count func(p *simSample) float64) svgplot.Line {
	unit, _ := m.clock()
	l := svgplot.Line{Name: name}
	for i, p := range m.samples {
		if i == 0 || i == len(m.samples)-1 { // the last one is out of turn
			continue
		}
		before := m.samples[i-1]
		if d := (p.at - before.at).Seconds(); d > 0 {
			l.Points = append(l.Points, svgplot.Point{X: float64(p.at+before.at) / 2 / float64(unit), Y: (count(p) - count(before)) / d})
		}
	}
	return l
}

func (m *meter) plotConnections() svgplot.Plot {
	_, x := m.clock()
	return svgplot.Plot{Title: m.title("Connections"), X: x, Y: "connections of a node", Lines: []svgplot.Line{
		m.over("average", func(p *simSample) float64 { return float64(p.conns) / float64(max(1, p.up)) }),
		m.over("nine of ten nodes have at most", func(p *simSample) float64 { return float64(p.high) }),
		m.over("nine of ten nodes have at least", func(p *simSample) float64 { return float64(p.low) }),
	}}
}

func (m *meter) plotConvergence() svgplot.Plot {
	_, x := m.clock()
	p := svgplot.Plot{Title: m.title("Convergence"), X: x, Y: "% of nodes", Top: 100}
	p.Lines = append(p.Lines, m.over("up", func(p *simSample) float64 { return 100 * float64(p.up) / float64(m.opts.nodes) }))
	if m.scenario.wired {
		p.Lines = append(p.Lines, m.over("of connections, made", func(p *simSample) float64 { return 50 * float64(p.conns) / float64(max(1, m.edges)) }))
		return p
	}
	p.Lines = append(p.Lines,
		m.over("of those up, known to a node", func(p *simSample) float64 {
			if p.asked == 0 {
				return math.NaN()
			}
			known, _ := p.knowledge()
			return 100 * known
		}),
		m.over("with the same map", func(p *simSample) float64 { return 100 * float64(p.maps) / float64(max(1, p.up)) }),
		m.over("of those known, down", func(p *simSample) float64 {
			_, stale := p.knowledge()
			return 100 * stale
		}))
	return p
}

func (m *meter) plotMessages() svgplot.Plot {
	_, x := m.clock()
	nodes := float64(m.opts.nodes)
	return svgplot.Plot{Title: m.title("Messages"), X: x, Y: "messages per second and node", LogY: true, Lines: []svgplot.Line{
		m.rate("delivered", func(p *simSample) float64 { return float64(p.messages) / nodes }),
		m.rate("forwarded", func(p *simSample) float64 { return float64(p.forwarded) / nodes }),
		m.rate("calls answered", func(p *simSample) float64 { return float64(p.answers) / nodes }),
	}}
}

func (m *meter) plotHops() svgplot.Plot {
	p := svgplot.Plot{Title: m.title("Hops of calls"), X: "connections crossed on the way to the server", Y: "% of calls"}
	for i, n := range m.hops.counts {
		p.Bars = append(p.Bars, svgplot.Bar{Name: fmt.Sprint(i), Value: 100 * float64(n) / float64(m.hops.n)})
	}
	return p
}

func (m *meter) plotLatency() svgplot.Plot {
	p := svgplot.Plot{Title: m.title("Round trips of calls"), X: "virtual time from call to answer, ms", Y: "% of calls at most that long", Top: 100, LogX: true}
	l := svgplot.Line{}
	var seen uint64
	for i, n := range m.roundTrips.counts {
		if seen += n; n > 0 {
			l.Points = append(l.Points, svgplot.Point{X: inMS(m.roundTrips.value(i)), Y: 100 * float64(seen) / float64(m.roundTrips.n)})
		}
	}
	p.Lines = append(p.Lines, l)
	return p
}

func (m *meter) plotEvents() svgplot.Plot {
	_, x := m.clock()
	p := svgplot.Plot{Title: m.title("Events"), X: x, Y: "events per second of virtual time", LogY: true}
	for _, l := range []struct {
		name  string
		kinds []testnet.EventKind
	}{
		{"callbacks", []testnet.EventKind{testnet.EventCall}},
		{"deliveries", []testnet.EventKind{testnet.EventDeliver, testnet.EventDatagram, testnet.EventLost}},
		{"timers", []testnet.EventKind{testnet.EventTimer}},
		{"dials, and ends of connections", []testnet.EventKind{testnet.EventDial, testnet.EventAccept, testnet.EventEnd}},
		{"faults", []testnet.EventKind{testnet.EventFault}},
	} {
		line := m.rate(l.name, func(s *simSample) (n float64) {
			for _, k := range l.kinds {
				n += float64(s.kinds[k])
			}
			return n
		})
		if slices.ContainsFunc(line.Points, func(q svgplot.Point) bool { return q.Y > 0 }) {
			p.Lines = append(p.Lines, line)
		}
	}
	return p
}
