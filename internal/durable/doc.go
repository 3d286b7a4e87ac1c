// Package durable is a channel of messages between two processes that outlives
// the connections that carry it: none is lost, repeated or overtaken when a
// connection breaks, or when another takes its place.
//
// Each end numbers its messages from 1 on, and keeps them until the other end
// says that it has consumed them. When a carrier breaks, the ends get another
// and make each other an [Offer]: who they are and how far they have come. Then
// each sends again what the other has not got, and drops what it has.
//
//	Send ─> │ consumed │ under way │ waiting │      carrier      ─> Deliver
//	        └ dropped  └ acked     └ sent    └ last ─────────────>  taken
//
// Both ends have an [Epoch], drawn when they are made. One that meets an other
// end of another epoch than before knows that it has started anew, and reports
// the messages that were under way: nobody can tell what has become of them.
//
// On a carrier, frames of four bytes and a body follow each other:
//
//	0       3      4
//	+-------+------+-----------+
//	| len   | type | body      |
//	+-------+------+-----------+
//
//	1 data      a message
//	2 urgent    a message whose consumption is to be told at once
//	3 close     the last message: why the channel ends
//	4 start     8: the number of the message that follows next; those that it
//	            leaves out have come on an earlier carrier
//	5 ack       8: the number of the last message that was consumed
//	6 ping      0
//	7 pong      0
//	8 attach    8: the channel moves here; how many carriers it has had
//
// The end that decides which carrier to use (of the two, that with the lower node
// ID) sends attach first. Both then send start, before messages; and again when
// the other end turns out to have got some of them before.
//
// The ideas are old: sequence numbers, cumulative acknowledgement and a window
// are those of TCP (RFC 9293); sessions that are resumed by counting go back to
// Zandy and Miller, "Reliable network connections" (MobiCom 2002).
package durable
