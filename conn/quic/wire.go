package quic

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// wsaMessageSize is what Windows says of a packet that is too large.
const wsaMessageSize = syscall.Errno(10040)

// A wire is the UDP socket that a quic.Transport reads and writes. What one
// write fails for is one lost packet, no more: quic-go would end the connection
// when a route is gone for a moment. And the socket can be exchanged under
// connections that are stuck.
//
// quic-go reads from one goroutine and writes from many.
type wire struct {
	*net.UDPConn // the first socket; current is what is used
	current      atomic.Pointer[net.UDPConn]
	noGSO        bool
	lost         func(to *net.UDPAddr, err error) // is told of packets that could not be sent

	reads      atomic.Uint64 // calls that returned packets
	unanswered atomic.Int64  // bytes written since the last of them

	mu       sync.Mutex // guards what follows
	deadline time.Time
	parked   chan struct{} // not nil: there is no socket, and reads wait until it closes
	ended    bool
}

func newWire(udp *net.UDPConn, noGSO bool, lost func(*net.UDPAddr, error)) *wire {
	w := &wire{UDPConn: udp, noGSO: noGSO, lost: lost}
	w.current.Store(udp)
	return w
}

// exchange goes on with another socket, and closes the one before.
func (w *wire) exchange(udp *net.UDPConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.parked != nil {
		udp.Close()
		return
	}
	_ = udp.SetReadDeadline(w.deadline) // fails only on a closed one
	w.current.Swap(udp).Close()
}

// park closes the socket and leaves the quic.Transport over it alive: it still
// has an entry for every connection that began there.
func (w *wire) park() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.parked != nil {
		return
	}
	w.parked = make(chan struct{})
	w.current.Load().Close()
}

func (w *wire) isParked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parked != nil
}

// Close closes the socket and ends reads.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil
	}
	w.ended = true
	if w.parked != nil {
		return nil // the socket is closed, and quic-go has stopped reading
	}
	return w.current.Load().Close()
}

// SetReadDeadline bounds reads, over exchanges of the socket too: quic-go ends
// its reader with it.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	if w.parked != nil {
		if !t.IsZero() {
			close(w.parked)
			w.parked = make(chan struct{})
		}
		return nil
	}
	return w.current.Load().SetReadDeadline(t)
}

// again reports whether a read of udp that failed is to be tried again, because
// the socket was exchanged. It waits while there is none.
func (w *wire) again(udp *net.UDPConn) bool {
	w.mu.Lock()
	parked, ended := w.parked, w.ended
	w.mu.Unlock()
	if ended {
		return false
	}
	if parked != nil {
		<-parked
		return false
	}
	return w.current.Load() != udp
}

func (w *wire) heard() {
	w.reads.Add(1)
	w.unanswered.Store(0)
}

// ReadFrom is for the systems where quic-go reads packet by packet.
func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		udp := w.current.Load()
		n, a, err := udp.ReadFrom(p)
		if err == nil {
			w.heard()
			return n, a, nil
		}
		if !w.again(udp) {
			return n, a, err
		}
	}
}

// WriteTo is for the systems where quic-go writes without control messages.
func (w *wire) WriteTo(p []byte, to net.Addr) (int, error) {
	w.unanswered.Add(int64(len(p)))
	n, err := w.current.Load().WriteTo(p, to)
	if u, ok := to.(*net.UDPAddr); ok && err != nil && w.isLoss(err) {
		w.lost(u, err)
		return len(p), nil
	}
	return n, err
}

// WriteMsgUDP writes one packet, or several that control messages tell apart.
func (w *wire) WriteMsgUDP(p, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	w.unanswered.Add(int64(len(p)))
	if w.noGSO {
		return w.writeApart(p, oob, to)
	}
	return w.writeMsg(p, oob, to)
}

func (w *wire) writeMsg(p, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	at := to.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port()) // a socket of IPv4 alone takes no other
	n, oobn, err = permitted(func() (int, int, error) { return w.current.Load().WriteMsgUDPAddrPort(p, oob, at) })
	if err != nil && w.isLoss(err) {
		w.lost(to, err)
		return len(p), len(oob), nil
	}
	return n, oobn, err
}

// permitted writes once more where the system says that it is not permitted: the
// first call on a socket may say so (golang/go#63322), and a firewall.
func permitted(write func() (n, oobn int, err error)) (n, oobn int, err error) {
	if n, oobn, err = write(); errors.Is(err, syscall.EPERM) {
		n, oobn, err = write()
	}
	return n, oobn, err
}

// isLoss reports whether a packet that could not be sent is simply lost. What
// quic-go acts on is not: a packet that is too large tells of the path, and EIO
// that the device cannot take joined packets apart. Nor is the end of the
// socket, unless another has taken its place.
func (w *wire) isLoss(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return !w.ended
	}
	return !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, wsaMessageSize) && !errors.Is(err, syscall.EIO)
}

// A tolerant is a caller's own socket, of which a failed write is a lost packet
// too. It hides what else the socket can do: every packet goes through its
// ReadFrom and WriteTo.
type tolerant struct{ net.PacketConn }

func (t tolerant) WriteTo(p []byte, to net.Addr) (int, error) {
	if _, err := t.PacketConn.WriteTo(p, to); err != nil && errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(p), nil
}
