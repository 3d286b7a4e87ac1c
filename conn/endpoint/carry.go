package endpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/env"
)

// The first frames on a connection, before those of package durable.
//
//	16 hello    magic (8), version (1), offer
//	17 refused  code (2), reason
const (
	typeHello   = 16
	typeRefused = 17

	version = 1
	magic   = "plexus/e"

	helloSize = len(magic) + 1 + durable.OfferSize
	maxHello  = 4 << 10
)

// Carry moves the channel to a connection to the peer. Both ends have to call
// it, each on its end of the connection, whoever dialled. It returns when the
// channel has moved, or with an error, within Config.HandshakeTime. The
// connection is the endpoint's from the call on: after an error it is closed.
//
// Calls may overlap: the node with the lower ID decides which connection is the
// newest, and Carry fails with [ErrReplaced] for older ones.
func (e *Endpoint) Carry(ctx context.Context, c conn.Conn) error {
	err := e.carry(ctx, c)
	if err != nil {
		c.Close(err)
		return fmt.Errorf("endpoint: %w", err)
	}
	if e.connected(); e.panicked.Load() {
		return fmt.Errorf("endpoint: %w", e.Cause())
	}
	return nil
}

func (e *Endpoint) connected() {
	if e.cfg.OnConnect != nil {
		defer e.caught("OnConnect")
		e.cfg.OnConnect()
	}
}

func (e *Endpoint) carry(ctx context.Context, c conn.Conn) error {
	if node := c.Node(); node != e.peer {
		return &conn.WrongNodeError{Want: e.peer, Got: node}
	}
	if e.ch.Closing() && e.ch.Err() != nil {
		return e.Cause()
	}
	limited, cancel := env.WithTimeout(e.env, ctx, e.cfg.HandshakeTime)
	defer cancel()
	unhook := e.env.OnDone(limited, func() { c.SetReadDeadline(time.Unix(1, 0)); c.SetWriteDeadline(time.Unix(1, 0)) })
	mine := e.ch.Offer()
	theirs, number, in, err := e.hello(c, mine)
	if !unhook() {
		return context.Cause(limited)
	}
	if err != nil {
		return err
	}
	err = e.ch.AttachAfter(mine, c, theirs, number, in)
	switch {
	case err == durable.ErrStale:
		return ErrReplaced
	case err != nil:
		if e.ch.Err() != nil { // the peer has outlived it
			e.over()
		}
		return e.why(err, nil)
	}
	e.receiveDatagrams(c)
	return nil
}

// hello tells the peer how far this end has come and hears the same of it; the
// end with the higher ID also hears which connection this one is. in is what was
// read behind that.
func (e *Endpoint) hello(c conn.Conn, mine durable.Offer) (theirs durable.Offer, number uint64, in []byte, err error) {
	b := binary.BigEndian.AppendUint32(nil, uint32(helloSize)<<8|typeHello)
	b = append(append(b, magic...), version)
	if _, err := c.Write(durable.AppendOffer(b, mine)); err != nil {
		return theirs, 0, nil, err
	}
	if theirs, err = readHello(c); err != nil {
		return theirs, 0, nil, err
	}
	if theirs.MaxMessage < mine.MaxMessage {
		return theirs, 0, nil, fmt.Errorf("the peer takes messages of %d bytes, this end sends up to %d; set Config.MaxMessage alike", theirs.MaxMessage, mine.MaxMessage)
	}
	if Lower(e.self, e.peer) {
		if mine.Peer.IsZero() || theirs.Epoch == mine.Peer {
			return theirs, 0, nil, nil
		}
		number, in, err = e.challenge(c)
		return theirs, number, in, err
	}
	frame := make([]byte, durable.AttachFrame)
	if _, err := io.ReadFull(c, frame); err != nil {
		return theirs, 0, nil, noEOF(err)
	}
	number, err = durable.ParseAttach(frame)
	return theirs, number, nil, err
}

// challenge has a peer that says it has started anew answer what this end has
// said, before it is believed. It may have said so, ended, started once more, and
// be known already: what it said comes late where packets are lost.
func (e *Endpoint) challenge(c conn.Conn) (number uint64, in []byte, err error) {
	number = e.ch.Number()
	if _, err := c.Write(durable.AppendAttach(nil, number)); err != nil {
		return 0, nil, err
	}
	in = make([]byte, durable.AttachFrame) // start is as long
	if _, err := io.ReadFull(c, in); err != nil {
		return 0, nil, noEOF(err)
	}
	return number, in, nil
}

// readHello reads the first frame of the peer.
func readHello(r io.Reader) (theirs durable.Offer, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return theirs, noEOF(err)
	}
	h := binary.BigEndian.Uint32(head[:])
	n := int(h >> 8)
	if n > maxHello {
		return theirs, errNoEndpoint
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return theirs, noEOF(err)
	}
	switch h & 0xff {
	case typeRefused:
		return theirs, parseReason(body)
	case typeHello:
		return parseHello(body)
	}
	return theirs, errNoEndpoint
}

var errNoEndpoint = errors.New("the other side is no endpoint")

func parseHello(b []byte) (theirs durable.Offer, err error) {
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return theirs, errNoEndpoint
	}
	if v := b[len(magic)]; v != version {
		return theirs, fmt.Errorf("the other side speaks version %d, this one %d", v, version)
	}
	return durable.ParseOffer(b[len(magic)+1:])
}

func noEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("the other side closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// Refuse closes a connection on which the other side is about to call Carry, and
// tells it why, so that its Carry fails with that reason.
func Refuse(ctx context.Context, c conn.Conn, cause error) {
	e := env.Of(ctx)
	reason := reasonOf(cause)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(reason))<<8|typeRefused)
	by := e.AfterFunc(refusing, func() { c.Close(cause) })
	defer by.Stop()
	if _, err := c.Write(append(b, reason...)); err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, maxHello)) // until the other side closes
	}
	c.Close(cause)
}

// refusing is how long the other side has to read why it was refused.
const refusing = time.Second

// Lower reports whether a is the one of two nodes that decides which connection
// their channel is on.
func Lower(a, b identity.NodeID) bool { return a.Compare(b) < 0 }
