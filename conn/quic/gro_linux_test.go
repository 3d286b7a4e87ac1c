package quic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
	"weak"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/plexus-net/plexus/identity"
)

// control returns a control message with a body.
func control(level, kind int32, body []byte) []byte {
	p := make([]byte, unix.CmsgSpace(len(body)))
	binary.NativeEndian.PutUint64(p, uint64(unix.CmsgLen(len(body))))
	binary.NativeEndian.PutUint32(p[8:], uint32(level))
	binary.NativeEndian.PutUint32(p[12:], uint32(kind))
	copy(p[unix.CmsgLen(0):], body)
	return p
}

func TestSegment(t *testing.T) {
	size := binary.NativeEndian.AppendUint32(nil, 1252)
	tos := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2})
	tests := []struct {
		name string
		in   []byte
		want int
	}{
		{"none", nil, 0},
		{"only another", tos, 0},
		{"alone", control(unix.IPPROTO_UDP, unix.UDP_GRO, size), 1252},
		{"after another", append(bytes.Clone(tos), control(unix.IPPROTO_UDP, unix.UDP_GRO, size)...), 1252},
		{"16 bits", control(unix.IPPROTO_UDP, unix.UDP_GRO, size[:2]), 1252},
		{"too short", control(unix.IPPROTO_UDP, unix.UDP_GRO, size[:1]), 0},
		{"too large", control(unix.IPPROTO_UDP, unix.UDP_GRO, []byte{255, 255, 255, 255}), groSize},
		{"cut off", tos[:5], 0},
	}
	for _, test := range tests {
		if got := segment(test.in); got != test.want {
			t.Errorf("%s: segment = %d, want %d", test.name, got, test.want)
		}
	}
}

// FuzzSplit checks that taking apart ends, keeps every byte that fits and
// never reads beyond what was received.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("abcdefgh"), control(unix.IPPROTO_UDP, unix.UDP_GRO, []byte{3, 0, 0, 0}))
	f.Add([]byte(""), []byte{})
	f.Fuzz(func(t *testing.T, data, oob []byte) {
		if len(data) > groSize || len(oob) > groControl {
			t.Skip()
		}
		from := ipv4.Message{Buffers: [][]byte{append(bytes.Clone(data), "beyond"...)}, OOB: oob, N: len(data), NN: len(oob)}
		to := ipv4.Message{Buffers: [][]byte{make([]byte, groSize)}, OOB: make([]byte, groControl)}
		var got []byte
		for offset := 0; offset < len(data); {
			next := split(&to, &from, offset)
			if next <= offset {
				t.Fatalf("no progress at %d", offset)
			}
			got, offset = append(got, to.Buffers[0][:to.N]...), next
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("got %q, want %q", got, data)
		}
	})
}

// TestReadBatch sends packets in one system call, as quic-go does, and receives
// them through the wrapper one by one.
func TestReadBatch(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(host, func(t *testing.T) { readBatch(t, host) })
	}
}

func readBatch(t *testing.T, host string) {
	pc, err := net.ListenPacket("udp", host)
	if err != nil {
		t.Skipf("no such address here: %v", err)
	}
	defer pc.Close()
	g := batched(newWire(pc.(*net.UDPConn), false, nil), true).(*groConn)
	if g.messages == nil {
		t.Skip("the system refuses UDP_GRO")
	}
	to := pc.LocalAddr().(*net.UDPAddr)
	if to.IP.IsUnspecified() {
		to = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port}
	}
	out, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	sent := sendJoined(t, out)
	if err := g.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ms := make([]ipv4.Message, 8)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, groControl)
	}
	var got [][]byte
	for len(got) < len(sent) {
		n, err := g.ReadBatch(ms, 0)
		if err != nil {
			t.Fatalf("ReadBatch after %d packets: %v", len(got), err)
		}
		for _, m := range ms[:n] {
			got = append(got, bytes.Clone(m.Buffers[0][:m.N]))
			if m.Addr.(*net.UDPAddr).Port != out.LocalAddr().(*net.UDPAddr).Port {
				t.Errorf("a packet comes from %v, want %v", m.Addr, out.LocalAddr())
			}
		}
	}
	for i := range sent {
		if want := sent[i][:min(len(sent[i]), 1452)]; !bytes.Equal(got[i], want) {
			t.Errorf("packet %d: got %s, want %s", i, brief(got[i]), brief(want))
		}
	}
}

// TestGROAndGSO: sockets join packets on receiving and on sending unless the Config
// says no. A socket that leaves the joining of 200 packets to the kernel sends
// none, since it takes 128 at most; one that does without sends each.
func TestGROAndGSO(t *testing.T) {
	if !joins(listenUDPTest(t)) {
		t.Skip("the system refuses UDP_GRO")
	}
	for name, c := range map[string]Config{"default": {}, "neither": {NoGRO: true, NoGSO: true}} {
		tr := NewWith(c)
		defer tr.Close()
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		reader := listenUDPTest(t)
		to := reader.LocalAddr().(*net.UDPAddr)
		s, err := tr.socketFor(to, key)
		if err != nil {
			t.Fatal(err)
		}
		defer s.release()
		if got := s.conn.(*groConn).messages != nil; got == c.NoGRO {
			t.Errorf("%s: that packets are joined on receiving is %t, want %t", name, got, !c.NoGRO)
		}
		oob := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, 10))
		if _, _, err := s.wire.WriteMsgUDP(make([]byte, 2000), oob, to); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := tr.Stats().Lost == 0; got != c.NoGSO {
			t.Errorf("%s: that all packets were sent one by one is %t, want %t", name, got, c.NoGSO)
		}
	}
}

// TestParkedHoldsNoBuffers: a socket that was left, under a connection that may
// live for long, holds no buffers.
func TestParkedHoldsNoBuffers(t *testing.T) {
	g := batched(newWire(listenUDPTest(t), false, nil), true).(*groConn)
	if g.messages == nil {
		t.Skip("the system refuses UDP_GRO")
	}
	buffer := weak.Make(&g.messages[0].Buffers[0][0])
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
		_, _ = g.ReadBatch(ms, 0)
	}()
	g.park()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; buffer.Value() != nil; n++ {
		if n == 500 {
			t.Error("the buffers are held")
			break
		}
		<-tick.C
		runtime.GC()
	}
	g.SetReadDeadline(time.Now()) // as quic-go does when it closes
	<-ended
	g.Close()
}

// sendJoined sends 30 packets of 1000 bytes and one of 100 in one system call,
// then one that is empty and one larger than the reader takes.
func sendJoined(t *testing.T, out *net.UDPConn) (sent [][]byte) {
	for i := range 31 {
		sent = append(sent, bytes.Repeat([]byte{byte('a' + i)}, 1000-900*(i/30)))
	}
	oob := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, 1000))
	if _, _, err := out.WriteMsgUDP(bytes.Join(sent, nil), oob, nil); err != nil {
		t.Skipf("the system refuses UDP_SEGMENT: %v", err)
	}
	for _, p := range [][]byte{{}, bytes.Repeat([]byte("z"), 3000)} {
		if _, err := out.Write(p); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, p)
	}
	return sent
}

func brief(p []byte) string { return fmt.Sprintf("%d bytes %.8q", len(p), p) }
