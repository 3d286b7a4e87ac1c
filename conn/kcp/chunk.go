package kcp

import (
	"encoding/binary"
	"fmt"
)

// Chunks are what the bytes of a TLS session travel in.
const (
	headSize = 2
	maxChunk = 16 << 10
	alive    = 0      // the length of a sign of life
	end      = 0xffff // the length that says that no more comes
)

// head returns the header of a chunk.
func head(length int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(length)) }

// A dechunker takes chunks apart, however they were cut into packets.
type dechunker struct {
	head  [headSize]byte
	have  int // bytes of head
	left  int // bytes that the chunk still has
	ended bool
}

// next returns the data at the beginning of p, which may be empty, and what
// follows it. After the end nothing follows.
func (d *dechunker) next(p []byte) (data, rest []byte, err error) {
	if d.left > 0 {
		n := min(d.left, len(p))
		d.left -= n
		return p[:n], p[n:], nil
	}
	n := copy(d.head[d.have:], p)
	d.have += n
	if d.have < headSize {
		return nil, nil, nil
	}
	d.have = 0
	switch length := int(binary.BigEndian.Uint16(d.head[:])); {
	case length == end:
		d.ended = true
		return nil, nil, nil
	case length > maxChunk:
		return nil, nil, fmt.Errorf("kcp: a chunk has %d bytes, at most %d are allowed", length, maxChunk)
	default:
		d.left = length
		return nil, p[n:], nil
	}
}
