package secure

import (
	"strconv"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/internal/yardstick"
)

// tcpPair returns both ends of a connection over a socket.
func tcpPair(t *testing.T) (a, b *secured) {
	t.Helper()
	x, y := yardstick.TCP(t, 1)
	return pair(t, x[0], y[0])
}

// Sending allocates nothing, however much at a time. The other end takes what is
// on the wire.
func TestSendingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, size := range []int{1, 256, recordSize, recordSize + 1, 256 << 10} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			a, b := tcpPair(t)
			var work sync.WaitGroup
			onWire := 0
			work.Go(func() {
				for buf := make([]byte, 64<<10); ; {
					n, err := b.wire.Conn.Read(buf)
					if onWire += n; err != nil {
						return
					}
				}
			})
			const runs = 500
			p := make([]byte, size)
			got := testing.AllocsPerRun(runs, func() {
				if _, err := a.Write(p); err != nil {
					t.Error(err)
				}
			})
			if got != 0 {
				t.Errorf("%v allocations to send %d bytes, want none", got, size)
			}
			a.Close(nil)
			work.Wait()
			if onWire < runs*size {
				t.Errorf("%d bytes were on the wire, want %d at least", onWire, runs*size)
			}
		})
	}
}

// Receiving allocates at most once for each Read, and a record is one Read.
func TestReceivingAllocatesAtMostOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, size := range []int{1, 256, recordSize, 4 * recordSize} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			a, b := tcpPair(t)
			p, in := make([]byte, size), make([]byte, size)
			got := testing.AllocsPerRun(500, func() {
				if _, err := a.Write(p); err != nil {
					t.Error(err)
				}
				for left := size; left > 0; {
					n, err := b.Read(in)
					if left -= n; err != nil {
						t.Error(err)
						return
					}
				}
			})
			records := float64((size + recordSize - 1) / recordSize)
			if got > records {
				t.Errorf("%v allocations to send and receive %d bytes, want at most %v, one for each record", got, size, records)
			}
		})
	}
}
