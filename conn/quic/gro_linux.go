package quic

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// How much one system call takes: so many buffers, each for what the kernel
// joins into one.
const (
	groBuffers = 4
	groSize    = 64 << 10
	groControl = 128 // bytes of control messages, as in quic-go
)

// A groConn is a wire with UDP_GRO: the kernel joins packets of one sender, and
// ReadBatch takes them apart again. quic-go calls ReadBatch from one goroutine
// and, because the method is there, reads in no other way.
type groConn struct {
	*wire
	from     *net.UDPConn     // where batch reads
	batch    *ipv4.PacketConn // for IPv6 too: only its recvmmsg is used
	messages []ipv4.Message   // nil: without UDP_GRO
	waiting  []ipv4.Message   // received and not yet handed on; the first in part
	offset   int              // of waiting[0]: what was handed on
}

// batched returns w with reads in batches, and with UDP_GRO where gro asks for
// it and the system has it.
func batched(w *wire, gro bool) net.PacketConn {
	g := &groConn{wire: w}
	if gro && joins(w.UDPConn) {
		g.messages = make([]ipv4.Message, groBuffers)
		for i := range g.messages {
			g.messages[i].Buffers = [][]byte{make([]byte, groSize)}
			g.messages[i].OOB = make([]byte, groControl)
		}
	}
	return g
}

// joins switches UDP_GRO on and reports whether the system has it.
func joins(udp *net.UDPConn) bool {
	raw, err := udp.SyscallConn()
	if err != nil {
		return false
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	return err == nil && refused == nil
}

// receive fills ms with what one system call returns, from the socket of now.
func (g *groConn) receive(ms []ipv4.Message, flags int) (int, error) {
	for {
		udp := g.current.Load()
		if udp != g.from {
			if g.from != nil && g.messages != nil {
				joins(udp)
			}
			g.from, g.batch = udp, ipv4.NewPacketConn(udp)
		}
		n, err := g.batch.ReadBatch(ms, flags)
		if err == nil {
			g.heard()
			return n, nil
		}
		if g.isParked() {
			ms, g.messages = nil, nil // what waits for long, and reads no more, holds no buffers
		}
		if !g.again(udp) {
			return 0, err
		}
	}
}

// ReadBatch fills ms with one packet each. It waits for the first.
func (g *groConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if g.messages == nil {
		return g.receive(ms, flags)
	}
	if len(g.waiting) == 0 {
		n, err := g.receive(g.messages, flags)
		if err != nil {
			return 0, err
		}
		g.waiting, g.offset = g.messages[:n], 0
	}
	filled := 0
	for filled < len(ms) && len(g.waiting) > 0 {
		from := &g.waiting[0]
		g.offset = split(&ms[filled], from, g.offset)
		filled++
		if g.offset >= from.N {
			g.waiting, g.offset = g.waiting[1:], 0
		}
	}
	return filled, nil
}

// split copies the packet of from that begins at offset to to, with address
// and control messages, and returns where the next one begins. What does not
// fit is cut off, as the kernel does.
func split(to, from *ipv4.Message, offset int) int {
	end := from.N
	if size := segment(from.OOB[:from.NN]); size > 0 {
		end = min(end, offset+size)
	}
	to.N = copy(to.Buffers[0], from.Buffers[0][offset:end])
	to.NN = copy(to.OOB, from.OOB[:from.NN])
	to.Addr, to.Flags = from.Addr, from.Flags
	return end
}

// segment returns the size of the packets that the kernel has joined, all but
// the last being as large; 0: there is one.
func segment(control []byte) int {
	for len(control) > 0 {
		header, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO {
			switch {
			case len(body) >= 4: // an int
				return int(min(binary.NativeEndian.Uint32(body), groSize))
			case len(body) >= 2:
				return int(binary.NativeEndian.Uint16(body))
			}
			return 0
		}
		control = rest
	}
	return 0
}

// writeApart writes packets that UDP_SEGMENT would have the kernel take apart,
// one by one.
func (w *wire) writeApart(p, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	size, rest := segmentOut(oob)
	if size <= 0 {
		return w.writeMsg(p, oob, to)
	}
	for n < len(p) {
		end := min(n+size, len(p))
		if _, _, err := w.writeMsg(p[n:end], rest, to); err != nil {
			return n, 0, err
		}
		n = end
	}
	return n, len(oob), nil
}

// segmentOut returns the packet size that UDP_SEGMENT tells, 0 for none, and the
// other control messages.
func segmentOut(control []byte) (size int, others []byte) {
	for len(control) > 0 {
		header, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return size, append(others, control...)
		}
		if header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_SEGMENT && len(body) >= 2 {
			size = int(binary.NativeEndian.Uint16(body))
		} else {
			others = append(others, control[:len(control)-len(rest)]...)
		}
		control = rest
	}
	return size, others
}
