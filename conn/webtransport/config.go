package webtransport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path"

	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A Config is how a [Transport] works. The zero value works.
type Config struct {
	// TLS has the outer certificate of listeners, where there is one that
	// browsers trust by the usual rules: addresses then have no hash. Default:
	// certificates that the transport makes and renews by itself.
	TLS *tls.Config
	// Origins are patterns of the hosts whose web pages may connect, beside
	// the pages of the listener's own host: "app.example.org", "*.example.org",
	// "https://app.example.org:8443", or "*" for all pages. They are those of
	// path.Match, without regard to case; a pattern with "://" has the scheme,
	// too. Who sends no Origin is no browser, and may always connect.
	Origins []string
}

// check returns what is wrong with c.
func (c *Config) check() error {
	for _, pattern := range c.Origins {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("Config.Origins: %q is not a pattern; want a host such as app.example.org or *.example.org", pattern)
		}
	}
	if t := c.TLS; t != nil && len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		return errors.New("Config.TLS has no certificate; leave it nil for certificates that the transport makes")
	}
	return nil
}

// check returns what addr stands for, or what is wrong with it, with the
// configuration or with the key. No peer is any.
func (t *Transport) check(key identity.PrivateKey, peer identity.NodeID, addr identity.Address) (target, error) {
	to, err := parse(addr)
	if err == nil {
		err = t.wrong
	}
	if err == nil {
		_, err = secure.Config(key, peer)
	}
	return to, err
}
