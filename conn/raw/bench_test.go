package raw_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// All benchmarks compare with net.Conn in the same run, and report the ratio of
// the rates as of-raw: 1 is as fast. Only ratios mean anything.

// meter counts the bytes of messages with a length in four bytes.
type meter struct {
	frames
	want  atomic.Int64
	got   atomic.Int64
	ended chan struct{}
}

// frames are messages after their length in four bytes.
type frames struct{}

func (frames) NewDecoder(raw.Info) raw.Decoder { return frames{} }
func (frames) NewEncoder(raw.Info) raw.Encoder { return frames{} }

func (frames) Decode(data []byte) (int, []byte, error) {
	if len(data) < 4 {
		return 0, nil, nil
	}
	n := 4 + int(binary.BigEndian.Uint32(data))
	if n > len(data) {
		return 0, nil, nil
	}
	return n, data[4:n], nil
}

func (frames) Encode(dst, msg []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(msg))), msg...), nil
}

func (m *meter) OnMessage(_ context.Context, _ *raw.Conn, msg []byte) {
	if m.got.Add(1) == m.want.Load() {
		m.ended <- struct{}{}
	}
}

// sendAll sends messages over each connection and returns when all have come.
func sendAll(b *testing.B, conns []*raw.Conn, size, each int, came <-chan struct{}) time.Duration {
	msg := make([]byte, size)
	var work sync.WaitGroup
	began := time.Now()
	for _, c := range conns {
		work.Go(func() {
			for range each {
				if err := c.SendWait(context.Background(), msg); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	<-came
	return time.Since(began)
}

// ofRaw reports how much of the rate of raw streams there is.
func ofRaw(b *testing.B, rawTook, took time.Duration) {
	b.ReportMetric(rawTook.Seconds()/took.Seconds(), "of-raw")
}

func BenchmarkOneWay(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		for _, size := range []int{1, 16, 128, 256, 4096, 32768, 1 << 20} {
			b.Run(fmt.Sprintf("conns=%d/size=%d", conns, size), func(b *testing.B) {
				bare := yardstick.Lanes(yardstick.TCP(b, conns))
				m := &meter{ended: make(chan struct{}, 1)}
				_, addr := listen(b, m, raw.Config{MaxPerPrefix: -1, MaxFrame: 2 << 20})
				client := start(b, frames{}, raw.Config{MaxPerPrefix: -1})
				var all []*raw.Conn
				for range conns {
					all = append(all, connect(b, client, addr))
				}
				yardstick.ByTurns(b, size, conns, yardstick.Messages(b, bare, size),
					func(each int) time.Duration {
						m.got.Store(0)
						m.want.Store(int64(each * conns))
						return sendAll(b, all, size, each, m.ended)
					})
			})
		}
	}
}

// A drain counts the bytes that come, of any size at a time.
type drain struct {
	left atomic.Int64
	all  chan struct{}
}

func (d *drain) OnMessage(_ context.Context, _ *raw.Conn, msg []byte) {
	if d.left.Add(-int64(len(msg))) == 0 {
		d.all <- struct{}{}
	}
}

// BenchmarkBytes is BenchmarkOneWay without decoder and encoder: what is read is
// delivered as it comes.
func BenchmarkBytes(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		for _, size := range []int{256, 4096, 32768, 1 << 20} {
			b.Run(fmt.Sprintf("conns=%d/size=%d", conns, size), func(b *testing.B) {
				bare := yardstick.Lanes(yardstick.TCP(b, conns))
				d := &drain{all: make(chan struct{}, 1)}
				_, addr := listen(b, d, raw.Config{MaxPerPrefix: -1})
				client := start(b, nil, raw.Config{MaxPerPrefix: -1})
				var all []*raw.Conn
				for range conns {
					all = append(all, connect(b, client, addr))
				}
				yardstick.ByTurns(b, size, conns, yardstick.Messages(b, bare, size),
					func(each int) time.Duration {
						d.left.Store(int64(each * size * conns))
						return sendAll(b, all, size, each, d.all)
					})
			})
		}
	}
}

// acceptAll accepts until the listener closes, reads each until its end, and tells
// of each that has come.
func acceptAll(l net.Listener, came chan<- struct{}) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		came <- struct{}{}
		go func() {
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		}()
	}
}

// arriving tells of each connection that has come.
type arriving struct{ came chan struct{} }

func (a arriving) OnConnect(context.Context, *raw.Conn) error { a.came <- struct{}{}; return nil }

// BenchmarkSetup makes connections until both ends have them: in turns with
// net.Dial, one after the other (with the time until they are closed, too: cycle),
// and from eight goroutines at once.
func BenchmarkSetup(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	came := make(chan struct{}, 100)
	go acceptAll(l, came)
	config := raw.Config{MaxPerPrefix: -1, MaxConns: -1}
	_, addr := listen(b, arriving{came}, config)
	client := start(b, nil, config)
	dial := func() func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Error(err)
			return func() {}
		}
		return func() { c.Close() }
	}
	connect := func() func() {
		c, err := client.Connect(context.Background(), addr)
		if err != nil {
			b.Error(err)
			return func() {}
		}
		return func() { c.Disconnect(nil); <-c.Done() }
	}
	for _, tt := range []struct {
		name    string
		dialers int
		cycle   bool
	}{{"alone", 1, false}, {"cycle", 1, true}, {"eight", 8, false}} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			var rawTook, took time.Duration
			for range max(1, b.N/tt.dialers) {
				rawTook += setUp(dial, tt.dialers, came, tt.cycle)
				took += setUp(connect, tt.dialers, came, tt.cycle)
			}
			ofRaw(b, rawTook, took)
			b.ReportMetric(float64(max(b.N, tt.dialers))/took.Seconds(), "conns/s")
		})
	}
}

// setUp makes connections at once, and returns how long that took.
func setUp(dial func() func(), dialers int, came <-chan struct{}, cycle bool) (took time.Duration) {
	closes := make([]func(), dialers)
	began := time.Now()
	if dialers == 1 {
		closes[0] = dial()
	} else {
		var all sync.WaitGroup
		for i := range closes {
			all.Go(func() { closes[i] = dial() })
		}
		all.Wait()
	}
	for range closes {
		<-came
	}
	if !cycle {
		took = time.Since(began)
	}
	for _, f := range closes {
		f()
	}
	if cycle {
		took = time.Since(began)
	}
	return took
}

// BenchmarkNode starts a node with a listener and shuts it down.
func BenchmarkNode(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		n, err := raw.New(&hooks{}, raw.Config{Address: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := n.Listen(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := n.Shutdown(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle measures the memory of an idle connection, both ends, beyond two
// net.Conns with a goroutine each that reads. Run it with -benchtime 1x.
func BenchmarkIdle(b *testing.B) {
	const conns = 1000
	before := yardstick.Memory()
	x, y := yardstick.TCP(b, conns)
	for i := range conns {
		for _, c := range []net.Conn{x[i], y[i]} {
			go func() {
				for buf := make([]byte, 16); ; {
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			}()
		}
	}
	bare := yardstick.Memory() - before
	before = yardstick.Memory()
	m := &meter{ended: make(chan struct{}, 1)}
	m.want.Store(conns)
	a, addr := listen(b, m, raw.Config{MaxConns: -1, MaxPerPrefix: -1})
	client := start(b, frames{}, raw.Config{MaxConns: -1, MaxPerPrefix: -1})
	for range conns {
		if err := connect(b, client, addr).Send([]byte("one message each")); err != nil {
			b.Fatal(err)
		}
	}
	<-m.ended
	until(b, "all are there", func() bool { return a.NumConnected() == conns })
	own := yardstick.Memory() - before
	b.ReportMetric(float64(bare)/(2*conns), "raw-B/end")
	b.ReportMetric(float64(own-bare)/(2*conns), "more-B/end")
	b.ReportMetric(0, "ns/op")
}

// echoing sends back what it gets.
type echoing struct{ frames }

func (*echoing) OnMessage(_ context.Context, c *raw.Conn, msg []byte) { _ = c.Send(msg) }
