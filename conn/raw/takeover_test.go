package raw_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
)

// answering answers every message with its name.
func answering(name string) *hooks {
	return &hooks{message: func(_ context.Context, c *raw.Conn, _ []byte) { _ = c.Send([]byte(name)) }}
}

// ask connects, asks who is there, and hangs up.
func ask(addr string) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(frame("who?")); err != nil {
		return "", err
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(c, answer); err != nil {
		return "", err
	}
	return string(answer[2:]), nil
}

// askAlways asks one time after the other until stop is closed, and returns who
// has answered how often.
func askAlways(addr string, stop <-chan struct{}, asked *atomic.Int64) (map[string]int, error) {
	answers := make(map[string]int)
	for {
		select {
		case <-stop:
			return answers, nil
		default:
		}
		who, err := ask(addr)
		if err != nil {
			return answers, fmt.Errorf("after %d answers: %w", asked.Load(), err)
		}
		answers[who]++
		asked.Add(1)
	}
}

// succeed is the second process: it takes the listening socket that it inherits,
// and answers until its input ends.
func succeed() {
	n, err := raw.New(answering("new"), raw.Config{NewListener: func(context.Context) (net.Listener, error) {
		return net.FileListener(os.NewFile(3, "listener"))
	}})
	if err == nil {
		_, err = n.Listen(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = n.Shutdown(context.Background())
	os.Exit(0)
}

// A process hands its listening socket to another and goes; who connects all the
// time notices nothing.
func TestAnotherProcessTakesOver(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "js" {
		t.Skip("no sockets are inherited here")
	}
	old, addr := listen(t, answering("old"), raw.Config{})
	socket, err := old.ListenerFile()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var asked atomic.Int64
	stop, answers, failed := make(chan struct{}), make(chan map[string]int, 1), make(chan error, 1)
	go func() {
		got, err := askAlways(addr, stop, &asked)
		answers <- got
		failed <- err
	}()

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), successorEnv+"=1")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the second process says %q: %v", line, err)
	}
	if err := old.StopListening(); err != nil {
		t.Fatal(err)
	}
	until(t, "the old one has answered all", func() bool { return old.NumConnecting() == 0 && old.NumConnected() == 0 })
	shutdown(t, old)
	at := asked.Load()
	until(t, "the new one has answered for a while", func() bool { return asked.Load() > at+50 || len(failed) > 0 })
	close(stop)
	got := wait(t, answers, "the answers")
	if err := wait(t, failed, "the result"); err != nil {
		t.Errorf("somebody noticed: %v", err)
	}
	if got["old"] == 0 || got["new"] < 50 {
		t.Errorf("answers %v, want some of either", got)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the second process: %v", err)
	}
}

// With ReusePort several nodes share a port, and one may go.
func TestNodesShareAPort(t *testing.T) {
	first, err := raw.New(answering("one"), raw.Config{Address: "127.0.0.1:0", ReusePort: true})
	if err != nil {
		t.Skip(err) // this system cannot
	}
	t.Cleanup(func() { shutdown(t, first) })
	a, err := first.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addr := a.String()
	second := start(t, answering("two"), raw.Config{Address: addr, ReusePort: true})
	if _, err := start(t, nil, raw.Config{Address: addr}).Listen(t.Context()); err == nil {
		t.Error("a node without ReusePort listens there too")
	}
	if _, err := second.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers := make(map[string]int)
	for len(answers) < 2 {
		who, err := ask(addr)
		if err != nil {
			t.Fatal(err)
		}
		if answers[who]++; answers[who] > 1000 {
			t.Skipf("this system gives all connections to one: %v", answers)
		}
	}
	if err := first.StopListening(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if who, err := ask(addr); who != "two" {
			t.Errorf("after the first has gone %q answers: %v", who, err)
		}
	}
}

// A lateListener has connections queued that it hands out when it is told to end:
// by a deadline, after which nothing more is queued, or by Close, which resets
// them.
type lateListener struct {
	*fakeListener
	queue chan net.Conn
	told  chan struct{}
}

func (l *lateListener) SetDeadline(time.Time) error {
	close(l.told)
	return nil
}

func (l *lateListener) Accept() (net.Conn, error) {
	select {
	case <-l.told:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	select {
	case c := <-l.queue:
		return c, nil
	default:
		return nil, os.ErrDeadlineExceeded
	}
}

// What the system has queued is accepted when the node stops listening.
func TestStopListeningTakesWhatIsQueued(t *testing.T) {
	const queued = 3
	l := &lateListener{newFakeListener(), make(chan net.Conn, queued), make(chan struct{})}
	n, _ := listen(t, &hooks{}, raw.Config{NewListener: func(context.Context) (net.Listener, error) { return l, nil }})
	for range queued {
		here, there := net.Pipe()
		defer there.Close()
		l.queue <- fakeConn{here, fakeAddr("192.0.2.1:1")}
	}
	if err := n.StopListening(); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is being made", func() bool { return n.NumConnecting() == 0 })
	if got := n.NumConnected(); got != queued {
		t.Errorf("%d of the %d that were queued are there", got, queued)
	}
}

// Listen beside StopListening returns an address or an error, never neither.
func TestListenAlwaysTellsAnAddress(t *testing.T) {
	const times = 3000
	n := start(t, nil, raw.Config{NewListener: func(context.Context) (net.Listener, error) { return newFakeListener(), nil }})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for range times {
			_ = n.StopListening()
			_, _ = n.Listen(context.Background())
		}
	}()
	for {
		if addr, err := n.Listen(t.Context()); addr == nil && err == nil {
			t.Error("Listen returned neither an address nor an error")
			break
		}
		select {
		case <-stopped:
			return
		default:
		}
	}
	<-stopped
}
