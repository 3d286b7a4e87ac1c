// Package svgplot draws plots of lines and of bars as SVG.
//
//	p := svgplot.Plot{Title: "Connections", X: "virtual time, s", Y: "connections of a node"}
//	p.Lines = append(p.Lines, svgplot.Line{Name: "mean", Points: points})
//	_, err := p.WriteTo(file)
//
// A plot is text and paths, without scripts, fonts or a background: it takes
// the place it is given, and its colours can be read on white and on black. The
// same plot is the same bytes.
package svgplot

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// A Plot is lines over a common axis, or bars. The zero value of each field is
// its default.
type Plot struct {
	Title string
	X, Y  string // what the axes show, with the unit
	Lines []Line
	Bars  []Bar // drawn in place of lines
	// Top is where the Y axis ends. Default: above all values.
	Top float64
	// LogX and LogY make an axis logarithmic. Points left of zero or there are
	// left out, those below or there are drawn at the lower edge.
	LogX, LogY bool
}

// A Line connects its points in their order. A point that is NaN is a gap.
type Line struct {
	Name   string
	Points []Point
}

// A Point is a place in a plot.
type Point struct{ X, Y float64 }

// A Bar is a value with a name.
type Bar struct {
	Name  string
	Value float64
}

// Sizes, in the units of the drawing.
const (
	width, height        = 760, 380
	left, right          = 70, 24
	top, bottom          = 66, 52
	inWidth, inHeight    = width - left - right, height - top - bottom
	charWidth            = 6.8 // of a letter of 12, about
	gray                 = "#777"
	maxTicksX, maxTicksY = 9, 6
	barGap               = 0.25 // of the place of a bar
	headroom             = 1.04 // above the highest value
)

// colours have about the same contrast to white and to black.
var colours = []string{"#2f81d6", "#d9730d", "#2a9d5c", "#b65fd0", "#c9463d", "#8a8420", "#16919c", "#8f6a4f", "#777777"}

// WriteTo writes the drawing.
func (p *Plot) WriteTo(w io.Writer) (int64, error) {
	d := drawing{p: p}
	d.scale()
	fmt.Fprintf(&d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="system-ui, sans-serif" font-size="12" fill="%s">`+"\n",
		width, height, width, height, gray)
	fmt.Fprintf(&d, "<title>%s</title>\n", html.EscapeString(p.Title))
	d.text(left, 24, `font-size="15" font-weight="600"`, p.Title)
	d.axes()
	switch {
	case len(p.Bars) > 0:
		d.bars()
	case d.points == 0:
		d.text(left+inWidth/2, top+inHeight/2, `text-anchor="middle"`, "nothing to show")
	default:
		d.legend()
		for i, l := range p.Lines {
			d.line(l, colours[i%len(colours)])
		}
	}
	d.WriteString("</svg>\n")
	return d.Buffer.WriteTo(w)
}

// A drawing is a plot while it is written.
type drawing struct {
	bytes.Buffer
	p      *Plot
	h, v   axis
	points int
}

// usable reports whether a point is to be seen.
func (d *drawing) usable(q Point) bool {
	return !math.IsNaN(q.X+q.Y) && !math.IsInf(q.X+q.Y, 0) && (!d.p.LogX || q.X > 0)
}

// scale finds what the axes have to span.
func (d *drawing) scale() {
	d.h, d.v = newAxis(d.p.LogX), newAxis(d.p.LogY)
	for _, l := range d.p.Lines {
		for _, q := range l.Points {
			if d.usable(q) {
				d.points++
				d.h.take(q.X)
				if !d.p.LogY || q.Y > 0 {
					d.v.take(q.Y)
				}
			}
		}
	}
	for _, b := range d.p.Bars {
		d.v.take(b.Value)
	}
	if !d.p.LogY {
		d.v.min, d.v.max = 0, d.v.max*headroom
	}
	if d.p.Top > 0 {
		d.v.max = d.p.Top
	}
	if !d.p.LogX && d.h.min > 0 && d.h.min < d.h.max/4 {
		d.h.min = 0
	}
	d.h.settle()
	d.v.settle()
}

func (d *drawing) x(v float64) float64 { return left + inWidth*d.h.place(v) }
func (d *drawing) y(v float64) float64 { return top + inHeight*(1-d.v.place(v)) }

// axes draws the grid, the numbers and what they mean.
func (d *drawing) axes() {
	for _, v := range d.v.ticks(maxTicksY) {
		d.rule(left, d.y(v), left+inWidth, d.y(v))
		d.text(left-8, d.y(v)+4, `text-anchor="end"`, number(v))
	}
	if len(d.p.Bars) == 0 {
		for _, v := range d.h.ticks(maxTicksX) {
			d.rule(d.x(v), top+inHeight, d.x(v), top+inHeight+5)
			d.text(d.x(v), top+inHeight+19, `text-anchor="middle"`, number(v))
		}
	}
	d.text(left+inWidth/2, height-12, `text-anchor="middle"`, d.p.X)
	fmt.Fprintf(d, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", top+inHeight/2, html.EscapeString(d.p.Y))
}

// legend names the lines.
func (d *drawing) legend() {
	x := float64(left)
	for i, l := range d.p.Lines {
		if l.Name == "" {
			continue
		}
		fmt.Fprintf(d, `<rect x="%.1f" y="38" width="14" height="4" rx="2" fill="%s"/>`+"\n", x, colours[i%len(colours)])
		d.text(x+19, 44, "", l.Name)
		x += 19 + charWidth*float64(len([]rune(l.Name))) + 16
	}
}

func (d *drawing) line(l Line, colour string) {
	var path strings.Builder
	move := true
	for _, q := range l.Points {
		if !d.usable(q) {
			move = true
			continue
		}
		op := "L"
		if move {
			op = "M"
		}
		move = false
		fmt.Fprintf(&path, "%s%.1f %.1f", op, d.x(q.X), d.y(q.Y))
	}
	fmt.Fprintf(d, `<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"/>`+"\n", path.String(), colour)
}

func (d *drawing) bars() {
	place := float64(inWidth) / float64(len(d.p.Bars))
	every := int(math.Ceil(30 / place)) // names that do not fit are left out
	for i, b := range d.p.Bars {
		x, y := left+place*(float64(i)+barGap/2), d.y(b.Value)
		fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s: %s</title></rect>`+"\n",
			x, y, place*(1-barGap), top+inHeight-y, colours[0], html.EscapeString(b.Name), number(b.Value))
		if i%every == 0 {
			d.text(x+place*(1-barGap)/2, top+inHeight+19, `text-anchor="middle"`, b.Name)
		}
	}
}

func (d *drawing) rule(x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-opacity="0.35"/>`+"\n", x1, y1, x2, y2, gray)
}

func (d *drawing) text(x, y float64, attributes, s string) {
	if attributes != "" {
		attributes = " " + attributes
	}
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f"%s>%s</text>`+"\n", x, y, attributes, html.EscapeString(s))
}
