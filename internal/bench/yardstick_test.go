package bench

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A yard is one end of the yardstick: frames of a nine-byte header and a
// payload, appended to a buffer that a flusher swaps and writes.
type yard struct {
	w  io.Writer
	r  io.Reader
	mu sync.Mutex
	// more wakes the flusher, less the senders that wait for room.
	more, less sync.Cond
	buf, spare []byte
	closed     bool
	yield      bool
}

const yardLimit = 256 << 10

func newYard(w io.Writer, r io.Reader, yield bool) *yard {
	y := &yard{w: w, r: r, yield: yield}
	y.more.L, y.less.L = &y.mu, &y.mu
	go y.flush()
	return y
}

func (y *yard) send(payload []byte) {
	y.mu.Lock()
	for len(y.buf) > yardLimit {
		y.less.Wait()
	}
	y.buf = binary.BigEndian.AppendUint32(y.buf, uint32(len(payload)))
	y.buf = append(y.buf, 1, 0, 0, 0, 0)
	y.buf = append(y.buf, payload...)
	y.more.Signal()
	y.mu.Unlock()
}

func (y *yard) flush() {
	for {
		y.mu.Lock()
		for len(y.buf) == 0 && !y.closed {
			y.more.Wait()
		}
		if y.closed {
			y.mu.Unlock()
			return
		}
		if y.yield {
			y.mu.Unlock()
			runtime.Gosched()
			y.mu.Lock()
		}
		out := y.buf
		y.buf = y.spare[:0]
		y.less.Broadcast()
		y.mu.Unlock()
		if _, err := y.w.Write(out); err != nil {
			return
		}
		y.spare = out
	}
}

func (y *yard) close() {
	y.mu.Lock()
	y.closed = true
	y.more.Signal()
	y.mu.Unlock()
}

// receive calls f with each payload until the stream ends.
func (y *yard) receive(f func([]byte)) {
	buf := make([]byte, 256<<10)
	r, w := 0, 0
	for {
		for w-r >= 9 {
			n := int(binary.BigEndian.Uint32(buf[r:]))
			if w-r < 9+n {
				break
			}
			f(buf[r+9 : r+9+n])
			r += 9 + n
		}
		if r == w {
			r, w = 0, 0
		} else if len(buf)-w < 64<<10 {
			w = copy(buf, buf[r:w])
			r = 0
		}
		n, err := y.r.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
	}
}

func newKey(b testing.TB) identity.PrivateKey {
	k, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	return k
}

// tlsPair returns two ends of a TLS connection over loopback TCP.
func tlsPair(b testing.TB) (client, server *tls.Conn) {
	b.Helper()
	ck, sk := newKey(b), newKey(b)
	cc, err := secure.Config(ck, sk.ID())
	if err != nil {
		b.Fatal(err)
	}
	sc, err := secure.Config(sk, identity.NodeID{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			server = tls.Server(c, sc)
			err = server.Handshake()
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	client = tls.Client(c, cc)
	if err := client.Handshake(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// quicPair returns two ends of a QUIC stream over loopback UDP.
func quicPair(b testing.TB) (client, server *quicgo.Stream) {
	b.Helper()
	ck, sk := newKey(b), newKey(b)
	cc, err := secure.Config(ck, sk.ID())
	if err != nil {
		b.Fatal(err)
	}
	sc, err := secure.Config(sk, identity.NodeID{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := quicgo.ListenAddr("127.0.0.1:0", sc, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	ctx := context.Background()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept(ctx)
		if err == nil {
			server, err = c.AcceptStream(ctx)
		}
		done <- err
	}()
	c, err := quicgo.DialAddr(ctx, l.Addr().String(), cc, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.CloseWithError(0, "") })
	if client, err = c.OpenStreamSync(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := client.Write([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return client, server
}

// yards returns the two ends of the yardstick over a transport.
func yards(b testing.TB, transport string, yield bool) (client, server *yard) {
	b.Helper()
	if transport == "tcp" {
		c, s := tlsPair(b)
		client, server = newYard(c, c, yield), newYard(s, s, yield)
	} else {
		c, s := quicPair(b)
		client, server = newYard(c, c, yield), newYard(s, s, yield)
	}
	b.Cleanup(client.close)
	b.Cleanup(server.close)
	return client, server
}
