package secure

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// The plain handshake: three messages of fixed sizes.
//
//	client                                               server
//	  opening: magic, client's ID and nonce ───────────────>
//	  <─────────── opening: magic, server's ID and nonce
//	  <─────────── the server's signature of both openings
//	  the client's signature of both openings ─────────────>
//
// Each signature covers the role of its signer, so that it cannot be sent back
// to where it came from, and both fresh nonces, so that it cannot be used
// again.
const (
	plainMagic  = "plexpl1\n"
	nonceSize   = 32
	openingSize = len(plainMagic) + identity.NodeIDSize + nonceSize
	proofSize   = ed25519.SignatureSize

	serverProof = "plexus plain handshake 1: server\x00"
	clientProof = "plexus plain handshake 1: client\x00"
)

// An opening is what each side says first.
type opening struct {
	node  identity.NodeID
	nonce [nonceSize]byte
}

func newOpening(key identity.PrivateKey) (opening, error) {
	if key.IsZero() {
		return opening{}, errNoKey
	}
	o := opening{node: key.ID()}
	_, err := rand.Read(o.nonce[:])
	return o, err
}

func (o *opening) append(dst []byte) []byte {
	dst = append(dst, plainMagic...)
	dst = append(dst, o.node[:]...)
	return append(dst, o.nonce[:]...)
}

func parseOpening(p []byte) (o opening, err error) {
	if len(p) != openingSize || string(p[:len(plainMagic)]) != plainMagic {
		return opening{}, errors.New("secure: the other end does not speak the plain handshake; does it expect TLS?")
	}
	p = p[len(plainMagic):]
	copy(o.node[:], p)
	copy(o.nonce[:], p[identity.NodeIDSize:])
	return o, nil
}

// proven returns what the signer of a role signs.
func proven(role string, client, server *opening) []byte {
	p := make([]byte, 0, len(role)+2*openingSize)
	p = append(p, role...)
	p = client.append(p)
	return server.append(p)
}

// PlainClient is [Client] without TLS, for networks whose every machine and
// wire is trusted: both ends prove their IDs, and from then on bytes go as they
// are, readable to all who see them and with nothing that tells of a change. A
// recorded handshake is of no use to anybody. But whoever can stand in the
// middle of the wire may pass a handshake on, and then say what they like.
func PlainClient(ctx context.Context, nc net.Conn, local conn.Local, expect identity.NodeID, localAddr, remoteAddr identity.Address) (conn.Conn, error) {
	return startPlain(ctx, nc, local, localAddr, remoteAddr, func() (identity.NodeID, error) {
		return plainClient(nc, local.Key, expect)
	})
}

// PlainServer is [PlainClient] for the side that was dialled: any node may come.
func PlainServer(ctx context.Context, nc net.Conn, local conn.Local, localAddr, remoteAddr identity.Address) (conn.Conn, error) {
	return startPlain(ctx, nc, local, localAddr, remoteAddr, func() (identity.NodeID, error) {
		return plainServer(nc, local.Key)
	})
}

func startPlain(ctx context.Context, nc net.Conn, local conn.Local, localAddr, remoteAddr identity.Address,
	shake func() (identity.NodeID, error),
) (conn.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, local.WithDefaults().HandshakeTimeout)
	defer cancel()
	c := &plain{nc: nc, base: base{local: localAddr, remote: remoteAddr}}
	err := bounded(ctx, nc, func() (err error) {
		c.node, err = shake()
		return err
	})
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("secure: plain handshake: %w", err)
	}
	return c, nil
}

// bounded runs f, whose reads and writes of nc fail once ctx has ended; the
// error is then its cause.
func bounded(ctx context.Context, nc net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) // fails only if nc is closed
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

func plainClient(nc net.Conn, key identity.PrivateKey, expect identity.NodeID) (identity.NodeID, error) {
	mine, err := newOpening(key)
	if err != nil {
		return identity.NodeID{}, err
	}
	if _, err := nc.Write(mine.append(nil)); err != nil {
		return identity.NodeID{}, err
	}
	var answer [openingSize + proofSize]byte
	theirs, err := readOpening(nc, answer[:])
	if err != nil {
		return identity.NodeID{}, err
	}
	if !theirs.node.Verify(proven(serverProof, &mine, &theirs), answer[openingSize:]) {
		return identity.NodeID{}, ErrIdentity
	}
	if !expect.IsZero() && theirs.node != expect {
		return identity.NodeID{}, &conn.WrongNodeError{Want: expect, Got: theirs.node}
	}
	_, err = nc.Write(key.Sign(proven(clientProof, &mine, &theirs)))
	return theirs.node, err
}

func plainServer(nc net.Conn, key identity.PrivateKey) (identity.NodeID, error) {
	mine, err := newOpening(key)
	if err != nil {
		return identity.NodeID{}, err
	}
	var first [openingSize]byte
	theirs, err := readOpening(nc, first[:])
	if err != nil {
		return identity.NodeID{}, err
	}
	proof := key.Sign(proven(serverProof, &theirs, &mine))
	if _, err := nc.Write(append(mine.append(nil), proof...)); err != nil {
		return identity.NodeID{}, err
	}
	var answer [proofSize]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return identity.NodeID{}, err
	}
	if !theirs.node.Verify(proven(clientProof, &theirs, &mine), answer[:]) {
		return identity.NodeID{}, ErrIdentity
	}
	return theirs.node, nil
}

// readOpening fills p, which begins with an opening. It gives up at the first
// bytes that are none: who speaks another protocol may send no more.
func readOpening(nc net.Conn, p []byte) (opening, error) {
	n, err := io.ReadFull(nc, p[:len(plainMagic)])
	if err == nil && string(p[:n]) == plainMagic {
		_, err = io.ReadFull(nc, p[n:])
	}
	if err != nil {
		return opening{}, err
	}
	return parseOpening(p[:openingSize])
}

// A plain is a conn.Conn whose bytes go as they are.
type plain struct {
	base
	nc net.Conn
}

var _ syscall.Conn = (*plain)(nil)

// Read reads from the socket.
func (c *plain) Read(p []byte) (int, error) {
	n, err := c.nc.Read(p)
	c.received.Add(uint64(n))
	if err != nil {
		return n, c.why(err)
	}
	return n, nil
}

// Write writes to the socket. After a missed deadline, what was not written may
// be written again.
func (c *plain) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, c.why(nil)
	}
	n, err := c.nc.Write(p)
	c.sent.Add(uint64(n))
	if err != nil {
		return n, c.why(err)
	}
	return n, nil
}

// Close closes the socket. The system goes on to send what was written.
func (c *plain) Close(cause error) error {
	c.close.Do(func() {
		c.end(c.nc, cause)
		c.nc.Close()
	})
	return nil
}

// SetReadDeadline bounds reads; reading may go on after a missed one.
func (c *plain) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline bounds writes; writing may go on after a missed one.
func (c *plain) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// Stats asks the kernel for round-trip times, on Linux.
func (c *plain) Stats() conn.TransportStats { return c.stats(c.nc) }

// SyscallConn gives access to the socket itself, for example to poll it. What
// is read or written through it is missing in Stats.
func (c *plain) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.nc.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
