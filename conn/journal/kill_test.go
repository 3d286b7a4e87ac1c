//go:build unix

package journal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/journal"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// A process that has a journal and is killed, again and again, and one that lives
// and has none.

// In the environment of the one that is killed: what it does ("send" or
// "receive"), its file, the address of the other, and which of its lives it is.
const (
	jobEnv  = "JOURNAL_TEST_JOB"
	fileEnv = "JOURNAL_TEST_FILE"
	peerEnv = "JOURNAL_TEST_PEER"
	lifeEnv = "JOURNAL_TEST_LIFE"
)

const (
	kills = 15
	last  = "last" // is sent at the end
)

// work is the process that is killed. It prints a line for each message, and ends
// by itself when its input does, for then its parent is gone.
func work(job string) {
	if err := works(job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func works(job string) error {
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(orphaned)
	}()
	peer, err := identity.ParsePeerAddress(os.Getenv(peerEnv))
	if err != nil {
		return err
	}
	store, err := journal.Open(os.Getenv(fileEnv), quick)
	if err != nil {
		return err
	}
	mortal, _ := pair()
	h, err := hub.New(hub.Config{Key: mortal, Transports: []conn.Transport{tcp.New()}, Journal: store.For, Backoff: hub.Const(time.Millisecond)})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := h.Start(ctx); err != nil {
		return err
	}
	e, err := h.Add(peer)
	if err != nil {
		return err
	}
	if job == "send" {
		err = sends(ctx, e)
	} else {
		err = receives(ctx, e)
	}
	if err != nil {
		return err
	}
	<-orphaned
	return errors.Join(h.Close(ctx), store.Close())
}

// sends sends numbers, and prints each that Send has taken. The last life says that
// it is the last, and waits until all has been taken.
func sends(ctx context.Context, e *endpoint.Endpoint) error {
	if os.Getenv(lifeEnv) == fmt.Sprint(kills) {
		err := e.Deliver(ctx, []byte(last))
		fmt.Println(last)
		return err
	}
	for number := 1; ; number++ {
		if err := e.Send(ctx, fmt.Appendf(nil, "%s %d", os.Getenv(lifeEnv), number)); err != nil {
			return err
		}
		fmt.Println(number)
	}
}

// receives prints what comes, and then says that it is done with it.
func receives(ctx context.Context, e *endpoint.Endpoint) error {
	for {
		p, err := e.Recv(ctx)
		if err != nil {
			return err
		}
		fmt.Println(string(p))
		e.Ack()
		if string(p) == last {
			return nil
		}
	}
}

// A drama is the one that lives, and what becomes of the other.
type drama struct {
	t         *testing.T
	job, file string
	rng       *rand.Rand
	h         *hub.Hub
	e         *endpoint.Endpoint
}

func newDrama(t *testing.T, job string) *drama {
	d := &drama{t: t, job: job, file: file(t), rng: rand.New(rand.NewPCG(3, 4))}
	mortal, immortal := pair()
	var err error
	d.h, err = hub.New(hub.Config{Key: immortal, Transports: []conn.Transport{tcp.New()}, Listen: []identity.Address{{Scheme: "tcp", Host: "127.0.0.1:0"}}})
	must(t, err)
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel() // nobody is left to take anything
		_ = d.h.Close(over)
	})
	must(t, d.h.Start(t.Context()))
	d.e, err = d.h.Add(identity.PeerAddress{ID: mortal.ID()})
	must(t, err)
	return d
}

// live has the other live until it has printed as many lines, or the line last. It
// returns all that it has printed.
func (d *drama) live(life, lines int) (printed []string) {
	d.t.Helper()
	cmd := exec.Command(os.Args[0])
	peer := identity.PeerAddress{ID: d.h.Self(), Addresses: d.h.Addrs()}
	cmd.Env = append(os.Environ(), jobEnv+"="+d.job, fileEnv+"="+d.file, peerEnv+"="+peer.String(), fmt.Sprint(lifeEnv, "=", life))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	must(d.t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	must(d.t, err)
	must(d.t, cmd.Start())
	scan := bufio.NewScanner(out)
	if lines == 0 {
		must(d.t, cmd.Process.Kill())
	}
	for scan.Scan() { // what it has printed can be read when it is gone
		printed = append(printed, scan.Text())
		if len(printed) == lines {
			must(d.t, cmd.Process.Kill())
		}
		if scan.Text() == last {
			must(d.t, d.e.Flush(d.t.Context())) // it says that it is done with the last
			in.Close()
		}
	}
	if err := cmd.Wait(); err == nil && lines >= 0 || cmd.ProcessState.Exited() && cmd.ProcessState.ExitCode() != 0 {
		d.t.Fatalf("life %d has ended by itself: %v: %s", life, err, complaint.String())
	}
	return printed
}

// lines is how many lines a life prints before it is killed.
func (d *drama) lines(life int) int {
	if life%5 == 0 {
		return d.rng.IntN(3) // while it opens the file and connects
	}
	return 1 + d.rng.IntN(4000)
}

// The sender is killed: what Send has taken arrives, in order, once.
func TestSenderIsKilled(t *testing.T) {
	d := newDrama(t, "send")
	come := make(chan []string, 1)
	go func() {
		var all []string
		for p, err := range d.e.All(t.Context()) {
			if all = append(all, string(p)); err != nil || string(p) == last {
				break
			}
		}
		come <- all
	}()
	var sent [kills]int // how many numbers a life has printed
	for life := range kills {
		sent[life] = len(d.live(life, d.lines(life)))
	}
	d.live(kills, -1)
	all := <-come
	got, in := map[int]int{}, 0
	for _, line := range all[:len(all)-1] {
		var life, number int
		if _, err := fmt.Sscan(line, &life, &number); err != nil || life < in || number != got[life]+1 {
			t.Fatalf("%q came after number %d of that life, and after some of life %d: %v", line, got[life], in, err)
		}
		in, got[life] = life, number
	}
	for life, n := range sent {
		if got[life] < n || got[life] > n+1 { // one may have been taken and not be printed
			t.Errorf("of life %d came %d, it has sent %d", life, got[life], n)
		}
	}
	if s := d.e.Stats(); s.Restarts != 0 || int(s.Received) != len(all) {
		t.Errorf("%d messages have come: %+v", len(all), s)
	} else {
		t.Logf("%d lives, %d messages, %d connections", kills+1, len(all), s.Connections)
	}
}

// The receiver is killed: nothing is lost, the order is kept, and what it was done
// with and the sender knows of does not come again.
func TestReceiverIsKilled(t *testing.T) {
	d := newDrama(t, "receive")
	var known atomic.Int64 // up to which the receiver was done, as it has said
	ctx, hush := context.WithCancel(t.Context())
	defer hush()
	sent := make(chan error, 1)
	go func() {
		for number := 1; ctx.Err() == nil; number++ {
			send := d.e.Send
			if number%20 == 0 {
				send = d.e.Deliver
			}
			if err := send(t.Context(), fmt.Append(nil, number)); err != nil {
				sent <- err
				return
			}
			if number%20 == 0 {
				known.Store(int64(number))
			}
		}
		sent <- d.e.Send(t.Context(), []byte(last))
	}()
	got, again := 0, 0
	for life := range kills + 1 {
		before, lines := int(known.Load()), d.lines(life)
		if life == kills {
			hush()
			lines = -1 // until the last
		}
		next := 0
		for _, line := range d.live(life, lines) {
			if line == last {
				break
			}
			var number int
			if _, err := fmt.Sscan(line, &number); err != nil {
				t.Fatalf("life %d has printed %q", life, line)
			}
			switch {
			case next == 0 && number <= before:
				t.Errorf("life %d has received %d again, and had said that it was done up to %d", life, number, before)
			case next == 0 && number > got+1, next != 0 && number != next:
				t.Errorf("life %d has received %d after %d, %d of this life", life, number, got, next-1)
			}
			if next = number + 1; number <= got {
				again++
			}
			got = max(got, number)
		}
		if n := int(known.Load()); n > got {
			t.Errorf("life %d had received %d, and said that it was done up to %d", life, got, n)
		}
	}
	must(t, <-sent)
	if s := d.e.Stats(); s.Restarts != 0 || s.Unknown != 0 || int(s.Sent) != got+1 {
		t.Errorf("received %d, sent %+v", got, s)
	}
	t.Logf("%d lives, %d messages, %d came again", kills+1, got, again)
}
