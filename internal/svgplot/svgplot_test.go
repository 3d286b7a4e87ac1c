package svgplot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// TestWellFormed draws plots of all sorts, the odd ones too, and reads them as XML.
func TestWellFormed(t *testing.T) {
	for name, p := range map[string]*Plot{
		"empty":     {Title: "nothing"},
		"no points": {Lines: []Line{{Name: "a"}}},
		"one point": {Lines: []Line{{"a", []Point{{3, 4}}}}},
		"lines":     {Title: `<"&'>`, X: "t & u", Y: "<s>", Lines: []Line{{"a<b", []Point{{0, 1}, {1, math.NaN()}, {2, 3e6}}}, {"c", []Point{{0, 0}}}}},
		"log":       {LogX: true, Top: 100, Lines: []Line{{"", []Point{{0, 0}, {0.5, 1}, {math.Inf(1), 1}, {5e4, 100}}}}},
		"log both":  {LogX: true, LogY: true, Lines: []Line{{"", []Point{{0, 0}, {1, -1}, {2, 3}}}}},
		"log, none": {LogX: true, LogY: true, Lines: []Line{{"", []Point{{0, 0}}}}},
		"zeros":     {Lines: []Line{{"", []Point{{0, 0}, {1, 0}}}}},
		"bars":      {Bars: []Bar{{"0", 1}, {"<1>", 22.5}, {"2", 0}}},
		"many bars": {Bars: make([]Bar, 256)},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if n, err := p.WriteTo(&b); err != nil || n == 0 {
				t.Fatalf("WriteTo: %d bytes, %v", n, err)
			}
			text := b.String()
			for _, not := range []string{"NaN", "Inf", "<script"} {
				if strings.Contains(text, not) {
					t.Errorf("the drawing has %s in it:\n%s", not, text)
				}
			}
			for d := xml.NewDecoder(&b); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Fatalf("not well-formed: %v\n%s", err, text)
				}
			}
		})
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 100: "100", 2500: "2500", 20000: "20k", 150000: "150k", 2e6: "2M", 3e9: "3G"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

// TestTicks has axes of all sorts carry a readable number of numbers.
func TestTicks(t *testing.T) {
	for _, a := range []axis{{0, 1, false}, {0, 3600, false}, {7, 9, false}, {1, 2, true}, {3, 70, true}, {1, 1e5, true}, {0.01, 1e12, true}} {
		if n := len(a.ticks(9)); n < 2 || n > 20 {
			t.Errorf("%+v has %d ticks: %v", a, n, a.ticks(9))
		}
	}
}

func TestNiceStep(t *testing.T) {
	for v, want := range map[float64]float64{0.013: 0.02, 0.2: 0.2, 1: 1, 3: 5, 6: 10, 170: 200} {
		if got := niceStep(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("niceStep(%v) = %v, want %v", v, got, want)
		}
	}
}
