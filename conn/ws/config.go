package ws

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"path"

	"github.com/plexus-net/plexus/identity"
)

// A Config is how a [Transport] works. The zero value dials both schemes and
// listens at ws:// addresses.
type Config struct {
	// ListenTLS has the certificate for listeners at wss:// addresses; without
	// it there are none. It is not used with Mounted.
	ListenTLS *tls.Config
	// DialTLS is how dials of wss:// addresses check the outer certificate.
	// Default: by the roots of the system. In a browser it is not used.
	DialTLS *tls.Config
	// Origins are patterns of the hosts whose web pages may connect, beside
	// the pages of the listener's own host: "app.example.org", "*.example.org",
	// "https://app.example.org:8443", or "*" for all pages. They are those of
	// path.Match, without regard to case; a pattern with "://" has the scheme,
	// too. Who sends no Origin is no browser, and may always connect.
	Origins []string
	// Mounted makes listeners without sockets: requests come to them through
	// [Transport.ServeHTTP], by the path of their address, and the address is
	// the one by which other nodes reach the caller's server.
	Mounted bool
}

// check returns what is wrong with c.
func (c *Config) check() error {
	for _, pattern := range c.Origins {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("Config.Origins: %q is not a pattern; want a host such as app.example.org or *.example.org", pattern)
		}
	}
	return nil
}

// target returns what an address stands for.
func target(a identity.Address) (*url.URL, error) {
	if a.Scheme != "ws" && a.Scheme != "wss" || a.Host == "" {
		return nil, errors.New("not a WebSocket address; want ws://host:port/path or wss://host:port/path")
	}
	p := a.Path
	if p == "" {
		p = "/"
	}
	u, err := url.ParseRequestURI(p)
	if err != nil || p[0] != '/' {
		return nil, fmt.Errorf("path %q of the address is not one of HTTP", a.Path)
	}
	u.Scheme, u.Host = a.Scheme, a.Host
	return u, nil
}
