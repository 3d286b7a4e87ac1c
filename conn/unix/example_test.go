//go:build unix

package unix_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/unix"
	"github.com/plexus-net/plexus/identity"
)

// Two nodes of one machine, of which the group of the user may connect.
func Example() {
	ctx := context.Background()
	key, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "plexus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	t := unix.NewWith(unix.Config{Mode: 0o660})
	defer t.Close()
	l, err := t.Listen(ctx, conn.Local{Key: key}, identity.Address{Scheme: "unix", Path: filepath.Join(dir, "node.sock")})
	if err != nil {
		log.Fatal(err)
	}
	c, err := t.Dial(ctx, conn.Local{Key: key}, key.ID(), l.Addr())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(nil)
	file, err := os.Stat(l.Addr().Path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.RemoteAddr() == l.Addr(), file.Mode().Perm())
	// Output: true -rw-rw----
}
