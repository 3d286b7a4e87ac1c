package batch

import "time"

// SetClock makes FillSpinning ask now for the time.
func (r *Reader) SetClock(now func() time.Time) { r.now = now }

// Holds reports whether a buffer is held.
func (w *Writer) Holds() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.block != nil || w.free.block != nil || w.writing
}

// Cap returns the size of the buffer, 0 for none.
func (r *Reader) Cap() int {
	if r.block == nil {
		return 0
	}
	return cap(r.block.b)
}
