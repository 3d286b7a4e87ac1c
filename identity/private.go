package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// ErrKeyExposed is the error of loading a key file that users other than its
// owner may read.
var ErrKeyExposed = errors.New("identity: key file can be read by others")

// pemType is the type of the PEM block in a key file (PKCS #8, RFC 5958).
const pemType = "PRIVATE KEY"

// maxKeyFile bounds what LoadKey reads.
const maxKeyFile = 16 << 10

// A PrivateKey is a node's ed25519 key pair. The zero value is no key. It
// prints as its node ID, never as its secret.
type PrivateKey struct {
	// A function, since package fmt prints what it finds in unexported fields
	// of other types without asking for a String method.
	secret func() ed25519.PrivateKey
}

func privateKey(key ed25519.PrivateKey) PrivateKey {
	return PrivateKey{func() ed25519.PrivateKey { return key }}
}

// Generate makes a new key from the system's randomness.
func Generate() (PrivateKey, error) { return generate(rand.Reader) }

func generate(random io.Reader) (PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return PrivateKey{}, fmt.Errorf("identity: generate key: %w", err)
	}
	return PrivateKeyFromSeed(seed)
}

// PrivateKeyFromSeed makes the key that belongs to a 32-byte seed (RFC 8032).
// The same seed always gives the same key: that suits tests and simulations; a
// real seed must come from a cryptographic source.
func PrivateKeyFromSeed(seed []byte) (PrivateKey, error) {
	if len(seed) != ed25519.SeedSize {
		return PrivateKey{}, fmt.Errorf("identity: seed has %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return privateKey(ed25519.NewKeyFromSeed(seed)), nil
}

// IsZero reports whether k is no key.
func (k PrivateKey) IsZero() bool { return k.secret == nil }

// ID returns the node ID: the public half of the key.
func (k PrivateKey) ID() NodeID {
	if k.IsZero() {
		return NodeID{}
	}
	return NodeID(k.secret()[ed25519.SeedSize:])
}

// Sign returns the 64-byte ed25519 signature of message. Callers put a domain
// in front of what they sign, so that a signature made for one purpose never
// passes for another. Sign panics on the zero key.
func (k PrivateKey) Sign(message []byte) []byte { return ed25519.Sign(k.secret(), message) }

// Ed25519 returns the key for use with the standard library, as in
// certificates; nil for the zero key. It shares memory with k: do not change it.
func (k PrivateKey) Ed25519() ed25519.PrivateKey {
	if k.IsZero() {
		return nil
	}
	return k.secret()
}

// String returns the node ID and never the secret.
func (k PrivateKey) String() string { return "private key of " + k.ID().String() }

// GoString is String, so that %#v does not print the secret either.
func (k PrivateKey) GoString() string { return k.String() }

// Save writes the key to a new file that only the owner may read and write
// (mode 0600), as PKCS #8 in PEM. A file that exists is left alone and is an
// error that satisfies errors.Is(err, fs.ErrExist).
func (k PrivateKey) Save(path string) error {
	if k.IsZero() {
		return errors.New("identity: save key: there is no key; make one with Generate")
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.secret())
	if err != nil {
		return fmt.Errorf("identity: save key: %w", err)
	}
	// Written aside and linked into place: a crash leaves no half file.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".plexus-key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("identity: save key: %w", err)
	}
	defer os.Remove(tmp.Name())
	err = pem.Encode(tmp, &pem.Block{Type: pemType, Bytes: der})
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("identity: save key: %w", err)
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("identity: save key: %s exists and is left alone; remove it or choose another path: %w", path, fs.ErrExist)
		}
		return fmt.Errorf("identity: save key: %w", err)
	}
	return nil
}

// LoadKey reads a key file that [PrivateKey.Save] wrote. A file that other
// users may read is refused with [ErrKeyExposed] on systems that have such
// permissions.
func LoadKey(path string) (PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("identity: load key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("identity: load key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" && runtime.GOOS != "js" {
		return PrivateKey{}, fmt.Errorf("%w: %s has mode %04o, want 0600; run: chmod 600 %s", ErrKeyExposed, path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return PrivateKey{}, fmt.Errorf("identity: load key: %w", err)
	}
	k, err := parsePEM(data)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("identity: load key: %s: %w", path, err)
	}
	return k, nil
}

func parsePEM(data []byte) (PrivateKey, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return PrivateKey{}, errors.New("no PEM block; make a key with: plexus key")
	case block.Type != pemType:
		return PrivateKey{}, fmt.Errorf("PEM block is %q, want %q", shorten(block.Type), pemType)
	case len(bytes.TrimSpace(rest)) != 0:
		return PrivateKey{}, errors.New("more data follows the PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("not PKCS #8: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("holds a %T: %w", parsed, errShortKey)
	}
	return privateKey(key), nil
}
