package webtransport

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"github.com/plexus-net/plexus/identity"
)

// scheme is the scheme of the addresses of this package.
const scheme = "wt"

// certParam is the query parameter of an address with the hash of a certificate.
const certParam = "cert"

// maxHashes bounds the hashes in an address.
const maxHashes = 4

// A hash is the SHA-256 of a certificate.
type hash [sha256.Size]byte

var hashText = base64.RawURLEncoding

// A target is what an address stands for.
type target struct {
	host   string
	url    *url.URL // of the request, without hashes
	hashes []hash
}

func parse(a identity.Address) (target, error) {
	if a.Scheme != scheme || a.Host == "" {
		return target{}, errors.New("not a WebTransport address; want wt://host:port/path")
	}
	p := a.Path
	if p == "" {
		p = "/"
	}
	u, err := url.ParseRequestURI(p)
	if err != nil || p[0] != '/' {
		return target{}, fmt.Errorf("path %q of the address is not one of HTTP", a.Path)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return target{}, fmt.Errorf("query of the address: %w", err)
	}
	t := target{host: a.Host, url: u}
	for _, text := range query[certParam] {
		var h hash
		n, err := hashText.Decode(h[:], []byte(text[:min(len(text), hashText.EncodedLen(len(h)))]))
		if err != nil || n != len(h) || hashText.EncodeToString(h[:]) != text {
			return target{}, fmt.Errorf("%s=%s of the address is not a SHA-256 in base64url", certParam, text)
		}
		if t.hashes = append(t.hashes, h); len(t.hashes) > maxHashes {
			return target{}, fmt.Errorf("the address has more than %d hashes of certificates", maxHashes)
		}
	}
	query.Del(certParam)
	u.Scheme, u.Host, u.RawQuery, u.ForceQuery = "https", a.Host, query.Encode(), false
	return t, nil
}

// address returns the address of t at another host and port, with hashes.
func (t target) address(host string, hashes ...hash) identity.Address {
	u := url.URL{Path: t.url.Path, RawPath: t.url.RawPath, RawQuery: t.url.RawQuery}
	for _, h := range hashes {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += certParam + "=" + hashText.EncodeToString(h[:])
	}
	return identity.Address{Scheme: scheme, Host: host, Path: u.RequestURI()}
}
