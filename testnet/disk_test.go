package testnet_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/testnet"
)

// A diary counts its starts on the disk, and in a file that it does not sync.
type diary struct {
	disk   *testnet.Disk
	starts int
	err    error
}

func (d *diary) OnStart(*agent.Behavior) error {
	if b, err := d.disk.Read("starts"); err == nil {
		if _, err := fmt.Sscan(string(b), &d.starts); err != nil {
			return err
		}
	}
	d.starts++
	if d.err = d.disk.Write("starts", []byte(fmt.Sprint(d.starts))); d.err == nil {
		d.err = d.disk.Sync()
	}
	_ = d.disk.Append("loose", []byte("x"))
	return nil
}

func (*diary) OnMessage(*agent.Behavior, *conn.Message) {}

func TestDiskOutlastsACrash(t *testing.T) {
	var diaries [2]*diary
	s := testnet.Simulate(t, 1, testnet.Scenario{Register: func(n *testnet.Node) error {
		diaries[n.Index] = &diary{disk: n.Disk}
		return n.Register(70, diaries[n.Index])
	}})
	again := func(f testnet.Fault) int {
		t.Helper()
		s.Inflict(f)
		if s.Up(0) {
			s.Crash(0)
		}
		s.Sleep(time.Second)
		if err := s.Restart(0); err != nil {
			t.Fatal(err)
		}
		s.Sleep(time.Second)
		return diaries[0].starts
	}
	if got := again(testnet.Crash(0)); got != 2 {
		t.Errorf("after a crash it is start %d, want 2", got)
	}
	if got := again(testnet.FillDisk(0)); got != 3 || !errors.Is(diaries[0].err, testnet.ErrDiskFull) {
		t.Errorf("with a full disk it is start %d, and writing says %v; want 3 and ErrDiskFull", got, diaries[0].err)
	}
	if got := again(testnet.FreeDisk(0)); got != 3 || diaries[0].err != nil {
		t.Errorf("when the disk has room again it is start %d, and writing says %v; want 3, since the last was not written", got, diaries[0].err)
	}
	if got := again(testnet.CrashAndWipe(0)); got != 1 {
		t.Errorf("with a new disk it is start %d, want 1", got)
	}
	if got := diaries[1].starts; got != 1 {
		t.Errorf("the other node is at start %d, want 1", got)
	}
}

// What has not been synced may be lost, and is, on some seeds; what has is not.
func TestCrashTakesBackWhatWasNotSynced(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		s := testnet.Simulate(t, seed, testnet.Scenario{Register: func(n *testnet.Node) error { return n.Register(70, &diary{disk: n.Disk}) }})
		s.Sleep(time.Second)
		s.Crash(0)
		if _, err := s.Node(0).Disk.Read("starts"); err != nil {
			t.Errorf("seed %d: what was synced: %v", seed, err)
		}
		if _, err := s.Node(0).Disk.Read("loose"); errors.Is(err, fs.ErrNotExist) {
			lost++
		}
	}
	if lost == 0 || lost == 20 {
		t.Errorf("what was not synced was lost in %d of 20 crashes, want some", lost)
	}
}
