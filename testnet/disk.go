package testnet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// ErrDiskFull is why a [Disk] takes no more.
var ErrDiskFull = errors.New("testnet: no space left on the disk")

// A Disk is what a node keeps across restarts, for behaviours that persist.
// Files have names and contents, and are small. What has been written is on the
// disk for good after Sync; a crash takes back, file by file and by chance, what
// has not. It may be used from any goroutine.
type Disk struct {
	mu     sync.Mutex        // guards the rest
	files  map[string][]byte // contents are replaced, never changed
	synced map[string][]byte
	full   bool
	frozen bool // takes what is written, and forgets it
}

func newDisk() *Disk { return &Disk{files: map[string][]byte{}, synced: map[string][]byte{}} }

// Write makes data, of which it keeps a copy, the content of a file.
func (d *Disk) Write(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return nil
	}
	if d.full {
		return fmt.Errorf("write %s: %w", name, ErrDiskFull)
	}
	d.files[name] = slices.Clone(data)
	return nil
}

// Append adds data at the end of a file.
func (d *Disk) Append(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return nil
	}
	if d.full {
		return fmt.Errorf("append to %s: %w", name, ErrDiskFull)
	}
	d.files[name] = slices.Concat(d.files[name], data)
	return nil
}

// Read returns a copy of a file, or an error that is fs.ErrNotExist.
func (d *Disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, ok := d.files[name]
	if !ok {
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	return slices.Clone(data), nil
}

// Remove removes a file, if it is there.
func (d *Disk) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		delete(d.files, name)
	}
}

// Names returns the names of all files, in order.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.files))
}

// Sync makes what has been written and removed so far outlast a crash.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return nil
	}
	if d.full {
		return fmt.Errorf("sync: %w", ErrDiskFull)
	}
	d.synced = maps.Clone(d.files)
	return nil
}

// crash takes back some of what has not been synced.
func (d *Disk) crash(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.files)
	maps.Copy(names, d.synced)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		now, is := d.files[name]
		before, was := d.synced[name]
		if is == was && slices.Equal(now, before) || rng.IntN(2) == 0 {
			continue
		}
		if was {
			d.files[name] = before
		} else {
			delete(d.files, name)
		}
	}
	d.synced = maps.Clone(d.files)
}

// setFull makes the disk refuse what is written, or take it again.
func (d *Disk) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// freeze keeps the disk as it is while those who might still write to it end,
// who are dead already and do not know it.
func (d *Disk) freeze(frozen bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = frozen
}

// wipe empties the disk.
func (d *Disk) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files, d.synced = map[string][]byte{}, map[string][]byte{}
}

// FillDisk lets nothing more be written to the disk of a node, until FreeDisk.
func FillDisk(i int) Fault {
	return Fault{name: "fill the disk of", nodes: []int{i}, do: func(s *Sim) { s.nodes[i].Disk.setFull(true) }}
}

// FreeDisk ends a FillDisk.
func FreeDisk(i int) Fault {
	return Fault{name: "free the disk of", nodes: []int{i}, do: func(s *Sim) { s.nodes[i].Disk.setFull(false) }}
}

// CrashAndWipe is Crash of a node that loses its disk too.
func CrashAndWipe(i int) Fault {
	return Fault{name: "crash, with its disk,", nodes: []int{i}, do: func(s *Sim) {
		s.Crash(i)
		s.nodes[i].Disk.wipe()
	}}
}
