package endpoint_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/internal/sim"
)

// A disk is what a simulated node keeps when it crashes.
type disk struct {
	state    []byte
	messages [][]byte
	saves    int
	slow     time.Duration // a save takes up to this
	now      *diskJournal  // that may save
}

// A diskJournal is the journal of one life of a node. Saves take time on both sides
// of the moment at which the change is on the disk.
type diskJournal struct {
	*disk
	h   *sim.Host
	rng *rand.Rand
}

func (d *disk) journal(h *sim.Host, rng *rand.Rand) *diskJournal {
	d.now = &diskJournal{d, h, rng}
	return d.now
}

func (j *diskJournal) Load() (state []byte, messages [][]byte, err error) {
	for _, p := range j.messages {
		messages = append(messages, append([]byte(nil), p...))
	}
	return append([]byte(nil), j.state...), messages, nil
}

func (j *diskJournal) Save(c endpoint.Change) error {
	j.wait()
	if j.now != j {
		return errors.New("the process has ended")
	}
	if c.Drop > len(j.messages) || c.State == nil {
		return errors.New("a change that cannot be")
	}
	j.messages = j.messages[c.Drop:]
	for _, p := range c.Append {
		j.messages = append(j.messages, append([]byte(nil), p...))
	}
	j.state = append([]byte(nil), c.State...)
	j.saves++
	j.wait()
	return nil
}

func (j *diskJournal) wait() {
	if j.slow > 0 && j.rng.IntN(2) == 0 {
		pause(j.h, time.Duration(j.rng.Int64N(int64(j.slow))))
	}
}

// The same world, with journals on disks: nothing is lost by a crash of a node that
// has one, nor by crashes of both, and its peer does not see it start anew. Letters
// come again only to a new life, in order, and never after the sender was told that
// they were taken.
func TestSimulationWithJournals(t *testing.T) {
	var saves, again int
	for seed := uint64(1); seed <= uint64(*simSeeds) && !t.Failed(); seed++ {
		disks := [2]*disk{{slow: 5 * time.Millisecond}, {slow: 20 * time.Millisecond}}
		if seed%3 > 0 {
			disks[seed%3-1] = nil // only one has a journal
		}
		p := newPost(t, seed, disks)
		p.trouble(7)
		p.finish()
		for _, err := range p.errs {
			t.Errorf("seed %d: %v", seed, err)
		}
		for i, d := range disks {
			if d == nil {
				continue
			}
			saves += d.saves
			again += p.nodes[i].life - 1
			if len(d.messages) > 0 {
				t.Errorf("seed %d: node %d keeps %d messages that were taken", seed, i, len(d.messages))
			}
		}
		p.w.Close()
	}
	if saves == 0 || again == 0 {
		t.Errorf("%d saves, %d restarts: the faults have no bite", saves, again)
	}
	t.Logf("%d seeds: %d saves, %d restarts with a journal", *simSeeds, saves, again)
}
