//go:build !linux

package quic

import (
	"net"

	"golang.org/x/net/ipv4"
)

// batched returns w: UDP_GRO is of Linux.
func batched(w *wire, _ bool) net.PacketConn { return w }

// ReadBatch reads one packet into ms[0]. Without it, quic-go would read from the
// first socket for ever.
func (w *wire) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	m := &ms[0]
	for {
		udp := w.current.Load()
		n, oobn, flags, from, err := udp.ReadMsgUDP(m.Buffers[0], m.OOB)
		if err == nil {
			w.heard()
			m.N, m.NN, m.Flags, m.Addr = n, oobn, flags, from
			return 1, nil
		}
		if !w.again(udp) {
			return 0, err
		}
	}
}

// writeApart writes as always: quic-go joins packets on Linux alone.
func (w *wire) writeApart(p, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	return w.writeMsg(p, oob, to)
}
