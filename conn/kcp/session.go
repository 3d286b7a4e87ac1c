package kcp

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
)

// Times of an end.
const (
	lingering = time.Second           // for what was written before Close to arrive
	parting   = 30 * time.Millisecond // for the last packets to leave
)

// errReopened ends a connection whose other end has begun another one at its
// address, so it has gone.
var errReopened = &conn.CloseError{Code: conn.CodeReplaced, Reason: "the other end has begun another connection from its address"}

// errDead ends a connection whose other end is silent.
var errDead = &conn.CloseError{Code: conn.CodeTimeout, Reason: "nothing came from the other end for too long"}

// A session carries the bytes between a link and kcp-go, which knows neither
// deadlines that may change nor an end.
//
//	crypto/tls ──> link ── pipe ──> send ────> chunks ──> kcp-go ──> UDP
//	crypto/tls <── link <─ inbox ── receive <─ chunks <── kcp-go <── UDP
type session struct {
	kcp    *kcp.UDPSession
	out    net.Conn // the end of a pipe: what the link writes
	in     *inbox   // what the link reads
	config *Config
	owner  owner

	writing sync.Mutex // held while kcp-go takes something, which may wait
	closing sync.Once
	leaving atomic.Bool   // the link was closed
	proven  atomic.Bool   // the handshake has succeeded
	heard   atomic.Bool   // something has come
	parted  chan struct{} // closed when the other end has said that no more comes
	linger  *time.Timer   // kills the session; runs from the end of the link on
	killing sync.Once
	killed  chan struct{}
	cause   atomic.Pointer[error] // why it was killed, if not by the link
	running atomic.Int32          // goroutines
	gone    chan struct{}         // closed when none runs
}

// An owner is who has a session, and what it is to be told.
type owner struct {
	shared bool           // the socket is of a listener
	open   func()         // sends what opens the session once more; nil: nothing does
	forget func()         // is called before kcp-go forgets the session; may be nil
	left   func(*session) // is called when all of it has ended
}

// newSession starts a session.
func newSession(u *kcp.UDPSession, config *Config, local net.Addr, o owner) *link {
	config.tune(u)
	outer, out := net.Pipe()
	s := &session{
		kcp: u, out: out, in: newInbox(), config: config, owner: o,
		parted: make(chan struct{}), killed: make(chan struct{}), gone: make(chan struct{}),
	}
	s.linger = time.AfterFunc(lingering, func() { s.kill(nil) })
	s.linger.Stop()
	pumps := []func(){s.send, s.receive}
	if o.open != nil {
		pumps = append(pumps, s.repeat)
	}
	s.running.Store(int32(len(pumps)))
	for _, pump := range pumps {
		go func() {
			pump()
			if s.running.Add(-1) == 0 {
				o.left(s)
				close(s.gone)
			}
		}()
	}
	return &link{s, outer, local, u.RemoteAddr()}
}

// repeat opens the session again, ever more seldom, until something has come.
func (s *session) repeat() {
	pause := firstRepeat
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.killed:
			return
		}
		if s.heard.Load() {
			return
		}
		s.owner.open()
		pause = min(2*pause, lastRepeat)
		timer.Reset(pause)
	}
}

// kill ends everything at once.
func (s *session) kill(cause error) {
	s.killing.Do(func() {
		if cause != nil && !s.leaving.Load() {
			s.cause.Store(&cause)
		}
		close(s.killed)
		s.linger.Stop()
		if s.owner.forget != nil {
			s.owner.forget()
		}
		s.kcp.Close()
		s.out.Close()
		if cause == nil {
			cause = io.EOF
		}
		s.in.finish(cause)
	})
}

// broken kills after an error of kcp-go.
func (s *session) broken(err error) {
	s.kill(&conn.CloseError{Code: conn.CodeUnreachable, Err: err})
}

// send carries what is written to the link, and signs of life.
func (s *session) send() {
	buf := make([]byte, headSize+maxChunk)
	for {
		_ = s.out.SetReadDeadline(time.Now().Add(s.config.KeepAlive)) // fails only if it is closed
		n, err := s.out.Read(buf[headSize:])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break // closed by the link, or by receive
		}
		if n == 0 && err == nil {
			continue
		}
		binary.BigEndian.PutUint16(buf, uint16(n)) // 0: alive
		if err := s.write(buf[:headSize+n]); err != nil {
			s.broken(err)
			return
		}
	}
	s.part()
}

// abandon ends a session whose handshake has not succeeded: it tells the other
// end once, if kcp-go takes that without waiting.
func (s *session) abandon() {
	if s.writing.TryLock() {
		_ = s.kcp.SetWriteDeadline(time.Unix(1, 0)) // never fails
		_, _ = s.kcp.Write(head(end))
		s.writing.Unlock()
	}
	s.kill(nil)
}

// write has kcp-go take p.
func (s *session) write(p []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.kcp.Write(p)
	return err
}

// part says that no more comes, waits until the other end has said so, too, and
// then for the last packets to leave. It does not matter much if they get lost.
func (s *session) part() {
	s.linger.Reset(lingering) // kcp-go may have no room
	if err := s.write(head(end)); err != nil {
		s.broken(err)
		return
	}
	select {
	case <-s.parted:
		timer := time.NewTimer(parting)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.killed:
		}
	case <-s.killed: // by linger, for example
	}
	s.kill(nil)
}

// receive carries what comes to the link, until the other end says that no more
// does.
func (s *session) receive() {
	idle := missedAlive * s.config.KeepAlive
	dead := time.AfterFunc(idle, func() { s.kill(errDead) })
	defer dead.Stop()
	var chunks dechunker
	buf := make([]byte, 4<<10) // kcp-go hands out a packet at a time
	for {
		dead.Reset(idle)
		n, err := s.kcp.Read(buf)
		s.heard.Store(true)
		dead.Stop() // to wait for the reader of the link is not to be dead
		if err != nil {
			s.broken(err)
			return
		}
		for rest := buf[:n]; len(rest) > 0; {
			var data []byte
			data, rest, err = chunks.next(rest)
			if err != nil {
				s.kill(&conn.CloseError{Code: conn.CodeProtocol, Err: err})
				return
			}
			if len(data) > 0 {
				s.in.put(data)
			}
		}
		if chunks.ended {
			close(s.parted)
			s.in.finish(io.EOF)
			s.out.Close()
			return
		}
	}
}
