//go:build !js

package webtransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/udp"
)

// maxTries bounds the addresses of one host name that a dial tries.
const maxTries = 4

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	to, err := t.check(local.Key, peer, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	sockets, err := resolve(ctx, to.host)
	if err != nil {
		return nil, err
	}
	share := local.HandshakeTimeout / time.Duration(len(sockets))
	for _, at := range sockets {
		var c conn.Conn
		tryCtx, cancelTry := context.WithTimeout(ctx, share)
		c, err = t.dialOne(tryCtx, local, peer, to, addr.Path, at)
		if err != nil && tryCtx.Err() != nil {
			err = context.Cause(tryCtx)
		}
		cancelTry()
		if err == nil {
			return c, nil
		}
		var wrong *conn.WrongNodeError
		if errors.As(err, &wrong) || ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (t *Transport) dialOne(ctx context.Context, local conn.Local, peer identity.NodeID, to target, path string, at *net.UDPAddr) (conn.Conn, error) {
	s, err := t.dialSocket(at)
	if err != nil {
		return nil, err
	}
	defer s.release()
	outer := &tls.Config{
		ServerName: hostOf(to.host), NextProtos: []string{http3.NextProtoH3}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // conn/secure proves the node, and binding.go that nobody is between
	}
	qc, err := s.quic.Dial(ctx, at, outer, quicConfig(local.HandshakeTimeout))
	if err != nil {
		return nil, err
	}
	stop := untilEnded(ctx, qc)
	st, err := request(ctx, qc, to)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		session{quic: qc}.end()
		return nil, err
	}
	localAddr := identity.Address{Scheme: scheme, Host: udp.HostPort(qc.LocalAddr())}
	inner, err := secure.Client(ctx, st, local, peer, localAddr, identity.Address{Scheme: scheme, Host: udp.HostPort(qc.RemoteAddr()), Path: path})
	if err != nil {
		return nil, err
	}
	c, err := bind(ctx, inner, st.session, offerBinding)
	if err != nil {
		return nil, err
	}
	return c, s.keep(c)
}

// request opens a session and its first stream.
func request(ctx context.Context, qc *quic.Conn, to target) (*stream, error) {
	client, err := new(wt.Transport).NewClientConn(qc)
	if err != nil {
		return nil, err
	}
	response, ws, err := client.Dial(ctx, to.url.String(), nil)
	if err != nil {
		if response != nil {
			err = fmt.Errorf("the server at %s answers %q to a request for %s: %w", to.host, response.Status, to.url.Path, err)
		}
		return nil, err
	}
	st, err := ws.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &stream{Stream: st, session: session{Session: ws, quic: qc}}, nil
}

// resolve returns the socket addresses that host:port stands for.
func resolve(ctx context.Context, hostPort string) ([]*net.UDPAddr, error) {
	ips, port, err := udp.Lookup(ctx, hostPort)
	if err != nil {
		return nil, err
	}
	if len(ips) > maxTries {
		ips = ips[:maxTries]
	}
	all := make([]*net.UDPAddr, len(ips))
	for i, ip := range ips {
		all[i] = net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), port))
	}
	return all, nil
}
