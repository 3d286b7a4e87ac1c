package raw_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
)

// Values whose protocols would never run.
type (
	misspelt   struct{}
	lowerCase  struct{}
	wrongTyped struct{}
	unknown    struct{}
	pointer    struct{}
	hidden     struct {
		onlyMessages
		alsoMessages
	}
	alsoMessages struct{}
	fine         struct{}
)

func (misspelt) OnConect(context.Context, *raw.Conn) error        { return nil }
func (lowerCase) HandShake()                                      {}
func (wrongTyped) OnMessage(*raw.Conn, []byte)                    {}
func (unknown) OnTick()                                           {}
func (*pointer) OnMessage(context.Context, *raw.Conn, []byte)     {}
func (alsoMessages) OnMessage(context.Context, *raw.Conn, []byte) {}
func (fine) Once()                                                {}
func (fine) Onward()                                              {}
func (fine) Decode(io.Reader)                                     {}
func (fine) OnMessage(_ context.Context, _ *raw.Conn, _ []byte)   {}

func TestCheckFindsWhatWouldNeverRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want string // "": nothing
	}{
		{"nothing", nil, ""},
		{"all protocols", &hooks{}, ""},
		{"other methods", fine{}, ""},
		{"misspelt", misspelt{}, "misspelt.OnConect would never run; is it OnConnect? Otherwise rename it"},
		{"case", lowerCase{}, "lowerCase.HandShake would never run; is it Handshake?"},
		{"signature", wrongTyped{}, "wrongTyped.OnMessage does not have the signature of raw.Receiver"},
		{"no protocol", unknown{}, "unknown.OnTick would never run"},
		{"pointer receiver", pointer{}, "pointer.OnMessage has a pointer receiver and would never run; pass a pointer"},
		{"pointer", &pointer{}, ""},
		{"hidden by each other", hidden{onlyMessages{}, alsoMessages{}}, "hidden embeds more than one type with OnMessage, which hides them all"},
		{"nil pointer", (*hooks)(nil), "protocols are a nil *raw_test.hooks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := raw.New(tt.v, raw.Config{})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("New: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBadConfigurationIsAnError(t *testing.T) {
	for _, tt := range []struct {
		config raw.Config
		want   string
	}{
		{raw.Config{Network: "udp"}, "Network"},
		{raw.Config{IPv4Prefix: 33}, "IPv4Prefix"},
		{raw.Config{IPv6Prefix: -1}, "IPv6Prefix"},
		{raw.Config{Inbound: 3}, "Inbound"},
		{raw.Config{Network: "unix", ReusePort: true}, "ReusePort"},
		{raw.Config{ReplaceOlder: true}, "ReplaceOlder"},
		{raw.Config{Backlog: -1}, "Backlog"},
		{raw.Config{MaxFrame: -1}, "MaxFrame"},
		{raw.Config{InQueue: -1}, "InQueue"},
		{raw.Config{OutMessages: -1, OutBytes: -1}, "OutBytes"},
		{raw.Config{SocketReadBuffer: -1}, "SocketReadBuffer"},
	} {
		if _, err := raw.New(nil, tt.config); err == nil || !strings.Contains(err.Error(), "raw: Config."+tt.want) {
			t.Errorf("%+v: %v, want an error about %s", tt.config, err, tt.want)
		}
	}
	off := raw.Config{MaxConns: -1, MaxPerPrefix: -1, MaxPending: -1, ConnectTimeout: -1, HandshakeTimeout: -1, IdleTimeout: -1, WriteTimeout: -time.Second, HookTimeout: -1}
	a, addr := listen(t, &hooks{}, off)
	connect(t, start(t, &hooks{}, off), addr).Disconnect(nil)
	until(t, "it has ended", func() bool { return a.Stats().Ended[raw.Peer] == 1 })
}

func TestListenFailsWithWhy(t *testing.T) {
	_, addr := listen(t, nil, raw.Config{})
	for _, c := range []raw.Config{{Address: addr}, {Address: "nonsense"}, {Network: "unix"}} {
		n := start(t, nil, c)
		if _, err := n.Listen(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "raw: listen: ") {
			t.Errorf("Listen with %+v: %v", c, err)
		}
	}
	n := start(t, nil, raw.Config{})
	if _, err := n.ListenerFile(); err == nil {
		t.Error("ListenerFile of a node that does not listen")
	}
}
