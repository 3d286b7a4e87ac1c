package secure

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plexus-net/plexus/conn"
)

// tcpInfo adds what the kernel knows of a TCP connection to s.
func tcpInfo(raw syscall.RawConn, s *conn.TransportStats) {
	var info *unix.TCPInfo
	err := raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) // nil on error
	})
	if err != nil || info == nil {
		return
	}
	s.RTT = time.Duration(info.Rtt) * time.Microsecond
	s.RTTVariation = time.Duration(info.Rttvar) * time.Microsecond
	if info.Min_rtt != ^uint32(0) {
		s.MinRTT = time.Duration(info.Min_rtt) * time.Microsecond
	}
	s.PacketsSent, s.PacketsReceived = uint64(info.Segs_out), uint64(info.Segs_in)
	s.PacketsLost = uint64(info.Total_retrans)
}
