// Package conn holds what connections are made of: the [Transport] that makes
// them, the [Conn] that carries bytes to one proven node, and the [Message]
// and [Info] that behaviours see of them.
//
// # Using a transport alone
//
// A Conn is an authenticated, ordered, reliable stream of bytes. Transports
// are usable without anything else of plexus:
//
//	t := tcp.New()
//	defer t.Close()
//	c, err := t.Dial(ctx, conn.Local{Key: key}, peerID, addr)
//	if err != nil { ... } // a *WrongNodeError if somebody else answered
//	c.Write([]byte("hello"))
//	c.Close(nil)
//
// # Writing a transport
//
// Implement [Transport], [Listener] and [Conn] over anything that carries
// bytes in order, prove the node ID at both ends (mutual TLS 1.3 with the
// node's key does it for byte streams: package conn/secure), and run
// conntest.Run over it.
package conn
