package svgplot

import (
	"fmt"
	"math"
)

// An axis is the range of numbers along an edge of a plot.
type axis struct {
	min, max float64
	log      bool
}

func newAxis(log bool) axis { return axis{math.Inf(1), math.Inf(-1), log} }

// take has the axis reach a value.
func (a *axis) take(v float64) { a.min, a.max = min(a.min, v), max(a.max, v) }

// settle makes a range that something can be drawn in, whatever was taken.
func (a *axis) settle() {
	switch {
	case a.log && (a.max < a.min || a.max <= 0):
		a.min, a.max = 1, 10
	case a.log && a.max < a.min*1.5:
		a.min, a.max = a.min/2, a.max*2
	case a.max < a.min || a.min == 0 && a.max <= 0:
		a.min, a.max = 0, 1
	case a.max == a.min:
		a.min, a.max = a.min-0.5, a.max+0.5
	}
}

// place returns where a value is, from 0 to 1.
func (a *axis) place(v float64) float64 {
	lo, hi := a.min, a.max
	if a.log {
		v, lo, hi = math.Log10(max(v, a.min)), math.Log10(lo), math.Log10(hi)
	}
	return min(1, max(0, (v-lo)/(hi-lo)))
}

// ticks returns the numbers to write at the axis, about most of them.
func (a *axis) ticks(most float64) (ticks []float64) {
	if !a.log {
		step := niceStep((a.max - a.min) / most)
		for i := math.Ceil(a.min/step - 1e-9); i*step <= a.max+step*1e-9; i++ {
			ticks = append(ticks, i*step+0) // +0: no negative zero
		}
		return ticks
	}
	decades := math.Log10(a.max / a.min)
	parts, every := []float64{1, 2, 5}, 1.0
	switch {
	case decades < 1.2:
		parts = []float64{1, 1.5, 2, 3, 4, 5, 7}
	case decades > most/2:
		parts, every = parts[:1], math.Ceil(decades/most)
	}
	for e := math.Floor(math.Log10(a.min)); e <= math.Log10(a.max); e += every {
		for _, m := range parts {
			if v := m * math.Pow(10, e); v >= a.min*(1-1e-9) && v <= a.max*(1+1e-9) {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}

// niceStep returns the number from 1, 2, 5, 10, 20, 50, ... that is not below v.
func niceStep(v float64) float64 {
	e := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*e*(1+1e-9) {
			return m * e
		}
	}
	return 10 * e
}

// number writes a number shortly.
func number(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.4gG", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
