package batch

import "sync"

// A block is a buffer on its way through a pool. The pointer is what makes
// putting it there free of allocations.
type block struct{ b []byte }

// Sizes of buffers. Larger ones than maxBlock are made when they are needed
// and left to the garbage collector.
const (
	minBlock = 4 << 10
	midBlock = 64 << 10
	maxBlock = 4 << 20
)

// Buffers by capacity: of at least minBlock, of at least midBlock.
var small, large sync.Pool

// obtain returns a buffer without contents with room for size bytes.
func obtain(size int) *block {
	pool := &small
	if size > minBlock {
		size = (size + midBlock - 1) / midBlock * midBlock
		pool = &large
	}
	k, _ := pool.Get().(*block)
	switch {
	case k == nil:
		k = &block{make([]byte, 0, max(size, minBlock))}
	case cap(k.b) < size:
		k.b = make([]byte, 0, size)
	}
	return k
}

// release takes a buffer that nobody uses any more.
func release(k *block) {
	switch c := cap(k.b); {
	case c > maxBlock || c < minBlock:
		return
	case c >= midBlock:
		k.b = k.b[:0]
		large.Put(k)
	default:
		k.b = k.b[:0]
		small.Put(k)
	}
}
