//go:build !js

package webtransport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/race"
	"github.com/plexus-net/plexus/internal/udp"
)

// maxNames is how many host names are remembered with the addresses that lost.
const maxNames = 256

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	to, err := t.check(local.Key, peer, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	targets, err := t.resolve(ctx, to.host)
	if err != nil {
		return nil, err
	}
	try := func(ctx context.Context, at netip.AddrPort) (conn.Conn, error) {
		c, err := t.dialOne(ctx, local, peer, to, addr.Path, net.UDPAddrFromAddrPort(at))
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return c, err
	}
	if len(targets) == 1 {
		return try(ctx, targets[0])
	}
	targets = t.lost.Order(to.host, targets, nil)
	lost := func(i int, _ error) { t.lost.Failed(to.host, targets[i]) }
	late := func(c conn.Conn) { c.Close(&conn.CloseError{Code: conn.CodeReplaced, Err: race.ErrSlower}) }
	c, i, err := race.Dial(ctx, env.Real{}, race.Config{Lost: lost}, targets, try, late)
	if err == nil {
		t.lost.Worked(to.host, targets[i])
	}
	return c, err
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
