package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance is all the testing that a transport needs to begin with.
func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		return conntest.Pair{
			Dialer: New(nil), Listener: New(nil), At: at("127.0.0.1:0"),
			Refused: kernel(t, false), Silent: kernel(t, true),
			Garbage: func(t *testing.T, to identity.Address, p []byte) {
				c := dialRaw(t, to)
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
				c.Close()
			},
			Stalled: func(t *testing.T, to identity.Address) {
				if err := ask(dialRaw(t, to), to); err != nil { // and no TLS
					t.Error(err)
				}
			},
		}
	})
}

// A transport takes fewer than 200 lines.
func TestLines(t *testing.T) {
	text, err := os.ReadFile("upgrade.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n >= 200 {
		t.Errorf("upgrade.go has %d lines, want fewer than 200", n)
	}
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if want := "hello from alice: true\na page\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// A web server that knows nothing of nodes is an error that names it.
func TestDialOfAnotherServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.NotFoundHandler()}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	defer func() { server.Close(); <-served }()
	tr := New(nil)
	defer tr.Close()
	if _, err := tr.Dial(t.Context(), local(t), identity.NodeID{}, at(l.Addr().String())); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("Dial = %v, want an error with the server's answer", err)
	}
}

// A browser at the path of the nodes is told what it is.
func TestRequestWithoutUpgrade(t *testing.T) {
	tr := New(nil)
	defer tr.Close()
	l, err := tr.Listen(t.Context(), local(t), at("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + l.Addr().Host + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusUpgradeRequired || !strings.Contains(string(text), "nodes") {
		t.Errorf("the answer is %s, %q, %v", answer.Status, text, err)
	}
}

func at(host string) identity.Address { return identity.Address{Scheme: scheme, Host: host} }

func local(t *testing.T) conn.Local {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return conn.Local{Key: key}
}

func dialRaw(t *testing.T, to identity.Address) net.Conn {
	c, err := net.Dial("tcp", to.Host)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// kernel returns the address of a socket that is listened on by the system
// alone, or not any more.
func kernel(t *testing.T, open bool) identity.Address {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if open {
		t.Cleanup(func() { l.Close() })
	} else {
		l.Close()
	}
	return at(l.Addr().String())
}
