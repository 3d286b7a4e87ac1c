package identity

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Limits of address texts: what a remote sends is capped before it is kept.
const (
	maxAddress   = 255 // bytes of one address
	maxAddresses = 16  // addresses of one peer
)

// An Address says how to reach a socket: a scheme that names the transport and
// what that transport dials. Addresses are values: compare them with ==. The
// zero Address is none.
type Address struct {
	Scheme string // "quic", "tcp", "mem", ...; lower case
	Host   string // "host:port", a name for mem, empty for unix
	Path   string // with its leading slash, for transports that have paths
}

// ParseAddress reads scheme://host:port or, for mem, scheme://name and, for unix,
// scheme:///path/of/socket. Hosts may be names, IPv4 addresses or IPv6 addresses in brackets; an empty host stands for
// every local address. The error says what was wrong and where.
func ParseAddress(s string) (Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return Address{}, fmt.Errorf("identity: address %s: %w", strconv.Quote(shorten(s)), err)
	}
	return a, nil
}

func parseAddress(s string) (Address, error) {
	if len(s) > maxAddress {
		return Address{}, fmt.Errorf("has %d bytes, at most %d are allowed", len(s), maxAddress)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ',' || c == '@' || c == '"' || c == '\\' {
			return Address{}, fmt.Errorf("byte %d is %q, which no address contains", i+1, rune(c))
		}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Address{}, errors.New(`no "://" after the scheme; want for example quic://host:port`)
	}
	if err := checkScheme(scheme); err != nil {
		return Address{}, err
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	switch scheme {
	case "mem":
		if host == "" {
			return Address{}, errors.New("no name after mem://")
		}
		return Address{scheme, host, path}, nil
	case "unix":
		if host != "" || len(path) < 2 {
			return Address{}, errors.New("want unix:// and the absolute path of a socket: unix:///run/name.sock")
		}
		return Address{scheme, "", path}, nil
	}
	h, port, err := net.SplitHostPort(host)
	if err != nil {
		var ae *net.AddrError
		if errors.As(err, &ae) {
			err = errors.New(ae.Err)
		}
		return Address{}, fmt.Errorf("host and port %q: %w; want host:port", host, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return Address{}, fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	if strings.Contains(h, ":") && net.ParseIP(strings.SplitN(h, "%", 2)[0]) == nil {
		return Address{}, fmt.Errorf("host %q is not an IPv6 address", h)
	}
	return Address{scheme, net.JoinHostPort(h, port), path}, nil
}

func checkScheme(s string) error {
	if s == "" {
		return errors.New(`the scheme before "://" is empty`)
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '+') {
			return fmt.Errorf("scheme %q: byte %d is %q; schemes are lower-case letters, digits and +", s, i+1, rune(c))
		}
	}
	return nil
}

// String returns the text that ParseAddress reads.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return a.Scheme + "://" + a.Host + a.Path
}

// IsZero reports whether a is no address.
func (a Address) IsZero() bool { return a == Address{} }

// MarshalText returns the text form. It never fails.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the text form, as [ParseAddress] does; no text is the
// zero Address.
func (a *Address) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = Address{}
		return nil
	}
	parsed, err := ParseAddress(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}

// A PeerAddress says how to reach a node: its ID and the addresses where it may
// be found, the preferred one first.
type PeerAddress struct {
	ID        NodeID
	Addresses []Address
}

// ParsePeerAddress reads id@address,address,... with one to 16 addresses. The
// error says what was wrong and where.
func ParsePeerAddress(s string) (PeerAddress, error) {
	p, err := parsePeerAddress(s)
	if err != nil {
		return PeerAddress{}, fmt.Errorf("identity: peer address %s: %w", strconv.Quote(shorten(s)), err)
	}
	return p, nil
}

func parsePeerAddress(s string) (PeerAddress, error) {
	idText, list, ok := strings.Cut(s, "@")
	if !ok {
		return PeerAddress{}, errors.New(`no "@" after the node ID; want id@scheme://host:port`)
	}
	var p PeerAddress
	if err := decodeText(p.ID[:], idText); err != nil {
		return PeerAddress{}, fmt.Errorf("node ID: %w", err)
	}
	if n := strings.Count(list, ",") + 1; n > maxAddresses {
		return PeerAddress{}, fmt.Errorf("has %d addresses, at most %d are allowed", n, maxAddresses)
	}
	for i, text := range strings.Split(list, ",") {
		a, err := parseAddress(text)
		if err != nil {
			return PeerAddress{}, fmt.Errorf("address %d: %w", i+1, err)
		}
		if slices.Contains(p.Addresses, a) {
			return PeerAddress{}, fmt.Errorf("address %d: %s is listed twice", i+1, a)
		}
		p.Addresses = append(p.Addresses, a)
	}
	return p, nil
}

// String returns the text that ParsePeerAddress reads.
func (p PeerAddress) String() string {
	var b strings.Builder
	b.WriteString(p.ID.String())
	for i, a := range p.Addresses {
		b.WriteByte("@,"[min(i, 1)])
		b.WriteString(a.String())
	}
	return b.String()
}

// MarshalText returns the text form. It never fails.
func (p PeerAddress) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form, as [ParsePeerAddress] does.
func (p *PeerAddress) UnmarshalText(text []byte) error {
	parsed, err := ParsePeerAddress(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}
