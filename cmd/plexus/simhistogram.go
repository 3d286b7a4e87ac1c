package main

import (
	"math"
	"math/bits"
)

// A histogram counts values in buckets whose width is at most 1/1024 of them,
// so that percentiles of any number of values take little memory.
type histogram struct {
	counts []uint64
	n, max uint64
	sum    float64
}

const bucketBits = 10

func (h *histogram) add(v uint64) {
	shift := max(0, bits.Len64(v)-bucketBits-1)
	i := shift<<bucketBits + int(v>>shift)
	for len(h.counts) <= i {
		h.counts = append(h.counts, 0)
	}
	h.counts[i]++
	h.n++
	h.max = max(h.max, v)
	h.sum += float64(v)
}

// value returns the middle of a bucket.
func (h *histogram) value(i int) uint64 {
	shift := max(0, i>>bucketBits-1)
	return min(h.max, uint64(i-shift<<bucketBits)<<shift+(1<<shift)/2)
}

// percentile returns the value that p percent of all values do not exceed.
func (h *histogram) percentile(p float64) uint64 {
	rank := uint64(math.Ceil(p / 100 * float64(h.n)))
	if rank >= h.n {
		return h.max
	}
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= max(rank, 1) {
			return h.value(i)
		}
	}
	return h.max
}

func (h *histogram) mean() float64 {
	if h.n == 0 {
		return 0
	}
	return h.sum / float64(h.n)
}
