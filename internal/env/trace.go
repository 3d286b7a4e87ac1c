package env

// A Tracer is an environment that is told of callbacks. That of a simulator is.
type Tracer interface{ Call(c Call) }

// A Call is a callback of a behaviour or handler that is about to run.
type Call struct {
	Service  uint16
	Callback string
	Conn     uint64   // 0: of no connection
	Node     [32]byte // whom it is about: the sender, the peer; zero: nobody
	Kind     uint32   // of a message
	Size     int      // of its payload
}
