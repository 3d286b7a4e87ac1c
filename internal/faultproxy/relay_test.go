package faultproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A pond is a relay between a client and a target.
type pond struct {
	*Relay
	t      *testing.T
	client *net.UDPConn
	target *net.UDPConn
	from   *net.UDPAddr // whom the target has last heard of
}

func newPond(t *testing.T, seed uint64) *pond {
	t.Helper()
	target, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &pond{Relay: UDP(t, target.LocalAddr().String(), seed), t: t, target: target}
	p.client = p.dial()
	if err := target.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return p
}

func (p *pond) dial() *net.UDPConn {
	p.t.Helper()
	c, err := net.Dial("udp4", p.Addr())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	return c.(*net.UDPConn)
}

func (p *pond) send(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		if _, err := p.client.Write([]byte(text)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// expect reads datagrams at the target.
func (p *pond) expect(texts ...string) {
	p.t.Helper()
	buf := make([]byte, 1<<16)
	for _, text := range texts {
		n, from, err := p.target.ReadFromUDP(buf)
		if err != nil || string(buf[:n]) != text {
			p.t.Fatalf("received %q, %v; want %q", buf[:n], err, text)
		}
		p.from = from
	}
}

// answer sends from the target to the client, and expects it there.
func (p *pond) answer(text string) {
	p.t.Helper()
	if _, err := p.target.WriteToUDP([]byte(text), p.from); err != nil {
		p.t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	if n, err := p.client.Read(buf); err != nil || string(buf[:n]) != text {
		p.t.Fatalf("received %q, %v; want %q", buf[:n], err, text)
	}
}

func TestRelay(t *testing.T) {
	p := newPond(t, 1)
	large := strings.Repeat("x", 60_000)
	p.send("question", "", large)
	p.expect("question", "", large)
	p.answer("answer")
	st := p.Stats()
	if st.Clients != 1 || st.Datagrams != [2]uint64{3, 1} || st.Bytes != [2]uint64{60_008, 6} || st.Dropped != [2]uint64{} {
		t.Errorf("Stats = %+v; want 3 datagrams up and 1 down", st)
	}
}

// through returns which of n datagrams reach the target, and in what order.
func (p *pond) through(n int) (got []string) {
	p.t.Helper()
	for i := range n {
		p.send(fmt.Sprint(i))
	}
	p.SetWeather(Weather{}) // when all were taken: the last one is spared
	p.send("end")
	buf := make([]byte, 100)
	for {
		k, err := p.target.Read(buf)
		if err != nil {
			p.t.Fatal(err)
		}
		if string(buf[:k]) == "end" {
			return got
		}
		got = append(got, string(buf[:k]))
	}
}

// settled waits until the relay has dealt with n datagrams.
func (p *pond) settled(n uint64) {
	p.t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for {
		st := p.Stats()
		if st.Datagrams[Up]-st.Duplicated[Up]+st.Dropped[Up] >= n {
			return
		}
		if time.Now().After(limit) {
			p.t.Fatalf("%+v, want %d datagrams", st, n)
		}
	}
}

// What is lost and repeated depends on the seed alone.
func TestWeather(t *testing.T) {
	run := func(seed uint64) []string {
		p := newPond(t, seed)
		p.SetWeatherOf(Up, Weather{Drop: 0.3, Duplicate: 0.2})
		for i := range 100 {
			p.send(fmt.Sprint(i))
		}
		p.settled(100)
		got := p.through(0)
		st := p.Stats()
		if int(st.Datagrams[Up])-1 != len(got) || st.Dropped[Up] < 10 || st.Dropped[Up] > 60 || st.Duplicated[Up] == 0 {
			t.Errorf("%d arrived, Stats = %+v; want about 30 lost of 100, and some repeated", len(got), st)
		}
		return got
	}
	first := run(3)
	if again := run(3); !slices.Equal(first, again) {
		t.Errorf("the same seed lets %q through, then %q", first, again)
	}
	if other := run(4); slices.Equal(first, other) {
		t.Error("another seed does the same")
	}
}

func TestReorder(t *testing.T) {
	p := newPond(t, 1)
	p.send("0")
	p.expect("0")
	p.SetWeather(Weather{Reorder: 1})
	p.mu.Lock() // at once: nobody's time comes between them
	for _, c := range p.clients {
		for _, text := range []string{"1", "2", "3"} {
			p.pass(c, Up, []byte(text))
		}
	}
	p.mu.Unlock()
	p.expect("2", "1", "3") // nothing overtakes the third, but its time comes
	if n := p.Stats().Reordered[Up]; n != 2 {
		t.Errorf("%d were held to be overtaken, want 2", n)
	}
}

// Delayed datagrams keep their order, also before those without delay.
func TestDelay(t *testing.T) {
	p := newPond(t, 1)
	p.SetWeather(Weather{Delay: 30 * time.Millisecond})
	began := time.Now()
	p.send("1", "2", "3")
	p.expect("1")
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("the first took %v, want at least 30ms", took)
	}
	p.expect("2", "3")
	p.answer("back")
}

func TestHole(t *testing.T) {
	p := newPond(t, 1)
	p.Blackhole()
	p.send("lost", "lost")
	p.settled(2)
	p.Heal()
	p.send("there")
	p.expect("there")
	if n := p.Stats().Dropped[Up]; n != 2 {
		t.Errorf("%d were dropped, want 2", n)
	}
}

// After Rebind the target sees another port, and what it sends to the old one is
// lost.
func TestRebind(t *testing.T) {
	p := newPond(t, 1)
	p.send("before")
	p.expect("before")
	old := p.from
	if err := p.Rebind(); err != nil {
		t.Fatal(err)
	}
	p.send("after")
	p.expect("after")
	if p.from.Port == old.Port {
		t.Errorf("the target sees port %d before and after", old.Port)
	}
	_, _ = p.target.WriteToUDP([]byte("to the old port"), old) // may tell that nobody is there
	p.answer("to the new port")
	if st := p.Stats(); st.Rebinds != 1 || st.Clients != 1 {
		t.Errorf("Stats = %+v, want one rebind of one client", st)
	}
}

// Clients that are known go on while new ones are not let in.
func TestRefuseClients(t *testing.T) {
	p := newPond(t, 1)
	p.send("1")
	p.expect("1")
	p.Refuse(true)
	known := p.client
	p.client = p.dial()
	p.send("new")
	p.settled(2)
	p.client = known
	p.send("2")
	p.expect("2")
	p.Refuse(false)
	p.client = p.dial()
	p.send("new")
	p.expect("new")
	if st := p.Stats(); st.Clients != 2 || st.Dropped[Up] != 1 {
		t.Errorf("Stats = %+v, want two clients and one datagram dropped", st)
	}
}

// Close ends pending delays; a closed relay passes nothing.
func TestCloseRelay(t *testing.T) {
	p := newPond(t, 1)
	p.SetWeather(Weather{Delay: time.Hour})
	p.send("never")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.client.Write([]byte("late")) // may tell that nobody is there
	if err := p.target.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := p.target.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a closed relay has passed %d bytes, %v", n, err)
	}
}

// What clients can make a relay keep is bounded.
func TestRelayIsBounded(t *testing.T) {
	p := newPond(t, 1)
	p.send("1")
	p.expect("1")
	p.SetWeather(Weather{Delay: time.Hour})
	p.mu.Lock()
	for _, c := range p.clients {
		for range maxHeld + 1 {
			p.pass(c, Up, nil)
		}
	}
	for port := uint16(1); len(p.clients) < maxClients; port++ {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 2}), port)
		p.clients[addr] = &client{addr: addr, socket: p.client}
	}
	p.mu.Unlock()
	p.client = p.dial()
	p.send("one too many")
	p.settled(3)
	if st := p.Stats(); st.Clients != maxClients || st.Dropped[Up] != 2 {
		t.Errorf("Stats = %+v; want %d clients, and two datagrams dropped", st, maxClients)
	}
}
