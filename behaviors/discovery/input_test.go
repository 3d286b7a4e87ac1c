package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A bench is one Discovery on a recorder, with one neighbour that the test
// plays.
type bench struct {
	t    *testing.T
	rec  *agenttest.Recorder
	d    *Discovery
	link conn.Info
}

func newBench(t *testing.T, c Config) *bench {
	t.Helper()
	c.Key = testKey(1)
	b := &bench{t: t, rec: agenttest.New(agenttest.Config{Self: c.Key.ID(), Service: Service, Start: time.UnixMilli(1_800_000_000_000)}), d: New(c)}
	if err := b.d.OnStart(b.rec.Behavior()); err != nil {
		t.Fatal(err)
	}
	b.link = b.connect(testKey(2).ID())
	b.calls()
	return b
}

func (b *bench) connect(id identity.NodeID) conn.Info {
	c := b.rec.Connect(conn.Info{Node: id})
	b.d.OnConnect(b.rec.Behavior(), c)
	return c
}

func (b *bench) disconnect(c conn.Info, cause error) {
	b.rec.Disconnect(c.ID, cause)
	b.d.OnDisconnect(b.rec.Behavior(), c, cause)
}

// calls returns what was asked for since the last call.
func (b *bench) calls() []agenttest.Call { return b.rec.TakeCalls() }

func (b *bench) get(c conn.Info, kind conn.Kind, payload []byte) {
	b.d.OnMessage(b.rec.Behavior(), b.rec.Message(c, kind, payload))
}

// tick lets an interval pass.
func (b *bench) tick() {
	b.rec.Advance(b.d.config.Interval)
	b.d.OnTick(b.rec.Behavior(), b.rec.Behavior().Now())
}

func (b *bench) stats() Stats {
	s, err := b.d.Stats(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// recordOf makes the record of test node i.
func recordOf(i int, sequence uint64, lifetime time.Duration) []byte {
	r := record{id: testKey(i).ID(), sequence: sequence, lifetime: lifetime, addresses: []identity.Address{memAddress(fmt.Sprintf("n%d", i))}}
	b, err := appendRecord(nil, &r, testKey(i))
	if err != nil {
		panic(err)
	}
	return b
}

func records(flags byte, recs ...[]byte) []byte {
	out := []byte{flags}
	for _, r := range recs {
		out = appendEntry(out, r, 0)
	}
	return out
}

func sentOf(calls []agenttest.Call, kind conn.Kind) (out [][]byte) {
	for _, c := range calls {
		if c.IsSend() && c.Message.Kind == kind && c.Err == nil {
			out = append(out, c.Message.Payload)
		}
	}
	return out
}

func closesOf(calls []agenttest.Call) (out []error) {
	for _, c := range calls {
		if !c.IsSend() && c.Op.Code == agent.OpClose {
			out = append(out, c.Op.Cause)
		}
	}
	return out
}

func TestForgedRecordCostsTheConnection(t *testing.T) {
	b := newBench(t, Config{})
	forged := recordOf(3, 10, time.Minute)
	forged[len(forged)-1] ^= 1
	b.get(b.link, kindRecords, records(0, forged, forged, recordOf(4, 10, time.Minute)))
	closes := closesOf(b.calls())
	if len(closes) != 1 || !errors.Is(closes[0], conn.CodeProtocol) {
		t.Errorf("closes %v, want one with CodeProtocol", closes)
	}
	b.get(b.link, kindRecords, records(0, recordOf(4, 10, time.Minute)))
	if s := b.stats(); s.Forged != 1 || s.Accepted != 0 || s.Known != 0 {
		t.Errorf("%+v: after a forged record nothing more is taken, and one signature was verified", s)
	}
}

func TestRecordsThatAreIgnored(t *testing.T) {
	b := newBench(t, Config{})
	good := recordOf(3, 10, time.Minute)
	b.get(b.link, kindRecords, records(0, good))
	for _, tt := range []struct {
		name string
		rec  []byte
		age  time.Duration
	}{
		{"the same again", good, 0},
		{"an older sequence", recordOf(3, 9, time.Minute), 0},
		{"the same sequence with other content", recordOf(3, 10, time.Hour), 0},
		{"past its lifetime", recordOf(4, 10, time.Minute), time.Minute},
		{"a node unknown here leaves", recordOf(5, 10, 0), 0},
		{"this node's own record", b.d.own.bytes, 0},
		{"malformed", []byte("nonsense"), 0},
	} {
		before := b.stats()
		b.get(b.link, kindRecords, appendEntry([]byte{0}, tt.rec, tt.age))
		after := b.stats()
		if after.Accepted != before.Accepted || after.Stale+after.Refused != before.Stale+before.Refused+1 || after.Known != 1 {
			t.Errorf("%s: %+v", tt.name, after)
		}
	}
	if closes := closesOf(b.calls()); len(closes) != 0 {
		t.Errorf("closes %v, want none: an honest node may send these", closes)
	}
}

// TestAddressChange: a newer record replaces an older one, and the replay of the
// older one changes nothing.
func TestAddressChange(t *testing.T) {
	b := newBench(t, Config{})
	r := record{id: testKey(3).ID(), sequence: 10, lifetime: time.Minute, addresses: []identity.Address{memAddress("old")}}
	old, _ := appendRecord(nil, &r, testKey(3))
	r.sequence, r.addresses = 11, []identity.Address{memAddress("new")}
	renewed, _ := appendRecord(nil, &r, testKey(3))
	for _, rec := range [][]byte{old, renewed, old} {
		b.get(b.link, kindRecords, records(0, rec))
	}
	peers, err := b.d.Peers(context.Background())
	if err != nil || len(peers) != 1 || peers[0].Addresses[0] != memAddress("new") || peers[0].ID != testKey(3).ID() || peers[0].Connected {
		t.Errorf("peers are %v, %v", peers, err)
	}
}

func TestMessagesOfNoNeighbour(t *testing.T) {
	b := newBench(t, Config{})
	payload := records(0, recordOf(3, 10, time.Minute))
	for _, m := range []*conn.Message{
		{Kind: kindRecords, From: testKey(2).ID(), Payload: payload, Hops: 3},                     // routed here
		{Kind: kindRecords, From: testKey(9).ID(), Conn: b.link.ID, Payload: payload, Hops: 2},    // through the neighbour
		{Kind: kindRecords, From: testKey(2).ID(), Conn: b.link.ID + 5, Payload: payload},         // of no connection
		{Kind: 99, From: testKey(2).ID(), Conn: b.link.ID, Payload: payload},                      // of a later version
		{Kind: kindAnnounce, From: testKey(2).ID(), Conn: b.link.ID, Payload: make([]byte, 1+9)},  // malformed
		{Kind: kindRequest, From: testKey(2).ID(), Conn: b.link.ID, Payload: make([]byte, 8*257)}, // too long
	} {
		b.d.OnMessage(b.rec.Behavior(), m)
	}
	if s := b.stats(); s.Refused != 6 || s.Known != 0 {
		t.Errorf("%+v, want 6 messages refused", s)
	}
	if calls := b.calls(); len(calls) > 1 { // Stats asks for one
		t.Errorf("asks for %v", calls)
	}
}

func TestNodesAreBounded(t *testing.T) {
	b := newBench(t, Config{MaxNodes: 5})
	for i := range 10 {
		b.get(b.link, kindRecords, records(0, recordOf(10+i, 10, time.Minute)))
	}
	if s := b.stats(); s.Known != 5 || s.Dropped != 5 {
		t.Errorf("%+v, want 5 known and 5 dropped", s)
	}
	b.get(b.link, kindRecords, records(0, recordOf(10, 11, time.Minute)))
	if s := b.stats(); s.Accepted != 6 {
		t.Errorf("%+v: a known node is renewed in a full store", s)
	}
	// When they die there is room, and the dead are bounded too.
	b.rec.Advance(2 * time.Minute)
	b.tick()
	b.get(b.link, kindRecords, records(0, recordOf(30, 10, time.Minute)))
	if s := b.stats(); s.Known != 1 || s.Dead != 5 {
		t.Errorf("%+v, want 1 known and 5 dead", s)
	}
	b.rec.Advance(25 * time.Hour)
	b.tick()
	b.tick()
	if s := b.stats(); s.Known != 0 || s.Dead != 1 || len(b.d.store.prints) != 1 {
		t.Errorf("%+v, %d fingerprints: the long dead are gone", s, len(b.d.store.prints))
	}
}

func TestDeadAreBounded(t *testing.T) {
	s := newStore()
	now := time.UnixMilli(1000)
	for i := range 20 {
		id := identity.NodeID{byte(i + 1)}
		s.put(record{id: id, sequence: 1}, append(make([]byte, minRecord), byte(i)), 0, now.Add(time.Duration(i)*time.Second))
	}
	buried := s.bury(now.Add(time.Minute), time.Hour, 8)
	if len(buried) != 12 || s.dead() != 8 || buried[0].id[0] != 1 || len(s.prints) != 8 {
		t.Errorf("buried %d, %d stay with %d fingerprints; want the 12 that died first", len(buried), s.dead(), len(s.prints))
	}
}

func TestAnnouncementsAreBounded(t *testing.T) {
	b := newBench(t, Config{MaxNodes: 100})
	for i := range 10 {
		var fps []fingerprint
		for j := range 1000 {
			fps = append(fps, fingerprint(1_000_000+i*1000+j))
		}
		b.get(b.link, kindAnnounce, appendFingerprints([]byte{0}, fps))
	}
	if n := len(b.d.wants); n > 200 {
		t.Errorf("%d wants", n)
	}
	requests := sentOf(b.calls(), kindRequest)
	if len(requests) != 1 || len(requests[0]) > 8*maxRequest {
		t.Errorf("%d requests at a time, want 1", len(requests))
	}
	// The neighbour does not answer: all that it announced is given up.
	for range 10 {
		b.tick()
	}
	if len(b.d.wants) != 0 || len(b.d.links[0].queue) != 0 {
		t.Errorf("%d wants are left", len(b.d.wants))
	}
}

// TestRequestFallsBack: what one neighbour does not send, another one is asked
// for.
func TestRequestFallsBack(t *testing.T) {
	for _, how := range []string{"no answer", "disconnected", "empty answer"} {
		b := newBench(t, Config{})
		other := b.connect(testKey(4).ID())
		rec := recordOf(3, 10, time.Minute)
		announce := appendFingerprints([]byte{0}, []fingerprint{fingerprintOf(rec)})
		b.calls()
		b.get(b.link, kindAnnounce, announce)
		b.get(other, kindAnnounce, announce)
		if n := len(sentOf(b.calls(), kindRequest)); n != 1 {
			t.Errorf("%s: %d requests, want 1", how, n)
		}
		switch how {
		case "no answer":
			for range 9 {
				b.tick()
			}
		case "disconnected":
			b.disconnect(b.link, conn.CodeUnreachable)
		case "empty answer":
			b.get(b.link, kindRecords, []byte{flagEnd})
		}
		var asked []agenttest.Call
		for _, c := range b.calls() {
			if c.IsSend() && c.Message.Kind == kindRequest {
				asked = append(asked, c)
			}
		}
		if len(asked) != 1 || asked[0].Message.To.Conn != other.ID {
			t.Errorf("%s: then asks %v, want the other neighbour", how, asked)
		}
		b.get(other, kindRecords, records(flagEnd, rec))
		if s := b.stats(); s.Known != 1 || len(b.d.wants) != 0 {
			t.Errorf("%s: %+v", how, s)
		}
	}
}

// TestFullSync: two nodes, one of which knows hundreds, with answers in pages.
func TestFullSync(t *testing.T) {
	s := newSim(t, 1)
	first := s.add(1)
	const n = 700
	for i := range n {
		b := recordOf(1000+i, 10, 5*time.Minute)
		r, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		r.addresses = nil // known, but not to be dialled
		first.disc.store.put(r, b, 0, s.now)
	}
	second := s.add(2, first.peer())
	took := s.until(3*time.Second, "the newcomer knows all", func() bool { return second.disc.Known() == n+1 })
	if got := s.stats(second); got.Accepted != n+1 || got.Forged != 0 {
		t.Errorf("%+v", got)
	}
	t.Logf("%d records in %v, %d bytes", n, took, first.sentBytes)
}

func TestFullQueueIsRepaired(t *testing.T) {
	b := newBench(t, Config{})
	b.rec.FailFunc(func(c agenttest.Call) error {
		if c.IsSend() {
			return agent.ErrQueueFull
		}
		return nil
	})
	late := b.connect(testKey(5).ID())
	b.get(b.link, kindRecords, records(0, recordOf(3, 10, time.Minute)))
	b.tick()
	b.calls()
	b.rec.Fail(nil)
	for range 5 {
		b.tick()
	}
	want := appendFingerprints(nil, []fingerprint{b.d.own.print})
	got := 0
	for _, c := range b.calls() {
		if c.IsSend() && c.Message.Kind == kindAnnounce && c.Message.To.Conn == late.ID && bytes.Contains(c.Message.Payload, want) {
			got++
		}
	}
	if got != 1 {
		t.Errorf("what found a full queue was announced %d times later, want once", got)
	}
}

func TestDigestRepairs(t *testing.T) {
	b := newBench(t, Config{})
	b.get(b.link, kindRecords, records(0, recordOf(3, 10, time.Minute)))
	b.tick()
	b.rec.Advance(10 * time.Second)
	b.calls()
	b.get(b.link, kindDigest, b.d.digest().append(nil))
	if sent := sentOf(b.calls(), kindAnnounce); len(sent) != 0 {
		t.Errorf("sends %x for a digest that is the same", sent)
	}
	b.get(b.link, kindDigest, digest{1, 1}.append(nil))
	b.get(b.link, kindDigest, digest{2, 2}.append(nil)) // at once again
	sent := sentOf(b.calls(), kindAnnounce)
	if len(sent) != 1 || sent[0][0] != flagReply || len(sent[0]) != 1+2*8 {
		t.Errorf("sends %x for a digest that differs, want all that it has once, with a reply wanted", sent)
	}
	// Renewals leave the digest alone, and changes do not.
	before := b.d.digest()
	b.get(b.link, kindRecords, records(0, recordOf(3, 11, time.Minute)))
	if b.d.digest() != before {
		t.Error("a renewal changes the digest")
	}
	b.get(b.link, kindRecords, records(0, recordOf(3, 12, 0)))
	if b.d.digest() == before {
		t.Error("a node that leaves does not change the digest")
	}
}

func TestSeedBackoff(t *testing.T) {
	seed := identity.PeerAddress{ID: testKey(7).ID(), Addresses: []identity.Address{memAddress("seed")}}
	rec := agenttest.New(agenttest.Config{Self: testKey(1).ID()})
	d := New(Config{Seeds: []identity.PeerAddress{seed, {ID: testKey(1).ID(), Addresses: seed.Addresses}}})
	if err := d.OnStart(rec.Behavior()); err != nil {
		t.Fatal(err)
	}
	var dials []time.Time
	for range 4 * 300 { // five minutes
		for _, c := range rec.TakeCalls() {
			if c.Op.Code == agent.OpDial {
				if c.Op.Peer.String() != seed.String() {
					t.Errorf("dials %v", c.Op.Peer)
				}
				dials = append(dials, rec.Behavior().Now())
				d.OnDialError(rec.Behavior(), conn.Dial{Peer: seed}, conn.CodeUnreachable)
			}
		}
		rec.Advance(250 * time.Millisecond)
		d.OnTick(rec.Behavior(), rec.Behavior().Now())
	}
	for i := 1; i < len(dials); i++ {
		full := min(500*time.Millisecond<<(i-1), 30*time.Second)
		if gap := dials[i].Sub(dials[i-1]); gap < full/2 || gap > full+500*time.Millisecond {
			t.Errorf("dial %d comes after %v, want %v to %v", i, gap, full/2, full)
		}
	}
	if len(dials) < 15 {
		t.Errorf("%d dials in five minutes: a seed is never given up", len(dials))
	}
	// The node's word on when it may be dialled again is kept.
	d.OnDialError(rec.Behavior(), conn.Dial{Peer: seed, Retry: rec.Behavior().Now().Add(time.Hour)}, conn.CodeRejected)
	rec.TakeCalls()
	for range 240 {
		rec.Advance(10 * time.Second)
		d.OnTick(rec.Behavior(), rec.Behavior().Now())
	}
	if calls := rec.TakeCalls(); len(calls) != 0 {
		t.Errorf("asks for %v before the hour has passed", calls)
	}
}

func TestKeyOfAnotherNode(t *testing.T) {
	rec := agenttest.New(agenttest.Config{Self: testKey(1).ID()})
	if err := New(Config{Key: testKey(2)}).OnStart(rec.Behavior()); err == nil || !strings.Contains(err.Error(), "own key") {
		t.Errorf("error is %v", err)
	}
	d := New(Config{})
	if _, err := d.Peers(context.Background()); !errors.Is(err, agent.ErrStopped) {
		t.Errorf("Peers before the start: %v, want ErrStopped", err)
	}
}

// TestImpostorIsOutbid: two nodes with one key do not outbid each other faster
// than a sixth of the TTL.
func TestImpostorIsOutbid(t *testing.T) {
	b := newBench(t, Config{})
	first := b.d.own.sequence
	for i := range 100 {
		b.get(b.link, kindRecords, records(0, recordOf(1, first+1+uint64(i)*1000, time.Minute)))
		b.tick()
	}
	if got := len(sentOf(b.calls(), kindAnnounce)); got < 2 || got > 4 {
		t.Errorf("announces itself %d times in 25 s, want 2 to 4", got)
	}
	if b.d.own.sequence <= first {
		t.Error("the own sequence was not raised")
	}
}

// TestStaleRecordOfNeighbour: a neighbour whose clock is behind what it once
// said is told so.
func TestStaleRecordOfNeighbour(t *testing.T) {
	b := newBench(t, Config{})
	newer := recordOf(2, 100, time.Minute)
	b.get(b.link, kindRecords, records(0, newer))
	b.calls()
	b.get(b.link, kindRecords, records(0, recordOf(2, 50, time.Minute)))
	sent := sentOf(b.calls(), kindRecords)
	if len(sent) != 1 || !slices.Equal(sent[0], records(0, newer)) {
		t.Errorf("answers %x, want the newer record", sent)
	}
}

func TestRules(t *testing.T) {
	behaviortest.Run(t, func() behavior.Behavior {
		return New(Config{
			Seeds:     []identity.PeerAddress{{ID: testKey(7).ID(), Addresses: []identity.Address{memAddress("seed")}}},
			Addresses: func() []identity.Address { return []identity.Address{memAddress("self")} },
		})
	},
		conn.Message{Kind: kindRecords, Payload: records(flagEnd, recordOf(3, 10, time.Minute))},
		conn.Message{Kind: kindAnnounce, Payload: appendFingerprints([]byte{flagReply}, []fingerprint{1, 2})},
		conn.Message{Kind: kindRequest, Payload: appendFingerprints(nil, []fingerprint{1})},
		conn.Message{Kind: kindDigest, Payload: digest{1, 2}.append(nil)},
		conn.Message{Kind: kindLink, Payload: linkReport{linkDrop, 9}.append(nil)},
	)
}
