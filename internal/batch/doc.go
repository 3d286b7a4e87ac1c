// Package batch is how plexus moves many small frames over a stream of bytes
// with few system calls: [Writer] gathers what several goroutines send and
// writes it as soon as the stream is free, [Reader] takes what has arrived and
// lets frames be parsed where they lie.
//
//	Append ─┐                          ┌─ completions, in order
//	Append ─┼─> buffer ─swap─> buffer ─┼─ one Write for all of it
//	Append ─┘   (mutex)      (writing) └─ next swap
//
// Nothing waits for a batch to fill: the first frame that finds the stream
// idle starts the goroutine that writes, which gives way once
// (runtime.Gosched), so that who is about to send joins in, and then writes
// what is there. While it writes, the next batch gathers. With nothing left to
// write it ends: an idle stream costs neither a goroutine nor a buffer.
//
// Two calls write by themselves where nobody else does: WriteFunc, which may wait
// for the stream, and AnswerFunc, which writes what the stream takes at once and
// leaves the rest to the goroutine.
//
// Both types hold their buffers only while there is something in them; in
// between these belong to pools that all streams of the process share.
package batch
