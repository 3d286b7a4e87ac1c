//go:build !js

package webtransport

import (
	"net/url"
	"path"
	"strings"
)

// allows reports whether a request may come from the page that it names.
func (c *Config) allows(origin, host string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}
	for _, pattern := range c.Origins {
		of := u.Host
		if strings.Contains(pattern, "://") {
			of = u.Scheme + "://" + u.Host
		}
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(of)); ok && err == nil {
			return true
		}
	}
	return false
}
