package discovery

import (
	"bytes"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// FuzzRecord: no bytes make the decoder panic, and what it accepts stays within
// the limits.
func FuzzRecord(f *testing.F) {
	f.Add(unhex(goldenBytes + goldenSignature))
	f.Add(recordOf(3, 10, 0))
	f.Add(make([]byte, minRecord))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		if len(b) > maxRecord || len(r.addresses) > maxAddresses || len(r.services) > maxServices || r.lifetime > maxLifetime {
			t.Errorf("accepts %+v from %d bytes", r, len(b))
		}
		for _, a := range r.addresses {
			if back, err := identity.ParseAddress(a.String()); err != nil || back != a {
				t.Errorf("address %q reads back as %v, %v", a, back, err)
			}
		}
		// What was accepted can be issued, unless addresses became longer
		// when they were normalised.
		if again, err := appendBody(nil, &r); err == nil && len(again)+signatureSize <= maxRecord {
			if _, err := decodeRecord(append(again, make([]byte, signatureSize)...)); err != nil {
				t.Errorf("%x is not read back: %v", again, err)
			}
		}
		_ = contentOf(b)
	})
}

// FuzzMessages gives a behaviour messages of any content: it must survive, and
// close nothing but for a forged record.
func FuzzMessages(f *testing.F) {
	f.Add(uint16(kindRecords), records(flagEnd, recordOf(3, 10, time.Minute)))
	f.Add(uint16(kindRecords), appendEntry([]byte{0}, recordOf(1, 1<<61, time.Minute), time.Hour))
	f.Add(uint16(kindAnnounce), appendFingerprints([]byte{flagReply}, []fingerprint{1, 2}))
	f.Add(uint16(kindRequest), appendFingerprints(nil, []fingerprint{1, 2}))
	f.Add(uint16(kindDigest), digest{1, 2}.append(nil))
	f.Add(uint16(kindLink), linkReport{linkDrop, 9}.append(nil))
	f.Add(uint16(kindLink), linkReport{linkAgree, 0}.append(nil))
	f.Add(uint16(6), []byte{})
	f.Fuzz(func(t *testing.T, kind uint16, payload []byte) {
		b := newBench(t, Config{MaxNodes: 16})
		for range 2 {
			sent := bytes.Clone(payload)
			b.get(b.link, conn.Kind(kind), payload)
			if !bytes.Equal(sent, payload) {
				t.Error("changes the payload")
			}
			for range 8 {
				b.tick()
			}
		}
		for _, c := range b.calls() {
			if c.IsSend() && len(c.Message.Payload) > maxMessage {
				t.Errorf("sends %d bytes", len(c.Message.Payload))
			}
		}
	})
}
