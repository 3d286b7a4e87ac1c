//go:build !plan9

package unix

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

const scheme = "unix"

// maxPath is how long the path of a socket may be everywhere, and maxDir that of
// a directory in which a name is chosen.
const (
	maxPath = 103
	maxDir  = maxPath - len("plexus-123456789012.sock")
)

// maxStreams bounds Config.Streams.
const maxStreams = 1 << 16

// A Config says how sockets are made. Its zero value is what [New] uses.
type Config struct {
	// Mode is the mode of the socket's file: who may write to it may connect,
	// and then still has to prove an ID. Default 0600. Systems without modes
	// do not look at it.
	Mode fs.FileMode
	// Streams bounds the streams (conn.StreamConn) that the other end of an
	// accepted connection may have open at a time, those included that wait
	// for AcceptStream: at most 65536. Until AcceptStream is called for the
	// first time, 8 may wait, then 64, each for conn.Local.HandshakeTimeout,
	// and what waits counts towards conn.Local.MaxHandshakes. Negative: none.
	// Default 256.
	Streams int
}

// A Transport makes connections over Unix sockets. It implements
// [conn.Transport] for the scheme "unix"; connections carry streams, each a
// socket of its own. Make one with [New] or [NewWith].
type Transport struct {
	*secure.Transport
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that listens nowhere yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Listen
// says so.
func NewWith(c Config) *Transport {
	if c.Mode == 0 {
		c.Mode = 0o600
	}
	return &Transport{secure.NewTransport(secure.Network{
		Scheme:  scheme,
		Dial:    dial,
		Listen:  c.listen,
		Address: func(a net.Addr) identity.Address { return identity.Address{Scheme: scheme, Path: a.String()} },
		Streams: true, MaxStreams: c.Streams,
	})}
}

func path(a identity.Address) (string, error) {
	if a.Host != "" || !filepath.IsAbs(a.Path) || len(a.Path) < 2 {
		return "", errors.New("not the address of a socket; want unix:///absolute/path")
	}
	most := maxPath
	if strings.HasSuffix(a.Path, "/") {
		most = maxDir
	}
	if n := len(a.Path); n > most {
		return "", fmt.Errorf("the path has %d bytes, at most %d are allowed", n, most)
	}
	return a.Path, nil
}

// dialled counts the made-up addresses of this process.
var dialled atomic.Uint64

// An unnamed is one end of a connection whose other end has no address.
type unnamed struct {
	*net.UnixConn
	local, remote net.Addr
}

// LocalAddr returns the address of this end.
func (c *unnamed) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *unnamed) RemoteAddr() net.Addr { return c.remote }

// madeUp returns an address for the end that dialled path.
func madeUp(path string) net.Addr {
	return &net.UnixAddr{Name: path + "#" + strconv.FormatUint(dialled.Add(1), 10), Net: "unix"}
}

func dial(ctx context.Context, addr identity.Address) (net.Conn, error) {
	p, err := path(addr)
	if err != nil {
		return nil, err
	}
	nc, err := new(net.Dialer).DialContext(ctx, "unix", p)
	if err != nil {
		return nil, err
	}
	return &unnamed{nc.(*net.UnixConn), madeUp(p), nc.RemoteAddr()}, nil
}

func (c *Config) listen(ctx context.Context, addr identity.Address) (net.Listener, error) {
	p, err := path(addr)
	if err != nil {
		return nil, err
	}
	if c.Mode&^fs.ModePerm != 0 {
		return nil, fmt.Errorf("Config.Mode is %v; want permissions alone", c.Mode)
	}
	if c.Streams > maxStreams {
		return nil, fmt.Errorf("Config.Streams is %d; want at most %d", c.Streams, maxStreams)
	}
	if strings.HasSuffix(p, "/") {
		p += "plexus-" + rand.Text()[:12] + ".sock"
	}
	l := &listener{path: p}
	err = locked(ctx, filepath.Dir(p), func() (err error) {
		l.UnixListener, err = c.bind(ctx, p)
		if errors.Is(err, syscall.EADDRINUSE) {
			if err = removeStale(ctx, p); err == nil {
				l.UnixListener, err = c.bind(ctx, p)
			}
		}
		if err == nil {
			l.file, err = os.Lstat(p)
		}
		return err
	})
	if err != nil {
		if l.UnixListener != nil {
			l.UnixListener.Close()
		}
		return nil, err
	}
	return l, nil
}

// bind makes the socket and its file. Where the system can, the file has its
// mode from the start; elsewhere it has the one of the process's mask at first.
func (c *Config) bind(ctx context.Context, path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return premode(raw, uint32(c.Mode))
	}}
	nl, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	ul := nl.(*net.UnixListener)
	ul.SetUnlinkOnClose(false) // Close does so, under the lock
	if err := os.Chmod(path, c.Mode); err != nil {
		return nil, errors.Join(err, ul.Close(), os.Remove(path))
	}
	return ul, nil
}

// removeStale removes the socket's file that a dead listener has left.
func removeStale(ctx context.Context, path string) error {
	file, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if file.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and no socket; remove it, or choose another path", path)
	}
	nc, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		nc.Close()
		return fmt.Errorf("somebody listens there: %w", syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether somebody listens there: %w", err)
	}
	return os.Remove(path)
}

// A listener is a socket with its file.
type listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

// Accept returns connections with made-up addresses of those who dialled.
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &unnamed{nc, l.Addr(), madeUp(l.path)}, nil
}

// Close removes the file, unless another has taken its place, and closes the
// socket.
func (l *listener) Close() error {
	removeErr := locked(context.Background(), filepath.Dir(l.path), func() error {
		now, err := os.Lstat(l.path)
		if err != nil || !os.SameFile(now, l.file) {
			return nil // it is gone
		}
		return os.Remove(l.path)
	})
	return errors.Join(l.UnixListener.Close(), removeErr)
}
