package sim

// An action is what an event does.
type action interface{ act(w *World) }

// An event is an action at a moment.
type event struct {
	at  int64 // nanoseconds since the world began
	seq uint64
	do  action
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// A queue holds the events that are to come, the next one first: a heap of
// four children.
type queue struct {
	heap []event
	seq  uint64
	dead int // events whose timers have been stopped
}

func (q *queue) push(at int64, do action) {
	q.seq++
	q.heap = append(q.heap, event{at, q.seq, do})
	q.up(len(q.heap) - 1)
}

func (q *queue) pop() event {
	first := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	q.down(0)
	return first
}

func (q *queue) up(i int) {
	e := q.heap[i]
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = e
}

func (q *queue) down(i int) {
	if i >= len(q.heap) {
		return
	}
	e := q.heap[i]
	for {
		first := 4*i + 1
		if first >= len(q.heap) {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, len(q.heap)); c++ {
			if q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if !q.heap[least].before(&e) {
			break
		}
		q.heap[i] = q.heap[least]
		i = least
	}
	q.heap[i] = e
}

// bury notes that a timer in the queue has been stopped. Where most are, it
// takes them out.
func (q *queue) bury() {
	q.dead++
	if q.dead < 1024 || q.dead < len(q.heap)/2 {
		return
	}
	kept := q.heap[:0]
	for _, e := range q.heap {
		if t, ok := e.do.(*timer); !ok || !t.over {
			kept = append(kept, e)
		}
	}
	clear(q.heap[len(kept):])
	q.heap, q.dead = kept, 0
	for i := (len(kept) - 2) / 4; i >= 0; i-- {
		q.down(i)
	}
}
