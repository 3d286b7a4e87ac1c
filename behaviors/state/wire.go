package state

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/plexus-net/plexus/conn"
)

// The kinds of messages. Values are part of the wire format.
const (
	kindEntries conn.Kind = 1 // writes: pushed, or because the receiver lacks them
	kindRoot    conn.Kind = 2 // "do we differ?"
	kindBuckets conn.Kind = 3 // "yes: where?"
	kindItems   conn.Kind = 4 // "here: this is what I have"
	kindWant    conn.Kind = 5 // "send me these"
)

const (
	version = 1 // of every message, its first byte

	maxPage    = 64 << 10          // what a message is filled up to
	maxMessage = 64 + 4 + maxEntry // the largest message: one entry alone
	maxUnknown = maxMessage        // entries of unknown versions are skipped up to this
	buckets    = 256               // one for each first byte of a key's hash
	sumSize    = 16                // bytes of a bucket's hash
	itemSize   = 16 + 8 + 8        // key hash, stamp, start of the entry's hash
	spanHead   = 16 + 16 + 2       // from, to, number of items
	hashBytes  = 16

	flagMore = 1 // of kindEntries: a span follows that the answer has not finished
	flagDone = 2 // of kindEntries: the answer ends here
	flagFull = 1 // of kindItems: the sender takes no new keys
)

// bucketSum is the hash of a bucket's entries; zero for an empty bucket.
type bucketSum [sumSize]byte

// An item stands for an entry while replicas compare what they have.
type item struct {
	hash  keyHash
	stamp Stamp
	sum   [8]byte
}

// A span is a range of key hashes, both ends included.
type span struct{ from, to keyHash }

// whole is every key hash.
var whole = span{to: keyHash{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}

// bucketSpan returns the span of buckets first to last.
func bucketSpan(first, last int) span {
	s := whole
	s.from[0], s.to[0] = byte(first), byte(last)
	return s
}

// checkVersion returns what follows the version byte.
func checkVersion(p []byte) ([]byte, error) {
	switch {
	case len(p) == 0 || len(p) > maxMessage:
		return nil, errMalformed
	case p[0] != version:
		return nil, errVersion
	}
	return p[1:], nil
}

// entriesWriter packs entries into messages of kindEntries.
type entriesWriter struct {
	buf []byte
	n   int
}

// add appends an entry, or reports that the message is full.
func (w *entriesWriter) add(raw []byte) bool {
	w.begin()
	if w.n > 0 && len(w.buf)+4+len(raw)+2*hashBytes > maxPage {
		return false
	}
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(raw)))
	w.buf = append(w.buf, raw...)
	w.n++
	return true
}

func (w *entriesWriter) begin() {
	if len(w.buf) == 0 {
		w.buf = append(w.buf, version, 0)
	}
}

// more says which span the answer leaves unfinished.
func (w *entriesWriter) more(s span) {
	w.begin()
	w.buf[1] = flagMore
	w.buf = slices.Insert(w.buf, 2, slices.Concat(s.from[:], s.to[:])...)
}

// done says that the answer is complete.
func (w *entriesWriter) done() {
	w.begin()
	w.buf[1] = flagDone
}

// entriesPage is a message of kindEntries.
type entriesPage struct {
	more bool // rest is not yet finished
	rest span
	done bool // the answer ends here
	body []byte
}

func parseEntries(p []byte) (entriesPage, error) {
	p, err := checkVersion(p)
	if err != nil {
		return entriesPage{}, err
	}
	if len(p) == 0 || p[0] > flagDone {
		return entriesPage{}, errMalformed
	}
	page := entriesPage{more: p[0] == flagMore, done: p[0] == flagDone, body: p[1:]}
	if page.more {
		if page.rest, page.body, err = parseSpan(page.body); err != nil {
			return entriesPage{}, err
		}
	}
	return page, nil
}

func parseSpan(p []byte) (span, []byte, error) {
	if len(p) < 2*hashBytes {
		return span{}, nil, errMalformed
	}
	s := span{keyHash(p), keyHash(p[hashBytes:])}
	if s.from.compare(s.to) > 0 {
		return span{}, nil, errMalformed
	}
	return s, p[2*hashBytes:], nil
}

// all returns the entries of a page, not yet parsed. The second value is false,
// once and at the end, if the page is cut short.
func (p entriesPage) all() iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		for body := p.body; len(body) > 0; {
			if len(body) < 4 {
				yield(nil, false)
				return
			}
			n := binary.BigEndian.Uint32(body)
			if n > maxUnknown || int(n) > len(body)-4 {
				yield(nil, false)
				return
			}
			if !yield(body[4:4+n:4+n], true) {
				return
			}
			body = body[4+n:]
		}
	}
}

func appendRoot(dst []byte, root [32]byte) []byte { return append(append(dst, version), root[:]...) }

func parseRoot(p []byte) (root [32]byte, err error) {
	if p, err = checkVersion(p); err != nil {
		return root, err
	}
	if len(p) != len(root) {
		return root, errMalformed
	}
	return [32]byte(p), nil
}

func appendBuckets(dst []byte, sums *[buckets]bucketSum) []byte {
	dst = append(dst, version)
	for i := range sums {
		dst = append(dst, sums[i][:]...)
	}
	return dst
}

func parseBuckets(p []byte) (sums [buckets]bucketSum, err error) {
	if p, err = checkVersion(p); err != nil {
		return sums, err
	}
	if len(p) != buckets*sumSize {
		return sums, errMalformed
	}
	for i := range sums {
		sums[i] = bucketSum(p[i*sumSize:])
	}
	return sums, nil
}

// itemsWriter packs spans of items into messages of kindItems.
type itemsWriter struct {
	buf   []byte
	count int // where the number of items of the current span is
}

func newItemsWriter(full bool) *itemsWriter {
	w := &itemsWriter{buf: []byte{version, 0}}
	if full {
		w.buf[1] = flagFull
	}
	return w
}

// open begins a span, or reports that there is no room for it and an item.
func (w *itemsWriter) open(from keyHash) bool {
	if len(w.buf)+spanHead+itemSize > maxPage {
		return false
	}
	w.buf = append(w.buf, from[:]...)
	w.buf = append(w.buf, make([]byte, spanHead-hashBytes)...)
	w.count = len(w.buf) - 2
	return true
}

// add appends an item to the current span, or reports that there is no room.
func (w *itemsWriter) add(it item) bool {
	if len(w.buf)+itemSize > maxPage {
		return false
	}
	w.buf = append(w.buf, it.hash[:]...)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(it.stamp))
	w.buf = append(w.buf, it.sum[:]...)
	n := binary.BigEndian.Uint16(w.buf[w.count:])
	binary.BigEndian.PutUint16(w.buf[w.count:], n+1)
	return true
}

// close ends the current span.
func (w *itemsWriter) close(to keyHash) { copy(w.buf[w.count-hashBytes:], to[:]) }

// empty reports that nothing has been written.
func (w *itemsWriter) empty() bool { return len(w.buf) == 2 }

// spanItems says all that a replica has in a span.
type spanItems struct {
	span
	items []item
}

// parseItems reads a message of kindItems: spans and their items in strictly
// ascending order.
func parseItems(p []byte) (full bool, spans []spanItems, err error) {
	if p, err = checkVersion(p); err != nil {
		return false, nil, err
	}
	if len(p) == 0 || p[0]&^flagFull != 0 {
		return false, nil, errMalformed
	}
	full = p[0]&flagFull != 0
	for p = p[1:]; len(p) > 0; {
		var s spanItems
		if s.span, p, err = parseSpan(p); err != nil {
			return false, nil, err
		}
		if len(p) < 2 || len(spans) == buckets || len(spans) > 0 && spans[len(spans)-1].to.compare(s.from) >= 0 {
			return false, nil, errMalformed
		}
		n := int(binary.BigEndian.Uint16(p))
		if p = p[2:]; n*itemSize > len(p) {
			return false, nil, errMalformed
		}
		s.items = make([]item, n)
		for i := range s.items {
			s.items[i] = item{keyHash(p), Stamp(binary.BigEndian.Uint64(p[16:])), [8]byte(p[24:])}
			p = p[itemSize:]
			h := s.items[i].hash
			if h.compare(s.from) < 0 || h.compare(s.to) > 0 || i > 0 && s.items[i-1].hash.compare(h) >= 0 {
				return false, nil, errMalformed
			}
		}
		spans = append(spans, s)
	}
	return full, spans, nil
}

func appendWant(dst []byte, want []keyHash) []byte {
	dst = append(dst, version)
	for i := range want {
		dst = append(dst, want[i][:]...)
	}
	return dst
}

func parseWant(p []byte) ([]keyHash, error) {
	p, err := checkVersion(p)
	if err != nil {
		return nil, err
	}
	if len(p) == 0 || len(p)%hashBytes != 0 {
		return nil, errMalformed
	}
	want := make([]keyHash, len(p)/hashBytes)
	for i := range want {
		want[i] = keyHash(p[i*hashBytes:])
		if i > 0 && want[i-1].compare(want[i]) >= 0 {
			return nil, errMalformed
		}
	}
	return want, nil
}
