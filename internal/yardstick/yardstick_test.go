package yardstick_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/internal/yardstick"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a Writer sends, in frames with any header, Read returns.
func TestFrames(t *testing.T) {
	for _, header := range []int{4, 9} {
		for _, yield := range []bool{false, true} {
			r, w := io.Pipe()
			out := yardstick.NewWriter(w, header, yield)
			go func() {
				for i := range 1000 {
					out.Send(bytes.Repeat([]byte{byte(i)}, i%100))
				}
			}()
			got := 0
			err := yardstick.Read(r, header, make([]byte, 300), func(p []byte) bool {
				if !bytes.Equal(p, bytes.Repeat([]byte{byte(got)}, got%100)) {
					t.Fatalf("message %d is %x", got, p)
				}
				got++
				return got < 1000
			})
			if err != nil || got != 1000 {
				t.Errorf("header %d: Read = %v after %d messages, want all", header, err, got)
			}
			go out.SendNow([]byte("now"))
			if err := yardstick.Read(r, header, nil, func(p []byte) bool { return string(p) != "now" }); err != nil {
				t.Error(err)
			}
			out.Close()
		}
	}
	if err := yardstick.Read(&bytes.Buffer{}, 4, nil, nil); err != io.EOF {
		t.Errorf("Read at the end = %v, want %v", err, io.EOF)
	}
}

// A comparison of the same with the same carries as much over both, and reports
// a ratio.
func TestCompare(t *testing.T) {
	raw, ours := yardstick.Lanes(yardstick.TCP(t, 3)), yardstick.Lanes(yardstick.TCP(t, 3))
	var counts [2]count
	for i, lanes := range [][]yardstick.Lane{raw, ours} {
		lanes[1].R = io.TeeReader(lanes[1].R, &counts[i])
	}
	testing.Benchmark(func(b *testing.B) {
		if b.N > 1 { // once is enough
			b.SkipNow()
		}
		yardstick.Compare(b, 1<<20, raw, ours)
	})
	if counts[0] == 0 || counts[0] != counts[1] {
		t.Errorf("%d bytes were carried over one and %d over the other, want as many", counts[0], counts[1])
	}
	if d := yardstick.Messages(t, raw, 100)(10); d <= 0 || d > time.Minute {
		t.Errorf("messages took %v", d)
	}
}

type count int

func (c *count) Write(p []byte) (int, error) { *c += count(len(p)); return len(p), nil }
