package endpoint_test

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/internal/faultproxy"
)

// Over a network that loses a tenth, and repeats and reorders some, datagrams
// come in order, and every gap is counted.
func TestDatagramsOverABadNetwork(t *testing.T) {
	const enough = 3000
	var mu sync.Mutex
	var got []uint64
	done := make(chan struct{})
	r := newRideWith(t, "quic", 1, endpoint.Config{Patience: 10 * time.Second}, func(cfg *endpoint.Config) {
		cfg.OnDatagram = func(p []byte) {
			mu.Lock()
			defer mu.Unlock()
			if got = append(got, binary.BigEndian.Uint64(p)); len(got) == enough {
				close(done)
			}
		}
	})
	if err := r.connect(); err != nil {
		t.Fatal(err)
	}
	r.udp.SetWeather(faultproxy.Weather{Drop: 0.1, Duplicate: 0.02, Reorder: 0.02})
	pace := time.NewTicker(time.Millisecond) // more at once than a socket holds would be lost there
	defer pace.Stop()
	sent := uint64(0)
	for going := true; going; {
		select {
		case <-pace.C:
			for range 10 {
				sent++
				if err := r.ends[0].SendDatagram(binary.BigEndian.AppendUint64(nil, sent)); err != nil {
					t.Fatal(err)
				}
			}
		case <-done:
			going = false
		}
	}
	r.udp.SetWeather(faultproxy.Weather{})
	r.ends[0].Disconnect(nil)
	r.finishBroken()
	mu.Lock()
	defer mu.Unlock()
	gaps, before := uint64(0), uint64(0)
	for _, n := range got {
		if n <= before {
			t.Fatalf("%d has come after %d", n, before)
		}
		gaps += n - before - 1
		before = n
	}
	s := r.ends[1].Stats()
	if s.DatagramsMissed != gaps || s.DatagramsReceived != uint64(len(got)) || r.ends[0].Stats().DatagramsSent != sent {
		t.Errorf("%d datagrams were sent, %d came, with gaps of %d: %+v", sent, len(got), gaps, s)
	}
	if gaps < sent/50 {
		t.Errorf("%d of %d datagrams are missing: the network does not lose any", gaps, sent)
	}
	t.Logf("%d sent, %d came in order, %d missed, %d late", sent, len(got), gaps, s.DatagramsLate)
}

// The client's address changes while messages go both ways, by a NAT and by its
// own doing: the endpoint stays on its connection and knows nothing of it.
func TestAddressChangesAreNoRenewals(t *testing.T) {
	const messages = 6000
	done := make(chan struct{})
	calls := make(chan int, 2)
	check := &checker{t: t, sum: newLetterer(1, 0).sum, want: messages, done: done, at: map[uint64]int{messages / 3: 0, 2 * messages / 3: 1}, cuts: calls}
	r := newRide(t, "quic", 1, endpoint.Config{Buffer: 64 << 10, MaxMessage: 8 << 10, Patience: 10 * time.Second}, check.take)
	if err := r.connect(); err != nil {
		t.Fatal(err)
	}
	r.udp.SetWeather(faultproxy.Weather{})
	for i := range r.ends {
		r.tasks.Go(func() {
			for n := range uint64(messages) {
				if err := r.ends[i].Send(r.ctx, append(binary.BigEndian.AppendUint64(nil, n+1), make([]byte, 200)...)); err != nil {
					t.Errorf("Send: %v", err)
					return
				}
			}
		})
	}
	back := make(chan struct{})
	r.tasks.Go(func() {
		defer close(back)
		for n := range uint64(messages) {
			p, err := r.ends[0].Recv(r.ctx)
			if err != nil || binary.BigEndian.Uint64(p) != n+1 {
				t.Errorf("Recv: %v", err)
				return
			}
		}
	})
	<-calls
	if err := r.udp.Rebind(); err != nil {
		t.Error(err)
	}
	<-calls
	if err := r.from.(*quic.Transport).Rebind(t.Context(), "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
	<-done
	<-back
	for i, e := range r.ends {
		if err := e.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if s := e.Stats(); s.Connections != 1 || s.Resent != 0 || s.Silences != 0 {
			t.Errorf("end %d: %+v", i, s)
		}
	}
	if n := r.udp.Stats().Rebinds; n != 1 {
		t.Errorf("the NAT has rebound %d sockets, want 1", n)
	}
	r.finish()
}
