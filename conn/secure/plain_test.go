package secure

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// plainPair shakes hands over x and y.
func plainPair(x, y net.Conn, client, server identity.PrivateKey, expect identity.NodeID) (a, b conn.Conn, clientErr, serverErr error) {
	var work sync.WaitGroup
	work.Go(func() {
		b, serverErr = PlainServer(context.Background(), y, conn.Local{Key: server}, identity.Address{}, identity.Address{})
	})
	a, clientErr = PlainClient(context.Background(), x, conn.Local{Key: client}, expect, identity.Address{}, identity.Address{})
	work.Wait()
	return a, b, clientErr, serverErr
}

func TestPlainHandshakeProvesBothIDs(t *testing.T) {
	x, y := net.Pipe()
	client, server := newKey(t), newKey(t)
	a, b, clientErr, serverErr := plainPair(x, y, client, server, server.ID())
	if err := errors.Join(clientErr, serverErr); err != nil {
		t.Fatal(err)
	}
	defer a.Close(nil)
	defer b.Close(nil)
	if a.Node() != server.ID() || b.Node() != client.ID() {
		t.Errorf("the ends take each other for %s and %s", a.Node(), b.Node())
	}
	go func() { _, _ = a.Write([]byte("as it is")) }() // the read below checks it
	p := make([]byte, 8)
	if _, err := io.ReadFull(b, p); err != nil || string(p) != "as it is" {
		t.Errorf("read %q, %v", p, err)
	}
}

func TestPlainWrongNode(t *testing.T) {
	x, y := net.Pipe()
	server, want := newKey(t), newKey(t).ID()
	_, _, clientErr, serverErr := plainPair(x, y, newKey(t), server, want)
	var wrong *conn.WrongNodeError
	if !errors.As(clientErr, &wrong) || wrong.Want != want || wrong.Got != server.ID() {
		t.Errorf("the client's error is %v, want a *WrongNodeError with both IDs", clientErr)
	}
	if serverErr == nil {
		t.Error("the server has a connection with a client that hung up")
	}
}

// recorded keeps what is written.
type recorded struct {
	net.Conn
	mu  sync.Mutex // guards out
	out bytes.Buffer
}

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.out.Write(p)
	r.mu.Unlock()
	return r.Conn.Write(p)
}

// What was said in one handshake is of no use in another, at either end.
func TestPlainReplayIsRefused(t *testing.T) {
	x, y := net.Pipe()
	client, server := newKey(t), newKey(t)
	fromClient, fromServer := &recorded{Conn: x}, &recorded{Conn: y}
	a, b, clientErr, serverErr := plainPair(fromClient, fromServer, client, server, server.ID())
	if err := errors.Join(clientErr, serverErr); err != nil {
		t.Fatal(err)
	}
	a.Close(nil)
	b.Close(nil)
	if c, err := PlainServer(t.Context(), replay(fromClient.out.Bytes()), conn.Local{Key: server}, identity.Address{}, identity.Address{}); !errors.Is(err, ErrIdentity) {
		t.Errorf("a server takes a client's words of an older handshake for %v, %v; want ErrIdentity", c, err)
	}
	if c, err := PlainClient(t.Context(), replay(fromServer.out.Bytes()), conn.Local{Key: client}, server.ID(), identity.Address{}, identity.Address{}); !errors.Is(err, ErrIdentity) {
		t.Errorf("a client takes a server's words of an older handshake for %v, %v; want ErrIdentity", c, err)
	}
}

// A signature of one role is none of the other: what a node says as a client
// cannot be sent back to it as a server's words.
func TestPlainReflectionIsRefused(t *testing.T) {
	key := newKey(t)
	mine, theirs := opening{node: key.ID(), nonce: [nonceSize]byte{1}}, opening{node: key.ID(), nonce: [nonceSize]byte{2}}
	asClient := key.Sign(proven(clientProof, &mine, &theirs))
	for name, signed := range map[string][]byte{
		"the other role":    proven(serverProof, &mine, &theirs),
		"the other order":   proven(clientProof, &theirs, &mine),
		"another handshake": proven(clientProof, &mine, &opening{node: key.ID(), nonce: [nonceSize]byte{3}}),
		"another peer":      proven(clientProof, &mine, &opening{node: newKey(t).ID(), nonce: [nonceSize]byte{2}}),
	} {
		if key.ID().Verify(signed, asClient) {
			t.Errorf("a client's proof is one for %s, too", name)
		}
	}
	x, y := net.Pipe()
	go func() {
		defer y.Close()
		p := make([]byte, openingSize)
		if _, err := io.ReadFull(y, p); err == nil {
			_, _ = y.Write(append(p, make([]byte, proofSize)...)) // its own words, and no proof
		}
	}()
	if _, err := PlainClient(t.Context(), x, conn.Local{Key: key}, identity.NodeID{}, identity.Address{}, identity.Address{}); !errors.Is(err, ErrIdentity) {
		t.Errorf("a client that hears itself has %v, want ErrIdentity", err)
	}
}

// A node that claims another's ID, or one for which everybody can sign, is
// refused.
func TestPlainForeignIDs(t *testing.T) {
	server, victim, thief := newKey(t), newKey(t), newKey(t)
	for name, claimed := range map[string]identity.NodeID{"another's": victim.ID(), "zero": {}, "weak": {1}} {
		x, y := net.Pipe()
		go func() {
			defer x.Close()
			mine := opening{node: claimed}
			if _, err := x.Write(mine.append(nil)); err != nil {
				return
			}
			p := make([]byte, openingSize+proofSize)
			if _, err := io.ReadFull(x, p); err != nil {
				return
			}
			theirs, err := parseOpening(p[:openingSize])
			if err != nil {
				return
			}
			_, _ = x.Write(thief.Sign(proven(clientProof, &mine, &theirs)))
		}()
		if _, err := PlainServer(t.Context(), y, conn.Local{Key: server}, identity.Address{}, identity.Address{}); !errors.Is(err, ErrIdentity) {
			t.Errorf("with %s ID the server has %v, want ErrIdentity", name, err)
		}
	}
}

func TestPlainHandshakeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3 * time.Second
		for _, speak := range []string{"", plainMagic} {
			for name, shake := range map[string]func(net.Conn) error{
				"client": func(nc net.Conn) error {
					_, err := PlainClient(t.Context(), nc, conn.Local{Key: newKey(t), HandshakeTimeout: limit}, identity.NodeID{}, identity.Address{}, identity.Address{})
					return err
				},
				"server": func(nc net.Conn) error {
					_, err := PlainServer(t.Context(), nc, conn.Local{Key: newKey(t), HandshakeTimeout: limit}, identity.Address{}, identity.Address{})
					return err
				},
			} {
				x, y := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, y) }()
				go func() { _, _ = y.Write([]byte(speak)) }()
				start := time.Now()
				if err := shake(x); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v, want that it timed out", name, err)
				}
				if took := time.Since(start); took != limit {
					t.Errorf("%s: that took %v, want %v", name, took, limit)
				}
				y.Close()
			}
		}
	})
}

func TestPlainWithoutKey(t *testing.T) {
	x, y := net.Pipe()
	defer y.Close()
	if _, err := PlainClient(t.Context(), x, conn.Local{}, identity.NodeID{}, identity.Address{}, identity.Address{}); err == nil {
		t.Error("a handshake without a key succeeded")
	}
	if _, err := x.Write([]byte("x")); err == nil {
		t.Error("the connection is open after the error")
	}
}

// After the handshake a Write of any size is one write of the socket, and
// nothing is copied or allocated.
func TestPlainAddsNothing(t *testing.T) {
	x, y := net.Pipe()
	count := &counted{Conn: x}
	a, b, clientErr, serverErr := plainPair(count, y, newKey(t), newKey(t), identity.NodeID{})
	if err := errors.Join(clientErr, serverErr); err != nil {
		t.Fatal(err)
	}
	defer a.Close(nil)
	go func() { _, _ = io.Copy(io.Discard, b) }()
	defer b.Close(nil)
	p := make([]byte, 1<<20)
	count.writes = 0
	allocs := testing.AllocsPerRun(10, func() {
		if n, err := a.Write(p); n != len(p) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	})
	if count.writes != 11 || allocs != 0 {
		t.Errorf("11 Writes made %d writes of the socket and %v allocations each, want 11 and 0", count.writes, allocs)
	}
}

// replay returns a connection that says p, whatever it hears.
func replay(p []byte) net.Conn { return &said{Reader: bytes.NewReader(p)} }

type said struct {
	io.Reader
	net.Conn
}

func (s *said) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *said) Write(p []byte) (int, error) { return len(p), nil }
func (s *said) Close() error                { return nil }
func (s *said) SetDeadline(time.Time) error { return nil }

// FuzzPlainHandshake checks that nobody gets through without a key, whatever
// they say, and nothing panics.
func FuzzPlainHandshake(f *testing.F) {
	key := newKey(f)
	mine := opening{node: key.ID()}
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add(append(mine.append(nil), make([]byte, proofSize)...))
	f.Add(append(mine.append(nil), key.Sign(proven(serverProof, &mine, &mine))...))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= openingSize {
			if o, err := parseOpening(p[:openingSize]); err == nil && !bytes.Equal(o.append(nil), p[:openingSize]) {
				t.Errorf("%x was parsed to something else", p[:openingSize])
			}
		}
		local := conn.Local{Key: key}
		if _, err := PlainServer(t.Context(), replay(p), local, identity.Address{}, identity.Address{}); err == nil {
			t.Error("a server took a client that proved nothing")
		}
		if _, err := PlainClient(t.Context(), replay(p), local, identity.NodeID{}, identity.Address{}, identity.Address{}); err == nil {
			t.Error("a client took a server that proved nothing")
		}
	})
}
