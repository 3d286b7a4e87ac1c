package quic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

func TestInterleave(t *testing.T) {
	ips := func(all ...string) (ips []netip.Addr) {
		for _, s := range all {
			ips = append(ips, netip.MustParseAddr(s))
		}
		return ips
	}
	for _, c := range []struct {
		name string
		in   []netip.Addr
		want string
	}{
		{"one", ips("192.0.2.1"), "[192.0.2.1:7]"},
		{"IPv6 first", ips("192.0.2.1", "2001:db8::1"), "[[2001:db8::1]:7 192.0.2.1:7]"},
		{"by turns", ips("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"),
			"[[2001:db8::1]:7 192.0.2.1:7 [2001:db8::2]:7 192.0.2.2:7 192.0.2.3:7]"},
		{"doubles", ips("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"), "[192.0.2.1:7]"},
		{"many", ips("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"),
			"[192.0.2.1:7 192.0.2.2:7 192.0.2.3:7 192.0.2.4:7 192.0.2.5:7 192.0.2.6:7]"},
	} {
		if got := fmt.Sprint(interleave(c.in, 7)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// A runner is an address of a race: what becomes of a try after a time.
type runner struct {
	takes time.Duration
	err   error // nil: it connects
}

var (
	errRefused = errors.New("refused")
	errWrong   = &conn.WrongNodeError{Want: identity.NodeID{1}, Got: identity.NodeID{2}}
)

// TestRace runs the addresses of a name against each other in virtual time: when
// each starts, who wins, how long it takes, and that the others are given up
// before it returns.
func TestRace(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		runners []runner
		starts  []time.Duration // of those that start
		winner  int             // -1: none
		took    time.Duration
		err     error
	}{
		{"alone", []runner{{30 * ms, nil}}, []time.Duration{0}, 0, 30 * ms, nil},
		{"first in time", []runner{{240 * ms, nil}, {0, nil}}, []time.Duration{0}, 0, 240 * ms, nil},
		{"second overtakes", []runner{{time.Hour, nil}, {50 * ms, nil}}, []time.Duration{0, 250 * ms}, 1, 300 * ms, nil},
		{"first after all", []runner{{400 * ms, nil}, {200 * ms, nil}, {0, nil}}, []time.Duration{0, 250 * ms}, 0, 400 * ms, nil},
		{"a failure starts the next", []runner{{10 * ms, errRefused}, {20 * ms, errRefused}, {30 * ms, nil}},
			[]time.Duration{0, 10 * ms, 30 * ms}, 2, 60 * ms, nil},
		{"a failure starts the stagger anew", []runner{{100 * ms, errRefused}, {time.Hour, nil}, {1 * ms, nil}},
			[]time.Duration{0, 100 * ms, 350 * ms}, 2, 351 * ms, nil},
		{"all fail", []runner{{10 * ms, errRefused}, {500 * ms, errRefused}}, []time.Duration{0, 10 * ms}, -1, 510 * ms, errRefused},
		{"wrong node says most", []runner{{10 * ms, errWrong}, {500 * ms, errRefused}}, []time.Duration{0, 10 * ms}, -1, 510 * ms, errWrong},
		{"right node after a wrong one", []runner{{10 * ms, errWrong}, {20 * ms, nil}}, []time.Duration{0, 10 * ms}, 1, 30 * ms, nil},
		{"no time left", []runner{{time.Hour, nil}, {time.Hour, nil}}, []time.Duration{0, 250 * ms}, -1, 2 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				began := time.Now()
				starts := make([]time.Duration, len(c.runners))
				var mu sync.Mutex // guards starts, started and running
				started, running := 0, 0
				targets := make([]netip.AddrPort, len(c.runners))
				for i := range targets {
					targets[i] = netip.MustParseAddrPort("192.0.2.1:" + strconv.Itoa(1+i))
				}
				got, winner, err := race(ctx, targets, func(ctx context.Context, target netip.AddrPort) (*connection, error) {
					i := int(target.Port()) - 1
					mu.Lock()
					starts[i] = time.Since(began)
					started++
					running++
					mu.Unlock()
					defer func() {
						mu.Lock()
						defer mu.Unlock()
						running--
					}()
					select {
					case <-time.After(c.runners[i].takes):
					case <-ctx.Done():
						return nil, context.Cause(ctx)
					}
					if c.runners[i].err != nil {
						return nil, c.runners[i].err
					}
					return &connection{}, nil
				})
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if !reflect.DeepEqual(starts[:started], c.starts) {
					t.Errorf("tries began after %v, want %v", starts[:started], c.starts)
				}
				if running != 0 {
					t.Errorf("%d tries run on", running)
				}
				if c.winner >= 0 && (err != nil || got == nil || winner != targets[c.winner]) {
					t.Errorf("%v won with the error %v, want %v", winner, err, targets[c.winner])
				}
				if c.winner < 0 && (got != nil || !errors.Is(err, c.err)) {
					t.Errorf("%v won with the error %v, want %v", winner, err, c.err)
				}
			})
		})
	}
}

// TestRemembered: the winner of a race begins the next one.
func TestRemembered(t *testing.T) {
	tr := New()
	defer tr.Close()
	a, b, c := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1"), netip.MustParseAddrPort("192.0.2.3:1")
	all := []netip.AddrPort{a, b, c}
	tr.remember("name:1", c)
	for _, test := range []struct {
		host     string
		in, want []netip.AddrPort
	}{
		{"name:1", all, []netip.AddrPort{c, a, b}},
		{"other:1", all, all},
		{"name:1", []netip.AddrPort{a, b}, []netip.AddrPort{a, b}}, // it has moved away
	} {
		if got := tr.remembered(test.host, test.in); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: tries %v of %v, want %v", test.host, got, test.in, test.want)
		}
	}
	for i := range 2 * maxRemember {
		tr.remember("name:"+strconv.Itoa(i), a)
	}
	if len(tr.won) != maxRemember {
		t.Errorf("%d names are remembered, want %d", len(tr.won), maxRemember)
	}
}

// TestGivesUpWhereNoRouteLeads: the system tells at once what a silent peer does
// not.
func TestGivesUpWhereNoRouteLeads(t *testing.T) {
	silent := listenNothing(t)
	tr := New()
	defer tr.Close()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := tr.Dial(t.Context(), conn.Local{Key: key, HandshakeTimeout: time.Hour}, identity.NodeID{}, silent)
		done <- err
	}()
	noRoute := errors.New("no route")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if !errors.Is(err, noRoute) || !errors.Is(err, conn.CodeUnreachable) {
				t.Errorf("Dial = %v, want the error of the write", err)
			}
			return
		case <-tick.C:
			failWrites(tr, noRoute)
		}
	}
}
