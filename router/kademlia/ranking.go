package kademlia

import "slices"

// A ranking is a set of nodes of the directory, the nearest to self first. It
// never changes. It is cut into runs, so that a changed copy shares all of them
// but one: a directory of n nodes is learned in about n²/maxRun steps, not n².
type ranking struct {
	runs [][]*known // none of them empty
	n    int
}

// maxRun is the length of a run that is cut in two.
const maxRun = 128

// place returns the run that a node is in or belongs into, where in it, and
// whether it is there.
func (r *ranking) place(n *known) (run, at int, found bool) {
	run, _ = slices.BinarySearchFunc(r.runs, n, func(run []*known, n *known) int { return run[len(run)-1].away.compare(&n.away) })
	if run == len(r.runs) {
		if run == 0 {
			return 0, 0, false
		}
		run--
	}
	at, found = slices.BinarySearchFunc(r.runs[run], n, func(a, b *known) int { return a.away.compare(&b.away) })
	return run, at, found
}

// with returns the ranking with a node in it.
func (r ranking) with(n *known) ranking {
	run, at, found := r.place(n)
	switch {
	case found:
		return r
	case r.n == 0:
		return ranking{[][]*known{{n}}, 1}
	}
	longer := inserted(r.runs[run], at, n)
	if len(longer) < maxRun {
		r.runs = slices.Clone(r.runs)
		r.runs[run] = longer
	} else {
		half := len(longer) / 2
		r.runs = inserted(r.runs, run, longer[:half:half])
		r.runs[run+1] = longer[half:]
	}
	r.n++
	return r
}

// without returns the ranking with a node not in it.
func (r ranking) without(n *known) ranking {
	run, at, found := r.place(n)
	if !found {
		return r
	}
	if len(r.runs[run]) == 1 {
		r.runs = deleted(r.runs, run)
	} else {
		r.runs = slices.Clone(r.runs)
		r.runs[run] = deleted(r.runs[run], at)
	}
	r.n--
	return r
}

// at returns the node of a rank below n.
func (r *ranking) at(rank int) *known {
	for _, run := range r.runs {
		if rank < len(run) {
			return run[rank]
		}
		rank -= len(run)
	}
	return nil
}
