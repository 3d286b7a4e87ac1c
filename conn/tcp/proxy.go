package tcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The header of the PROXY protocol, versions 1 and 2.
const (
	v1Prefix   = "PROXY "
	v1Shortest = len("PROXY UNKNOWN\r\n")
	v1Longest  = 107 // with its end of line
	v2Magic    = "\r\n\r\n\x00\r\nQUIT\n"
	v2Fixed    = len(v2Magic) + 4
	v2Longest  = 4 << 10 // bytes after the fixed part; the protocol itself allows 64 KiB
)

// A ProxyError says why a connection was refused that had to come through a
// balancer of [Config.Proxies].
type ProxyError struct {
	From   net.Addr // where it came from
	Reason string
	Err    error // the error of reading, if it was one
}

func (e *ProxyError) Error() string {
	s := fmt.Sprintf("tcp: connection from %s refused: %s", e.From, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the error of reading.
func (e *ProxyError) Unwrap() error { return e.Err }

// A forwarded is a connection that came through a balancer.
type forwarded struct {
	*net.TCPConn
	source net.Addr
}

// RemoteAddr returns the address that the balancer told.
func (c *forwarded) RemoteAddr() net.Addr { return c.source }

// proxied takes the header of a balancer off nc.
func (s *sockets) proxied(ctx context.Context, nc net.Conn) (net.Conn, error) {
	source, err := s.source(ctx, nc)
	if err == nil && !source.IsValid() {
		return nc, nil // the balancer itself has come
	}
	tc, ok := nc.(*net.TCPConn)
	if err == nil && !ok {
		err = &ProxyError{From: nc.RemoteAddr(), Reason: fmt.Sprintf("Config.Listen accepted a %T, and Config.Proxies needs a *net.TCPConn", nc)}
	}
	if err != nil {
		s.refused(nc.RemoteAddr(), err)
		return nil, err
	}
	return &forwarded{tc, net.TCPAddrFromAddrPort(source)}, nil
}

// refused tells the caller, who may panic.
func (s *sockets) refused(from net.Addr, err error) {
	if s.config.Refused == nil {
		return
	}
	defer func() { _ = recover() }() // nothing of ours is broken by it
	s.config.Refused(from, err)
}

// source returns the address in the header, or none for a connection of the
// balancer itself.
func (s *sockets) source(ctx context.Context, nc net.Conn) (netip.AddrPort, error) {
	from := nc.RemoteAddr()
	at, err := netip.ParseAddrPort(from.String())
	if err != nil || !slices.ContainsFunc(s.config.Proxies, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap().WithZone("")) }) {
		return netip.AddrPort{}, &ProxyError{From: from, Reason: "it is not one of Config.Proxies"}
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) }) // fails only if nc is closed
	source, err := readHeader(nc)
	if !stop() {
		err = context.Cause(ctx)
	}
	var malformed headerError
	switch {
	case errors.As(err, &malformed):
		return netip.AddrPort{}, &ProxyError{From: from, Reason: string(malformed)}
	case err != nil:
		return netip.AddrPort{}, &ProxyError{From: from, Reason: "no PROXY header came", Err: err}
	}
	return source, nil
}

// A headerError says what is wrong with a header.
type headerError string

func (e headerError) Error() string { return string(e) }

// readHeader reads a header and not a byte more. The address is not valid if
// the header has none.
func readHeader(r io.Reader) (netip.AddrPort, error) {
	var buf [v2Fixed + v2Longest]byte
	head := buf[:len(v2Magic)] // no header is shorter
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return netip.AddrPort{}, err
	}
	if head[0] != v1Prefix[0] && head[0] != v2Magic[0] {
		return netip.AddrPort{}, headerError("it does not begin with a PROXY header")
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return netip.AddrPort{}, err
	}
	switch {
	case string(head) == v2Magic:
		return readV2(r, buf[:])
	case bytes.HasPrefix(head, []byte(v1Prefix)):
		return readV1(r, buf[:v1Longest])
	}
	return netip.AddrPort{}, headerError("it does not begin with a PROXY header")
}

// readV1 goes on to the end of the line.
func readV1(r io.Reader, buf []byte) (netip.AddrPort, error) {
	n := len(v2Magic)
	if _, err := io.ReadFull(r, buf[n:v1Shortest]); err != nil {
		return netip.AddrPort{}, err
	}
	for n = v1Shortest; buf[n-1] != '\n'; n++ {
		if n == len(buf) {
			return netip.AddrPort{}, headerError(fmt.Sprintf("its PROXY header has no end within %d bytes", v1Longest))
		}
		if _, err := io.ReadFull(r, buf[n:n+1]); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return parseV1(string(buf[:n]))
}

// parseV1 reads "PROXY TCP4 source destination port port\r\n", or TCP6, or
// UNKNOWN and anything.
func parseV1(line string) (netip.AddrPort, error) {
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(text, "\r\n") {
		return netip.AddrPort{}, headerError("its PROXY header does not end with one CR LF")
	}
	fields := strings.Split(text, " ")
	if len(fields) >= 2 && fields[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6" {
		return netip.AddrPort{}, headerError(fmt.Sprintf("its PROXY header is %q; want PROXY, TCP4, TCP6 or UNKNOWN, two addresses and two ports", text))
	}
	source, err := v1Address(fields[1], fields[2], fields[4])
	if err != nil {
		return netip.AddrPort{}, err
	}
	if _, err := v1Address(fields[1], fields[3], fields[5]); err != nil {
		return netip.AddrPort{}, err
	}
	return source, nil
}

func v1Address(family, address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() != (family == "TCP4") || a.Zone() != "" {
		return netip.AddrPort{}, headerError(fmt.Sprintf("the address %q in its PROXY header is none of %s", address, family))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, headerError(fmt.Sprintf("the port %q in its PROXY header is not a number from 0 to 65535", port))
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// readV2 goes on after the magic in buf.
func readV2(r io.Reader, buf []byte) (netip.AddrPort, error) {
	if _, err := io.ReadFull(r, buf[len(v2Magic):v2Fixed]); err != nil {
		return netip.AddrPort{}, err
	}
	size := int(binary.BigEndian.Uint16(buf[v2Fixed-2:]))
	if size > v2Longest {
		return netip.AddrPort{}, headerError(fmt.Sprintf("its PROXY header has %d bytes, at most %d are allowed", size, v2Longest))
	}
	whole := buf[:v2Fixed+size]
	if _, err := io.ReadFull(r, whole[v2Fixed:]); err != nil {
		return netip.AddrPort{}, err
	}
	return parseV2(whole)
}

// parseV2 reads a whole header of version 2. What follows the addresses is for
// others.
func parseV2(p []byte) (netip.AddrPort, error) {
	version, command, family := p[12]>>4, p[12]&0xf, p[13]
	if version != 2 || command > 1 {
		return netip.AddrPort{}, headerError(fmt.Sprintf("its PROXY header has the version and command %#x, want 0x20 or 0x21", p[12]))
	}
	if command == 0 { // LOCAL
		return netip.AddrPort{}, nil
	}
	body := p[v2Fixed:]
	switch {
	case family == 0x11 && len(body) >= 12: // TCP over IPv4
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])), nil
	case family == 0x21 && len(body) >= 36: // TCP over IPv6
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	case family == 0x00: // UNSPEC
		return netip.AddrPort{}, nil
	}
	return netip.AddrPort{}, headerError(fmt.Sprintf("its PROXY header is of the family %#x with %d bytes of addresses, want TCP over IPv4 or IPv6", family, len(body)))
}
