// Package rpc calls functions of behaviours on other nodes.
//
// A [Method] is the contract, shared by both sides. A behaviour serves it by
// embedding or holding a [Server]:
//
//	var Sum = rpc.NewMethod[SumRequest, SumReply]("sum")
//
//	type Calc struct{ rpc.Server }
//
//	calc := &Calc{}
//	Sum.Handle(&calc.Server, func(ctx context.Context, r SumRequest) (SumReply, error) {
//		return SumReply{r.A + r.B}, nil
//	})
//	err := node.Register(70, calc)
//
// Whoever has a [Client], which is in each Server, calls it:
//
//	reply, err := Sum.Call(ctx, client, router.ToService(70), SumRequest{2, 3})
//
// Calls go to any route, and to this node by the same rule as to others.
//
// # What is guaranteed
//
// Every call ends exactly once: with the answer, or with an [*Error] that says
// why, at the latest at its deadline. A request is sent once and never
// repeated, so that a function is called at most once.
//
// An answer counts only if it comes from the node, or over the connection, that
// was asked. Calls to a key or to a service may be answered by any node that
// knows their ID, which is as good as random and known only to the nodes that
// carried the request.
//
// Answers to a neighbour go back over its connection. Others find their own way,
// and may find none, above all while a network forms. Where that is seen at once,
// or a node on the way reports it, the answer is sent again, after 100 ms
// at first and then each second, until the deadline of the call or for a minute.
// For that 4096 of these answers, and 4 MiB, are kept for two seconds each;
// those beyond are sent once. It is not seen if the report is lost, too: then
// the call ends at its deadline.
//
// Calls fail at once where nobody knows the way, nobody serves the service or
// method, a limit is reached, or the behaviour at either end stops; and calls
// to a connection, or to the node at its other end, when that connection ends.
//
// # Serving
//
// A function runs in a goroutine and may block, unless [Options] say otherwise.
// Its context ends with the call. What comes in beyond the limits of the
// [Server] is refused, not queued.
//
// Where it is called:
//
//	reader --> Take: header --> a worker: decode, function, encode --> answer
//	                   \------> or inline, or on the behaviour's turn
//	reader --> Take: answer --> the goroutine in Call: decode
//
// Deadlines travel as time left. A cancelled call tells the server so; over a
// route to a key or service, which may lead elsewhere a second time, that may
// be in vain, and the function ends at the deadline.
package rpc
