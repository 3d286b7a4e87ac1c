package tcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// v2 returns a header of version 2.
func v2(versionCommand, family byte, body ...byte) string {
	p := append([]byte(v2Magic), versionCommand, family)
	return string(append(binary.BigEndian.AppendUint16(p, uint16(len(body))), body...))
}

var (
	body4 = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb}
	body6 = append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...), 0xdc, 0x04, 0x01, 0xbb)
)

var headers = []struct {
	name   string
	header string
	want   string // the address; "": none
	fails  string // in the error; "": it is taken
}{
	{"v1, IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1:56324", ""},
	{"v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324", ""},
	{"v1, longest", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", ""},
	{"v1, unknown", "PROXY UNKNOWN\r\n", "", ""},
	{"v1, unknown with more", "PROXY UNKNOWN 2001:db8::1 2001:db8::2 1 2\r\n", "", ""},
	{"v1, no end", "PROXY TCP4 " + strings.Repeat("1", 200), "", "no end"},
	{"v1, LF alone", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", "", "CR LF"},
	{"v1, CR within", "PROXY UNKNOWN\r \r\n", "", "CR LF"},
	{"v1, of the other family", "PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n", "", "none of TCP6"},
	{"v1, name", "PROXY TCP4 localhost 198.51.100.2 56324 443\r\n", "", "none of TCP4"},
	{"v1, zone", "PROXY TCP6 fe80::1%eth0 fe80::2 56324 443\r\n", "", "none of TCP6"},
	{"v1, wrong destination", "PROXY TCP4 192.0.2.1 198.51.100.256 56324 443\r\n", "", "none of TCP4"},
	{"v1, port too large", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "", "port"},
	{"v1, port with a zero", "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n", "", "port"},
	{"v1, two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 1 443\r\n", "", "want PROXY"},
	{"v1, UDP", "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n", "", "want PROXY"},
	{"v2, IPv4", v2(0x21, 0x11, body4...), "192.0.2.1:56324", ""},
	{"v2, IPv4 and more", v2(0x21, 0x11, append(body4[:12:12], 4, 0, 2, 'a', 'b')...), "192.0.2.1:56324", ""},
	{"v2, IPv6", v2(0x21, 0x21, body6...), "[2001:db8::1]:56324", ""},
	{"v2, local", v2(0x20, 0x00), "", ""},
	{"v2, local with addresses", v2(0x20, 0x11, body4...), "", ""},
	{"v2, unspecified", v2(0x21, 0x00, 1, 2, 3), "", ""},
	{"v2, too short", v2(0x21, 0x11, body4[:11]...), "", "bytes of addresses"},
	{"v2, too short for IPv6", v2(0x21, 0x21, body4...), "", "bytes of addresses"},
	{"v2, UDP", v2(0x21, 0x12, body4...), "", "family"},
	{"v2, Unix", v2(0x21, 0x31, make([]byte, 216)...), "", "family"},
	{"v2, largest", v2(0x21, 0x11, append(body4[:12:12], make([]byte, v2Longest-12)...)...), "192.0.2.1:56324", ""},
	{"v2, too large", v2(0x21, 0x11, make([]byte, v2Longest+1)...), "", "at most 4096"},
	{"v2, version 3", v2(0x31, 0x11, body4...), "", "version"},
	{"v2, command 2", v2(0x22, 0x11, body4...), "", "version"},
	{"TLS", "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x00", "", "does not begin"},
	{"HTTP", "POST / HTTP/1.1\r\n\r\n", "", "does not begin"},
	{"nearly v2", "\r\n\r\n\x00\r\nQUIT\r\n\r\n\r\n", "", "does not begin"},
}

func TestProxyHeaders(t *testing.T) {
	const tail = "\x16\x03\x01 the rest"
	for _, test := range headers {
		t.Run(test.name, func(t *testing.T) {
			r := strings.NewReader(test.header + tail)
			got, err := readHeader(r)
			if test.fails != "" {
				var malformed headerError
				if !errors.As(err, &malformed) || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("readHeader = %v, %v; want an error with %q", got, err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.IsValid() != (test.want != "") || got.IsValid() && got.String() != test.want {
				t.Errorf("the address is %v, want %q", got, test.want)
			}
			if rest, _ := io.ReadAll(r); string(rest) != tail {
				t.Errorf("%q is left, want %q: not a byte more than the header is read", rest, tail)
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, test := range headers {
		f.Add([]byte(test.header))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r := bytes.NewReader(p)
		got, err := readHeader(r)
		if read := len(p) - r.Len(); read > v2Fixed+v2Longest {
			t.Errorf("%d bytes were read", read)
		}
		again, againErr := readHeader(iotest.OneByteReader(bytes.NewReader(p)))
		if got != again || (err == nil) != (againErr == nil) {
			t.Errorf("readHeader = %v, %v; cut into bytes %v, %v", got, err, again, againErr)
		}
		if err != nil || !got.IsValid() {
			return
		}
		if got.Addr().Is4In6() || got.Addr().Zone() != "" {
			t.Errorf("the address %v is not in its plain form", got)
		}
		family, other := "TCP4", "0.0.0.0"
		if got.Addr().Is6() {
			family, other = "TCP6", "::"
		}
		line := fmt.Sprintf("PROXY %s %s %s %d 1\r\n", family, got.Addr(), other, got.Port())
		if back, err := readHeader(strings.NewReader(line)); back != got || err != nil {
			t.Errorf("%q gives %v, %v; want %v", line, back, err, got)
		}
	})
}

// proxiedNode listens behind balancers.
func proxiedNode(t *testing.T, from string) (conn.Listener, conn.Local, <-chan error) {
	t.Helper()
	refused := make(chan error, 10)
	tr := NewWith(Config{Proxies: []netip.Prefix{netip.MustParsePrefix(from)}, Refused: func(_ net.Addr, err error) {
		refused <- err
		panic("of the callback")
	}})
	t.Cleanup(func() { tr.Close() })
	l, local := listenLocal(t, tr, time.Second)
	return l, local, refused
}

func listenLocal(t *testing.T, tr *Transport, timeout time.Duration) (conn.Listener, conn.Local) {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key, HandshakeTimeout: timeout}
	l, err := tr.Listen(t.Context(), local, identity.Address{Scheme: tr.Schemes()[0], Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return l, local
}

// through dials as a balancer does that says header.
func through(header string) *Transport {
	return NewWith(Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = nc.Write([]byte(header))
		}
		return nc, err
	}})
}

func TestProxiedConnectionsHaveTheirOwnAddress(t *testing.T) {
	for _, test := range headers {
		if test.fails != "" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			l, local, _ := proxiedNode(t, "127.0.0.0/8")
			tr := through(test.header)
			defer tr.Close()
			c, err := tr.Dial(t.Context(), local, local.Key.ID(), l.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(nil)
			in, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close(nil)
			want := test.want
			if want == "" {
				want = c.LocalAddr().Host
			}
			if in.RemoteAddr().Host != want || in.LocalAddr() != l.Addr() {
				t.Errorf("the connection is from %s to %s, want from %s to %s", in.RemoteAddr(), in.LocalAddr(), want, l.Addr())
			}
			stats := in.Stats()
			if _, err := c.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if n, err := in.Read(make([]byte, 1)); n != 1 || err != nil || in.Stats().BytesReceived != stats.BytesReceived+1 {
				t.Errorf("Read = %d, %v", n, err)
			}
		})
	}
}

func TestConnectionsThatComeNotThroughABalancerAreRefused(t *testing.T) {
	for _, test := range []struct{ name, from, header, want string }{
		{"from elsewhere", "192.0.2.0/24", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "not one of Config.Proxies"},
		{"without a header", "127.0.0.0/8", "", "does not begin"},
		{"malformed", "127.0.0.0/8", "PROXY TCP4 x y z\r\n", "PROXY header"},
		{"half a header", "127.0.0.0/8", "PROXY TCP4 1", "no PROXY header came"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, local, refused := proxiedNode(t, test.from)
			if test.name == "half a header" { // and no more: until the handshake has taken too long
				nc, err := net.Dial("tcp", l.Addr().Host)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				if _, err := nc.Write([]byte(test.header)); err != nil {
					t.Fatal(err)
				}
			} else {
				tr := through(test.header)
				defer tr.Close()
				if c, err := tr.Dial(t.Context(), local, local.Key.ID(), l.Addr()); err == nil {
					c.Close(nil)
					t.Error("Dial succeeded")
				}
			}
			err := <-refused
			var why *ProxyError
			if !errors.As(err, &why) || !strings.Contains(err.Error(), test.want) || why.From == nil {
				t.Errorf("Refused was told %v, want a *ProxyError with %q", err, test.want)
			}
			if test.name == "half a header" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is not that the time is over", err)
			}
		})
	}
}
