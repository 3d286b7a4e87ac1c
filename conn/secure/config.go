package secure

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// ALPN is the protocol that both ends must name in the handshake.
const ALPN = "plexus/1"

// StreamALPN is named instead for a stream beside a connection: see
// [Network.Streams].
const StreamALPN = "plexus-stream/1"

// Limits.
const (
	maxCertificate = 2 << 10 // bytes of a peer's certificate; ours have about 250
	maxCached      = 64      // certificates kept, one per key of this process
	maxSelfSigned  = 1 << 10 // hashes kept of peers' certificates
)

// ErrIdentity is beneath the errors of handshakes with a peer that did not
// prove a node ID.
var ErrIdentity = errors.New("secure: peer has not proven a node ID")

// errNoKey is of a conn.Local that was left empty.
var errNoKey = errors.New("secure: no key; set conn.Local.Key, for example with identity.Generate")

// certificates caches what certificate makes, by node ID.
var certificates struct {
	sync.Mutex // guards made
	made       map[identity.NodeID]tls.Certificate
}

// certificate returns the certificate of a key. The same key always gives the
// same certificate.
func certificate(key identity.PrivateKey) (tls.Certificate, error) {
	if key.IsZero() {
		return tls.Certificate{}, errNoKey
	}
	id := key.ID()
	certificates.Lock()
	defer certificates.Unlock()
	if c, ok := certificates.made[id]; ok {
		return c, nil
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280: none
	}
	der, err := x509.CreateCertificate(nil, &template, &template, ed25519.PublicKey(id[:]), key.Ed25519())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("secure: make certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("secure: make certificate: %w", err)
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key.Ed25519(), Leaf: leaf}
	if certificates.made == nil || len(certificates.made) >= maxCached {
		certificates.made = make(map[identity.NodeID]tls.Certificate)
	}
	certificates.made[id] = c
	return c, nil
}

// Config returns the TLS configuration of a node for both sides of handshakes.
// They succeed with any peer that proves a node ID, or only with expect if it
// is not zero; the error is then a [*conn.WrongNodeError]. The result is the
// caller's.
func Config(key identity.PrivateKey, expect identity.NodeID) (*tls.Config, error) {
	return config(key, expect, ALPN)
}

// config is Config for other protocols. A side that dials names one.
func config(key identity.PrivateKey, expect identity.NodeID, protocols ...string) (*tls.Config, error) {
	cert, err := certificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:                []tls.Certificate{cert},
		NextProtos:                  protocols,
		MinVersion:                  tls.VersionTLS13,
		ClientAuth:                  tls.RequireAnyClientCert,
		InsecureSkipVerify:          true, // by the standard rules; VerifyConnection has ours
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			id, err := nodeOf(state, protocols...)
			if err != nil {
				return err
			}
			if !expect.IsZero() && id != expect {
				return &conn.WrongNodeError{Want: expect, Got: id}
			}
			return checkSelfSigned(state.PeerCertificates[0])
		},
	}, nil
}

// NodeOf returns the node ID that the peer has proven in a handshake with a
// configuration of [Config]. It fails with [ErrIdentity] if the peer showed
// anything but one ed25519 certificate, or spoke another protocol than [ALPN].
// That the peer holds the private key is the handshake's to prove.
func NodeOf(state tls.ConnectionState) (identity.NodeID, error) { return nodeOf(state, ALPN) }

func nodeOf(state tls.ConnectionState, protocols ...string) (identity.NodeID, error) {
	switch {
	case !slices.Contains(protocols, state.NegotiatedProtocol):
		return identity.NodeID{}, fmt.Errorf("%w: it speaks %q, want %q", ErrIdentity, state.NegotiatedProtocol, protocols[0])
	case len(state.PeerCertificates) != 1:
		return identity.NodeID{}, fmt.Errorf("%w: it sent %d certificates, want 1", ErrIdentity, len(state.PeerCertificates))
	}
	return nodeOfCertificate(state.PeerCertificates[0])
}

func nodeOfCertificate(cert *x509.Certificate) (identity.NodeID, error) {
	if n := len(cert.Raw); n > maxCertificate {
		return identity.NodeID{}, fmt.Errorf("%w: its certificate has %d bytes, at most %d are allowed", ErrIdentity, n, maxCertificate)
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != identity.NodeIDSize {
		return identity.NodeID{}, fmt.Errorf("%w: its certificate is for a %T, want an ed25519 key", ErrIdentity, cert.PublicKey)
	}
	return identity.NodeID(key), nil
}

// selfSigned remembers certificates that checkSelfSigned has taken, by their
// hashes: nodes come back, and streams come with the certificate of their
// connection. It saves the check of a signature at each end.
var selfSigned struct {
	sync.Mutex // guards seen
	seen       map[[sha256.Size]byte]struct{}
}

// checkSelfSigned checks the signature of a certificate that nodeOfCertificate
// has taken. NodeID.Verify refuses the public keys for which anybody can make
// signatures (points of small order), which crypto/tls would accept.
func checkSelfSigned(cert *x509.Certificate) error {
	hash := sha256.Sum256(cert.Raw)
	selfSigned.Lock()
	_, known := selfSigned.seen[hash]
	selfSigned.Unlock()
	if known {
		return nil
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || cert.SignatureAlgorithm != x509.PureEd25519 || !identity.NodeID(key).Verify(cert.RawTBSCertificate, cert.Signature) {
		return fmt.Errorf("%w: its certificate is not signed with its own key", ErrIdentity)
	}
	selfSigned.Lock()
	defer selfSigned.Unlock()
	if selfSigned.seen == nil || len(selfSigned.seen) >= maxSelfSigned {
		selfSigned.seen = make(map[[sha256.Size]byte]struct{})
	}
	selfSigned.seen[hash] = struct{}{}
	return nil
}
