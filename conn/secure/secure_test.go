package secure

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/fd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t testing.TB) identity.PrivateKey {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCertificateIsAFunctionOfTheKey(t *testing.T) {
	key := newKey(t)
	first, err := certificate(key)
	if err != nil {
		t.Fatal(err)
	}
	certificates.Lock()
	clear(certificates.made)
	certificates.Unlock()
	second, err := certificate(key)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Certificate[0]) != string(second.Certificate[0]) {
		t.Error("two certificates of one key differ")
	}
	id, err := nodeOfCertificate(first.Leaf)
	if err != nil || id != key.ID() {
		t.Errorf("nodeOfCertificate = %s, %v; want %s", id, err, key.ID())
	}
	if err := checkSelfSigned(first.Leaf); err != nil {
		t.Error(err)
	}
}

func TestCertificatesAreBounded(t *testing.T) {
	for i := range 3 * maxCached {
		seed := make([]byte, 32)
		seed[0], seed[1] = byte(i), 1
		key, err := identity.PrivateKeyFromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := certificate(key); err != nil {
			t.Fatal(err)
		}
	}
	certificates.Lock()
	defer certificates.Unlock()
	if n := len(certificates.made); n > maxCached {
		t.Errorf("%d certificates are cached, want at most %d", n, maxCached)
	}
}

// Hashes of peers' certificates are bounded, and those of bad certificates are
// not kept: a second look is no kinder than the first.
func TestSelfSignedAreBounded(t *testing.T) {
	key := newKey(t)
	good, err := certificate(key)
	if err != nil {
		t.Fatal(err)
	}
	bad := *good.Leaf
	bad.Raw = append(bad.Raw[:len(bad.Raw)-1:len(bad.Raw)-1], bad.Raw[len(bad.Raw)-1]^1)
	bad.Signature = append(bad.Signature[:63:63], bad.Signature[63]^1)
	for range 2 {
		if err := checkSelfSigned(good.Leaf); err != nil {
			t.Error(err)
		}
		if err := checkSelfSigned(&bad); !errors.Is(err, ErrIdentity) {
			t.Errorf("a certificate with another signature = %v, want ErrIdentity", err)
		}
	}
	selfSigned.Lock()
	for i := range maxSelfSigned {
		selfSigned.seen[[32]byte{byte(i), byte(i >> 8), 1}] = struct{}{}
	}
	selfSigned.Unlock()
	other, err := certificate(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkSelfSigned(other.Leaf); err != nil {
		t.Error(err)
	}
	if n := len(selfSigned.seen); n > maxSelfSigned {
		t.Errorf("%d hashes are kept, want at most %d", n, maxSelfSigned)
	}
}

// foreign returns a certificate for public, signed by signer.
func foreign(t *testing.T, public, signer any, extra int) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour)}
	for range extra {
		template.DNSNames = append(template.DNSNames, "a-rather-long-name-to-fill-the-certificate.example")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer}
}

func TestForeignPeersAreRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, other := newKey(t), newKey(t)
	two, err := certificate(own)
	if err != nil {
		t.Fatal(err)
	}
	two.Certificate = append(two.Certificate[:1:1], two.Certificate[0])
	otherSigned := foreign(t, ed25519.PublicKey(own.Ed25519().Public().(ed25519.PublicKey)), other.Ed25519(), 0)
	otherSigned.PrivateKey = own.Ed25519()
	tests := []struct {
		name   string
		change func(*tls.Config)
	}{
		{"ECDSA", func(c *tls.Config) { c.Certificates = []tls.Certificate{foreign(t, ec.Public(), ec, 0)} }},
		{"two certificates", func(c *tls.Config) { c.Certificates = []tls.Certificate{two} }},
		{"signed by another", func(c *tls.Config) { c.Certificates = []tls.Certificate{otherSigned} }},
		{"too large", func(c *tls.Config) {
			c.Certificates = []tls.Certificate{foreign(t, own.Ed25519().Public(), own.Ed25519(), 60)}
		}},
		{"none", func(c *tls.Config) { c.Certificates = nil }},
		{"no ALPN", func(c *tls.Config) { c.NextProtos = nil }},
		{"another ALPN", func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config, err := Config(own, identity.NodeID{})
			if err != nil {
				t.Fatal(err)
			}
			config.VerifyConnection = nil
			test.change(config)
			a, b := net.Pipe()
			var work sync.WaitGroup
			work.Go(func() {
				c := tls.Client(a, config)
				if c.Handshake() == nil {
					_, _ = c.Read(make([]byte, 1)) // takes the alert
				}
				a.Close()
			})
			c, err := Server(context.Background(), b, conn.Local{Key: other, HandshakeTimeout: 5 * time.Second}, identity.Address{}, identity.Address{})
			if err == nil {
				c.Close(nil)
				t.Error("the peer was accepted")
			}
			work.Wait()
		})
	}
}

// pair returns the ends of a connection over x and y.
func pair(t testing.TB, x, y net.Conn) (a, b *secured) {
	t.Helper()
	server := newKey(t)
	var work sync.WaitGroup
	var serverErr error
	work.Go(func() {
		var c conn.Conn
		c, serverErr = Server(context.Background(), y, conn.Local{Key: server}, identity.Address{}, identity.Address{})
		b, _ = c.(*secured)
	})
	c, err := Client(context.Background(), x, conn.Local{Key: newKey(t)}, server.ID(), identity.Address{}, identity.Address{})
	work.Wait()
	if err = errors.Join(err, serverErr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(nil); b.Close(nil) })
	return c.(*secured), b
}

// counted counts the writes that reach the socket.
type counted struct {
	net.Conn
	writes int
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

func TestRecordsAreJoined(t *testing.T) {
	x, y := net.Pipe()
	count := &counted{Conn: x}
	a, b := pair(t, count, y)
	for _, test := range []struct{ size, want int }{
		{1, 1}, {recordSize, 1}, {recordSize + 1, 1}, {4 * recordSize, 1},
		{joinRecords * recordSize, 1}, {joinRecords*recordSize + 1, 2}, {2*joinRecords*recordSize + 1, 3},
	} {
		count.writes = 0
		var work sync.WaitGroup
		work.Go(func() {
			if _, err := io.ReadFull(b, make([]byte, test.size)); err != nil {
				t.Error(err)
			}
		})
		if _, err := a.Write(make([]byte, test.size)); err != nil {
			t.Fatal(err)
		}
		work.Wait()
		if count.writes != test.want {
			t.Errorf("a Write of %d bytes made %d writes, want %d", test.size, count.writes, test.want)
		}
		if a.wire.out != nil {
			t.Error("the buffer is held after Write")
		}
	}
}

func TestIdleReaderHoldsNoBuffer(t *testing.T) {
	a, b := tcpPair(t)
	go func() { _, _ = a.Write(make([]byte, 300_000)) }() // the read below checks it
	if _, err := io.ReadFull(b, make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	b.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Fatal("Read returned without data")
	}
	if b.wire.in != nil {
		t.Error("a reader that has waited in vain holds a buffer")
	}
	if fd.Works && b.wire.raw == nil {
		t.Error("the socket is not read directly")
	}
}

func TestHandshakesEvictTheOldest(t *testing.T) {
	h := NewHandshakes(3)
	defer h.Close()
	ended := make(chan int, 10)
	for i := range 5 {
		h.Go(func(ctx context.Context) (conn.Conn, error) {
			<-ctx.Done()
			ended <- i
			return nil, context.Cause(ctx)
		})
	}
	got := map[int]bool{<-ended: true, <-ended: true}
	if !got[0] || !got[1] {
		t.Errorf("ended are %v, want the oldest two", got)
	}
	if n := h.Pending(); n != 3 {
		t.Errorf("Pending = %d, want 3", n)
	}
	h.Close()
	if h.Go(func(context.Context) (conn.Conn, error) { return nil, nil }) {
		t.Error("Go after Close returned true")
	}
}

func TestFailReachesAccept(t *testing.T) {
	h := NewHandshakes(1)
	want := errors.New("no descriptors")
	go h.Fail(want, nil)
	if _, err := h.Accept(context.Background()); err != want {
		t.Errorf("Accept = %v, want %v", err, want)
	}
	h.Close()
	if h.Fail(want, nil) {
		t.Error("Fail after Close returned true")
	}
}

// FuzzCertificate checks that what is no self-signed ed25519 certificate is
// refused, and nothing panics.
func FuzzCertificate(f *testing.F) {
	c, err := certificate(newKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Certificate[0])
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := NodeOf(tls.ConnectionState{NegotiatedProtocol: ALPN, PeerCertificates: []*x509.Certificate{cert}})
		if err == nil && checkSelfSigned(cert) == nil && !id.Verify(cert.RawTBSCertificate, cert.Signature) {
			t.Errorf("%s was taken for the ID of %x", id, der)
		}
	})
}
