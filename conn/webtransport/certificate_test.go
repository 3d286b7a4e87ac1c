//go:build !js

package webtransport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
)

func newKey(t testing.TB) identity.PrivateKey {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Browsers take a certificate by its hash only if it is ECDSA on P-256 and valid
// for at most 14 days. It has to be valid during all of its period, and the
// address must not go stale while the period changes.
func TestCertificatesAreRenewed(t *testing.T) {
	key := newKey(t)
	r := &renewal{key: key}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	var told []hash
	changes := 0
	for now := start; now.Before(start.Add(60 * 24 * time.Hour)); now = now.Add(time.Hour) {
		made, err := r.current(now)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(made.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P256() {
			t.Fatalf("the key is a %T", leaf.PublicKey)
		}
		if valid := leaf.NotAfter.Sub(leaf.NotBefore); valid > 14*24*time.Hour {
			t.Fatalf("the certificate is valid for %v", valid)
		}
		if now.Sub(leaf.NotBefore) < margin || leaf.NotAfter.Sub(now) < margin {
			t.Fatalf("at %v, the certificate is valid from %v to %v", now, leaf.NotBefore, leaf.NotAfter)
		}
		both, err := r.hashes(now)
		if err != nil {
			t.Fatal(err)
		}
		if both[0] != sha256.Sum256(made.Certificate[0]) {
			t.Fatal("the first hash is not that of the certificate in use")
		}
		if told != nil && both[0] != told[0] {
			if changes++; both[0] != told[1] {
				t.Fatal("a certificate came into use that had not been told before")
			}
		}
		told = both
	}
	if changes < 4 || len(r.made) > 3 {
		t.Errorf("%d changes in 60 days, %d certificates kept", changes, len(r.made))
	}
	again, err := (&renewal{key: key}).current(start)
	if err != nil {
		t.Fatal(err)
	}
	if first, err := (&renewal{key: key}).current(start); err != nil || !bytes.Equal(first.Certificate[0], again.Certificate[0]) {
		t.Error("after a restart, the certificate of the same period is another")
	}
	if other, err := (&renewal{key: newKey(t)}).current(start); err != nil || bytes.Equal(other.Certificate[0], again.Certificate[0]) {
		t.Error("two nodes have the same certificate")
	}
}
