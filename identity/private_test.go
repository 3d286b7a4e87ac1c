package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// RFC 8032, section 7.1, tests 2 and 3.
func TestRFC8032(t *testing.T) {
	for _, tt := range []struct{ seed, public, message, sig string }{
		{
			"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
			"72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		},
		{
			"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
			"af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
		},
	} {
		k, err := PrivateKeyFromSeed(unhex(t, tt.seed))
		if err != nil {
			t.Fatal(err)
		}
		id, message := k.ID(), unhex(t, tt.message)
		if got := hex.EncodeToString(id[:]); got != tt.public {
			t.Errorf("ID = %s, want %s", got, tt.public)
		}
		sig := k.Sign(message)
		if got := hex.EncodeToString(sig); got != tt.sig {
			t.Errorf("Sign = %s, want %s", got, tt.sig)
		}
		if !id.Verify(message, sig) {
			t.Error("Verify refuses the signature")
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVerifyRefuses(t *testing.T) {
	k, other := testKey(t, 1), testKey(t, 2)
	message := []byte("message")
	sig := k.Sign(message)
	flipped := bytes.Clone(sig)
	flipped[63] ^= 1
	for _, tt := range []struct {
		name    string
		id      NodeID
		message []byte
		sig     []byte
	}{
		{"another node's ID", other.ID(), message, sig},
		{"another message", k.ID(), []byte("massage"), sig},
		{"a changed signature", k.ID(), message, flipped},
		{"a short signature", k.ID(), message, sig[:63]},
		{"a long signature", k.ID(), message, append(bytes.Clone(sig), 0)},
		{"no signature", k.ID(), message, nil},
		{"an ID that is no point", NodeID{0: 2}, message, sig},
	} {
		if tt.id.Verify(tt.message, tt.sig) {
			t.Errorf("Verify accepts %s", tt.name)
		}
	}
	if !k.ID().Verify(message, sig) {
		t.Error("Verify refuses the right signature")
	}
}

// Under the eight points of small order, the zero ID among them, anybody can
// make signatures that crypto/ed25519 accepts.
func TestNobodySignsForWeakIDs(t *testing.T) {
	sig := make([]byte, ed25519.SignatureSize)
	sig[0] = 1 // R is the neutral point, S is zero
	for _, weak := range weakIDs {
		for _, sign := range []byte{0, 0x80} {
			id, forged := weak, 0
			id[31] |= sign
			for i := range 200 {
				message := fmt.Appendf(nil, "message %d", i)
				if ed25519.Verify(id[:], message, sig) {
					forged++
				}
				if id.Verify(message, sig) {
					t.Errorf("%v: Verify accepts a signature made without a key", id)
				}
			}
			if forged == 0 {
				t.Errorf("%x is not weak: it need not be refused", id[:])
			}
		}
	}
	for i := range byte(100) {
		if testKey(t, i).ID().weak() {
			t.Errorf("the ID of key %d counts as weak", i)
		}
	}
}

func TestGenerate(t *testing.T) {
	a, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Generate()
	if err != nil || a.ID() == b.ID() || a.IsZero() {
		t.Errorf("two generated keys: %v, %v, %v; want different ones", a, b, err)
	}
	if _, err := generate(bytes.NewReader(make([]byte, 31))); err == nil || !strings.HasPrefix(err.Error(), "identity: generate key: ") {
		t.Errorf("with too little randomness: %v, want an error", err)
	}
	for _, n := range []int{0, 31, 33, 64} {
		if _, err := PrivateKeyFromSeed(make([]byte, n)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("has %d bytes, want 32", n)) {
			t.Errorf("a seed of %d bytes: %v, want an error that says so", n, err)
		}
	}
	var zero PrivateKey
	if !zero.IsZero() || !zero.ID().IsZero() || zero.Ed25519() != nil {
		t.Error("the zero key is a key")
	}
}

// However a key is printed, and wherever it is, its secret does not show.
func TestSecretsDoNotPrint(t *testing.T) {
	k, err := PrivateKeyFromSeed(bytes.Repeat([]byte{0xa5}, 32))
	if err != nil {
		t.Fatal(err)
	}
	type config struct{ key PrivateKey } // fmt calls no methods on unexported fields
	for _, v := range []any{k, &k, config{k}, &config{k}, []PrivateKey{k}, map[string]any{"k": config{k}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q", "%p", "%t"} {
			s := strings.ToLower(fmt.Sprintf(verb, v))
			for _, secret := range []string{"165 165", "a5a5", "0xa5, 0xa5", "a5 a5", "¥"} {
				if strings.Contains(s, secret) {
					t.Errorf("%s of %T shows the secret: %s", verb, v, s)
				}
			}
		}
	}
	if want := "private key of " + k.ID().String(); k.String() != want || fmt.Sprintf("%#v", k) != want {
		t.Errorf("prints as %q and %#v, want %q", k, k, want)
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.key")
	k := testKey(t, 1)
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadKey(path)
	if err != nil || got.ID() != k.ID() || !got.ID().Verify([]byte("m"), k.Sign([]byte("m"))) {
		t.Fatalf("LoadKey = %v, %v; want the key back", got, err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	// A file that exists is left alone.
	before, _ := os.ReadFile(path)
	if err := testKey(t, 2).Save(path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Save over a key: %v, want fs.ErrExist that names the file", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("Save changed a file that existed")
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("%d files are left, want 1", len(files))
	}
	if err := (PrivateKey{}).Save(filepath.Join(t.TempDir(), "k")); err == nil {
		t.Error("Save of the zero key succeeds")
	}
	if err := k.Save(filepath.Join(t.TempDir(), "no", "k")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Save into no directory: %v, want fs.ErrNotExist", err)
	}
}

func TestLoadRefusesExposedFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such permissions")
	}
	path := filepath.Join(t.TempDir(), "node.key")
	if err := testKey(t, 1).Save(path); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		mode fs.FileMode
		ok   bool
	}{{0o644, false}, {0o640, false}, {0o604, false}, {0o620, false}, {0o601, false}, {0o600, true}, {0o400, true}} {
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(path)
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrKeyExposed) {
			t.Errorf("mode %04o: %v, want success %t, else ErrKeyExposed", tt.mode, err, tt.ok)
		}
		if !tt.ok && (!strings.Contains(err.Error(), fmt.Sprintf("mode %04o", tt.mode)) || !strings.Contains(err.Error(), "chmod 600 "+path)) {
			t.Errorf("mode %04o: %v; want the mode and the remedy", tt.mode, err)
		}
	}
}

func TestLoadRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := testKey(t, 1).Save(good); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(good)
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	other, _ := x509.MarshalPKCS8PrivateKey(x25519)
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", "no PEM block"},
		{"text", "hello", "no PEM block"},
		{"half", string(data[:len(data)/2]), "no PEM block"},
		{"certificate", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"})), `PEM block is "CERTIFICATE", want "PRIVATE KEY"`},
		{"two keys", string(data) + string(data), "more data follows"},
		{"no key", string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")})), "not PKCS #8"},
		{"X25519", string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: other})), "holds a *ecdh.PrivateKey"},
		{"huge", strings.Repeat("x", maxKeyFile+10) + string(data), "no PEM block"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.data), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := LoadKey(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || !k.IsZero() {
			t.Errorf("%s: %v, %v; want an error that names the file and says %q", tt.name, k, err, tt.want)
		}
	}
	if _, err := LoadKey(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want fs.ErrNotExist", err)
	}
	if _, err := LoadKey(dir); err == nil {
		t.Error("a directory loads as a key")
	}
	// The key that comes back is one that openssl and others read and write.
	if k, err := LoadKey(good); err != nil || !k.Ed25519().Equal(testKey(t, 1).Ed25519()) {
		t.Errorf("LoadKey = %v, %v", k, err)
	}
}

func ExamplePrivateKeyFromSeed() {
	key, err := PrivateKeyFromSeed(bytes.Repeat([]byte{7}, 32)) // for tests only
	if err != nil {
		panic(err)
	}
	id := key.ID()
	sig := key.Sign([]byte("plexus example: hello"))
	fmt.Println(id)
	fmt.Println(id.Verify([]byte("plexus example: hello"), sig))
	fmt.Println(id.Verify([]byte("plexus example: howdy"), sig))
	// Output:
	// 5jfgyy7ctrjavpxvkb5rglwf7gkuo5vox27hxescd3vgsfcg2iwa
	// true
	// false
}

func ExamplePrivateKey_Save() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "node.key")

	key, err := Generate()
	if err != nil {
		panic(err)
	}
	fmt.Println(key.Save(path))
	back, err := LoadKey(path)
	fmt.Println(back.ID() == key.ID(), err)
	fmt.Println(errors.Is(key.Save(path), fs.ErrExist))
	// Output:
	// <nil>
	// true <nil>
	// true
}
