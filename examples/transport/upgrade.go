// Command transport shows a transport that does not come with plexus, in one
// file: connections through a web server.
//
// Many networks let HTTP through and nothing else, and many machines have one
// open port with a web server on it. So this transport speaks HTTP until the
// server has agreed to speak something else on the same socket, as WebSockets
// do (RFC 9110, section 7.8), but without frames:
//
//	client                                        server
//	GET /plexus HTTP/1.1
//	Connection: Upgrade
//	Upgrade: plexus               ────────────────>
//	               <────────────────  HTTP/1.1 101 Switching Protocols
//	TLS 1.3, both node IDs proven <───────────────> conn/secure does this
//	messages                      <───────────────> and the runtime this
//
// Addresses are up://host:port. What is to be done for a transport of your
// own is to get a net.Conn to an address ([Dial]) and from one ([Listen]);
// package secure makes a conn.Transport of these two: it proves node IDs,
// encrypts, bounds the handshakes that are under way, and closes everything in
// the right order. The test of this directory runs the suite that all transports
// of plexus have to pass.
//
// Run it: two nodes, one of which serves web pages on the same port.
//
//	go run ./examples/transport
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

const (
	scheme   = "up"
	path     = "/plexus"        // at the web server
	protocol = "plexus"         // in the Upgrade header
	patience = 10 * time.Second // of the server, for the request
)

var errWant = errors.New("want up://host:port")

// New returns the transport. The web servers of its listeners also serve what
// others does, unless that is nil.
func New(others http.Handler) *secure.Transport {
	return secure.NewTransport(secure.Network{
		Scheme: scheme,
		Dial:   Dial,
		Listen: func(ctx context.Context, addr identity.Address) (net.Listener, error) {
			return Listen(ctx, addr, others)
		},
	})
}

// Dial asks the server at addr to speak plexus. It gives up when ctx ends: that
// is when the handshake timeout of the node is over, or the caller's patience.
func Dial(ctx context.Context, addr identity.Address) (net.Conn, error) {
	if addr.Host == "" || addr.Path != "" {
		return nil, errWant
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr.Host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	if err = ask(c, addr); !stop() || err != nil {
		c.Close()
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return c, nil
}

func ask(c net.Conn, addr identity.Address) error {
	request, err := http.NewRequest(http.MethodGet, "http://"+addr.Host+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", protocol)
	if err := request.Write(c); err != nil {
		return err
	}
	// What the server sends is not trusted yet: it is capped. And it is waiting
	// for us to go on, so that there is nothing behind its answer.
	r := bufio.NewReader(io.LimitReader(c, 8<<10))
	answer, err := http.ReadResponse(r, request)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols || r.Buffered() > 0 {
		return fmt.Errorf("the server at %s does not speak %s: %s", addr.Host, protocol, answer.Status)
	}
	return nil
}

// A door is a web server as a net.Listener of upgraded connections.
type door struct {
	net.Listener
	server *http.Server
	came   chan net.Conn
	closed chan struct{}
	close  sync.Once
	served sync.WaitGroup
}

// Listen starts a web server at addr.
func Listen(ctx context.Context, addr identity.Address, others http.Handler) (net.Listener, error) {
	if addr.Host == "" || addr.Path != "" {
		return nil, errWant
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr.Host)
	if err != nil {
		return nil, err
	}
	d := &door{Listener: l, came: make(chan net.Conn), closed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, d.upgrade)
	if others != nil {
		mux.Handle("/", others)
	}
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: patience, MaxHeaderBytes: 8 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	d.served.Go(func() { _ = d.server.Serve(l) }) // until Close
	return d, nil
}

// upgrade answers one request, and hands its socket to Accept.
func (d *door) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != protocol {
		http.Error(w, "this is for nodes", http.StatusUpgradeRequired)
		return
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if buffered.Reader.Buffered() > 0 { // it did not wait for the answer
		c.Close()
		return
	}
	_, err = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n"))
	if err == nil {
		err = c.SetDeadline(time.Time{}) // the web server had set one
	}
	if err != nil {
		c.Close()
		return
	}
	select {
	case d.came <- c:
	case <-d.closed:
		c.Close()
	}
}

// Accept waits for the next upgraded connection.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.came:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed // which says that this is the end, not a trouble that passes
	}
}

// Close stops the web server. Upgraded connections are not its any more.
func (d *door) Close() error {
	d.close.Do(func() {
		close(d.closed)
		d.server.Close()
		d.served.Wait()
	})
	return nil
}
