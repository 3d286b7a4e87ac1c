//go:build !js

package webtransport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// Browsers take a certificate by its hash if it is ECDSA and valid for at most
// 14 days in all. Ours serve for a period, and are valid for a margin before and
// after it, for clocks that are wrong.
const (
	period = 12 * 24 * time.Hour
	margin = 12 * time.Hour
)

// A renewal makes the outer certificates of a node. Their keys are derived from
// the node's, so that the certificate of a period is the same after a restart,
// and its hash is known before the period begins.
type renewal struct {
	key identity.PrivateKey

	mu   sync.Mutex // guards what follows
	made map[int64]*tls.Certificate
}

// periodAt returns the number of the period of a time.
func periodAt(t time.Time) int64 { return t.Unix() / int64(period/time.Second) }

// current returns the certificate for a time. It is made once.
func (r *renewal) current(now time.Time) (*tls.Certificate, error) {
	return r.certificate(periodAt(now))
}

// hashes returns those of the certificates of this period and the next.
func (r *renewal) hashes(now time.Time) ([]hash, error) {
	var both []hash
	for _, number := range []int64{periodAt(now), periodAt(now) + 1} {
		c, err := r.certificate(number)
		if err != nil {
			return nil, err
		}
		both = append(both, sha256.Sum256(c.Certificate[0]))
	}
	return both, nil
}

func (r *renewal) certificate(number int64) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.made[number]; ok {
		return c, nil
	}
	key, err := r.derive(number)
	if err != nil {
		return nil, err
	}
	begin := time.Unix(number*int64(period/time.Second), 0)
	template := x509.Certificate{
		SerialNumber: big.NewInt(number + 1),
		Subject:      pkix.Name{CommonName: "plexus"},
		NotBefore:    begin.Add(-margin), NotAfter: begin.Add(period + margin),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(nil, &template, &template, key.Public(), key) // nil: signatures are deterministic
	if err != nil {
		return nil, fmt.Errorf("webtransport: make certificate: %w", err)
	}
	for old := range r.made {
		if old < number-1 {
			delete(r.made, old)
		}
	}
	if r.made == nil {
		r.made = map[int64]*tls.Certificate{}
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	r.made[number] = c
	return c, nil
}

// derive makes the key of a period.
func (r *renewal) derive(number int64) (*ecdsa.PrivateKey, error) {
	secret := sha256.Sum256(r.key.Sign(fmt.Appendf(nil, "plexus/webtransport/certificate/v1/%d", number)))
	for range 8 { // the first is no key of the curve once in 2^32 times
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret[:])
		if err == nil {
			return key, nil
		}
		secret = sha256.Sum256(secret[:])
	}
	return nil, fmt.Errorf("webtransport: no key for the certificate of period %d", number) // does not happen
}
