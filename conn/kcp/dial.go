package kcp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/race"
	"github.com/plexus-net/plexus/internal/udp"
)

// Openings are repeated, ever more seldom.
const (
	firstRepeat = 100 * time.Millisecond
	lastRepeat  = 1600 * time.Millisecond
)

// Dial connects to the node at addr, within local.HandshakeTimeout. UDP does not
// tell that nobody listens: that takes the whole time. If the host is a name with
// several addresses, they race (RFC 8305): another one starts every 250 ms, or
// when one has failed; the first that proves to be the peer wins, and the others
// are given up.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.dials.Run(ctx, func(ctx context.Context) (conn.Conn, error) {
		return t.dial(ctx, local.WithDefaults(), peer, addr)
	})
	if err != nil {
		return nil, fmt.Errorf("kcp: dial %s: %w", addr, err)
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	host, err := hostPort(addr)
	if err = errors.Join(t.invalid, err); err != nil {
		return nil, err
	}
	if _, err := secure.Config(local.Key, peer); err != nil {
		return nil, err // of every address
	}
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	targets, err := udp.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	c, _, err := race.Dial(ctx, env.Real{}, race.Config{}, targets, func(ctx context.Context, target netip.AddrPort) (conn.Conn, error) {
		return t.dialOne(ctx, local, peer, target)
	}, func(late conn.Conn) { late.Close(race.ErrSlower) })
	return c, err
}

// dialOne connects to one address.
func (t *Transport) dialOne(ctx context.Context, local conn.Local, peer identity.NodeID, target netip.AddrPort) (conn.Conn, error) {
	l, err := t.begin(ctx, target)
	if err != nil {
		return nil, err
	}
	c, err := secure.Client(ctx, l, local, peer, address(l.LocalAddr()), address(l.RemoteAddr()))
	if err != nil {
		return nil, err
	}
	l.session.proven.Store(true)
	return c, nil
}

// begin opens a session from a socket of its own.
func (t *Transport) begin(ctx context.Context, target netip.AddrPort) (*link, error) {
	remote := net.UDPAddrFromAddrPort(target)
	here, err := localFor(remote)
	if err != nil {
		return nil, err
	}
	network := "udp6"
	if target.Addr().Is4() {
		network = "udp4"
	}
	pc, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	here.Port = pc.LocalAddr().(*net.UDPAddr).Port
	open, err := fetchCookie(ctx, pc, target)
	if err != nil {
		pc.Close()
		return nil, err
	}
	_, _ = pc.WriteToUDPAddrPort(open[:], target) // or it is lost, and repeated
	u, err := kcp.NewConn4(binary.BigEndian.Uint32(open[8:]), remote, nil, 0, 0, true, pc)
	if err != nil {
		pc.Close()
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.follow(u, here, nil, func() { _, _ = pc.WriteToUDPAddrPort(open[:], target) }, nil), nil
}

// localFor returns the address of this machine that packets to remote come from,
// without the port: a socket that is connected finds out.
func localFor(remote *net.UDPAddr) (*net.UDPAddr, error) {
	probe, err := net.DialUDP("udp", nil, remote)
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	here := *probe.LocalAddr().(*net.UDPAddr)
	return &here, nil
}

// fetchCookie asks target for a cookie until it comes, and returns the packet that
// opens the conversation with it. What was read of pc is lost, but nobody else
// knows the conversation yet.
func fetchCookie(ctx context.Context, pc *net.UDPConn, target netip.AddrPort) ([openingSize]byte, error) {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	o := opening{op: opAsk, conversation: binary.BigEndian.Uint32(random[:])}
	ask := o.packet()
	wake := context.AfterFunc(ctx, func() { _ = pc.SetReadDeadline(time.Unix(1, 0)) })
	defer wake()
	p := make([]byte, 2048)
	for pause := firstRepeat; ; pause = min(2*pause, lastRepeat) {
		if _, err := pc.WriteToUDPAddrPort(ask[:], target); err != nil {
			return ask, &conn.CloseError{Code: conn.CodeUnreachable, Err: err}
		}
		_ = pc.SetReadDeadline(time.Now().Add(pause)) // fails only if it is closed
		for ctx.Err() == nil {
			n, _, err := pc.ReadFromUDPAddrPort(p)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return ask, &conn.CloseError{Code: conn.CodeUnreachable, Err: err}
			}
			if answer, ok := parseOpening(p[:n]); ok && answer.op == opCookie && answer.conversation == o.conversation {
				answer.op = opOpen
				return answer.packet(), stopWaking(ctx, wake, pc)
			}
		}
		if ctx.Err() != nil {
			return ask, context.Cause(ctx)
		}
	}
}

// stopWaking gives pc, whose deadline wake might set, back without a deadline.
func stopWaking(ctx context.Context, wake func() bool, pc *net.UDPConn) error {
	if !wake() {
		return context.Cause(ctx)
	}
	return pc.SetReadDeadline(time.Time{})
}
