package fd_test

import (
	"syscall"
	"testing"

	"github.com/plexus-net/plexus/internal/fd"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// Read tells data, nothing yet, the end, and errors apart.
func TestRead(t *testing.T) {
	if !fd.Works {
		t.Skip("not on this system")
	}
	xs, ys := yardstick.TCP(t, 1)
	x, y := xs[0], ys[0]
	raw, err := y.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	// read waits until there is something, or not.
	read := func(wait bool) (n int, again bool) {
		if e := raw.Read(func(s uintptr) bool {
			n, again, err = fd.Read(s, p)
			return !again || !wait
		}); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return n, again
	}
	if n, again := read(false); n != 0 || !again {
		t.Errorf("read %d bytes, again %t, where there is nothing", n, again)
	}
	if _, err := x.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, again := read(true); string(p[:n]) != "hello" || again {
		t.Errorf("read %q, again %t", p[:n], again)
	}
	x.Close()
	if n, again := read(true); n != 0 || again {
		t.Errorf("read %d bytes, again %t, at the end", n, again)
	}
	if _, _, err := fd.Read(^uintptr(0), p); err == nil {
		t.Error("Read of no descriptor: no error")
	}
}

// Write writes what there is room for, and tells errors.
func TestWrite(t *testing.T) {
	if !fd.Works {
		t.Skip("not on this system")
	}
	x, _ := yardstick.TCP(t, 1)
	raw, err := x[0].(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1<<20)
	sum, last := 0, 1
	for last > 0 { // nobody reads
		if e := raw.Control(func(s uintptr) { last, err = fd.Write(s, p) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		sum += last
	}
	if sum == 0 {
		t.Error("nothing was written")
	}
	if _, err := fd.Write(^uintptr(0), p); err == nil {
		t.Error("Write to no descriptor: no error")
	}
}
