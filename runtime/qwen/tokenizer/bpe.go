package tokenizer

import "math"

// pair is two tokens that stand side by side, the left one in the upper half.
type pair uint64

func pairOf(left, right int32) pair { return pair(left)<<32 | pair(uint32(right)) }

// merge is what a pair becomes. The lowest rank is merged first.
type merge struct {
	rank int32
	id   int32
}

// word is a word while it is merged. Its symbols are a list linked by positions, so that a
// merge costs the same anywhere.
type word struct {
	symbols []symbol
	queue   queue
}

// symbol is one token of the word; id is -1 once its left neighbour has swallowed it.
type symbol struct{ id, prev, next int32 }

// scanned is the length up to which looking through all pairs for the lowest rank is faster
// than a queue of them.
const scanned = 24

// encode appends the ids of a word: while there is a pair to merge, that of the lowest
// rank, the leftmost among equals, becomes one token.
func (w *word) encode(t *Tokenizer, text string, ids []int32) []int32 {
	w.symbols = w.symbols[:0]
	for i := range len(text) {
		w.symbols = append(w.symbols, symbol{t.bytes[text[i]], int32(i - 1), int32(i + 1)})
	}
	w.symbols[len(text)-1].next = -1
	if len(text) <= scanned {
		w.scan(t)
	} else {
		w.sort(t)
	}
	for i := int32(0); i >= 0; i = w.symbols[i].next {
		ids = append(ids, w.symbols[i].id)
	}
	return ids
}

// scan merges a short word.
func (w *word) scan(t *Tokenizer) {
	var ranks [scanned]merge
	for i := range w.symbols {
		ranks[i] = w.mergeAt(t, int32(i))
	}
	for {
		best := int32(-1)
		for i := int32(0); i >= 0; i = w.symbols[i].next {
			if ranks[i].rank < math.MaxInt32 && (best < 0 || ranks[i].rank < ranks[best].rank) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		w.join(best, ranks[best].id)
		ranks[best] = w.mergeAt(t, best)
		if prev := w.symbols[best].prev; prev >= 0 {
			ranks[prev] = w.mergeAt(t, prev)
		}
	}
}

// sort merges a long word. The queue holds a pair from when it comes about; when it is its
// turn it may be gone, and then the pair there now has another rank or there is none.
func (w *word) sort(t *Tokenizer) {
	w.queue = w.queue[:0]
	for i := range w.symbols {
		w.enqueue(t, int32(i))
	}
	for len(w.queue) > 0 {
		rank, at := w.queue.pop()
		m := w.mergeAt(t, at)
		if m.rank != rank {
			continue
		}
		w.join(at, m.id)
		w.enqueue(t, at)
		w.enqueue(t, w.symbols[at].prev)
	}
}

// mergeAt is the merge of a symbol with the one behind; rank is math.MaxInt32 without one.
func (w *word) mergeAt(t *Tokenizer, at int32) merge {
	left := w.symbols[at]
	if left.id >= 0 && left.next >= 0 {
		if m, ok := t.merges[pairOf(left.id, w.symbols[left.next].id)]; ok {
			return m
		}
	}
	return merge{rank: math.MaxInt32}
}

// join makes a symbol and the one behind it one.
func (w *word) join(at, id int32) {
	gone := w.symbols[at].next
	next := w.symbols[gone].next
	w.symbols[at].id, w.symbols[at].next = id, next
	w.symbols[gone].id = -1
	if next >= 0 {
		w.symbols[next].prev = at
	}
}

func (w *word) enqueue(t *Tokenizer, at int32) {
	if at < 0 {
		return
	}
	if m := w.mergeAt(t, at); m.rank < math.MaxInt32 {
		w.queue.push(m.rank, at)
	}
}

// queue is a binary heap, lowest first, of rank in the upper and position in the lower half.
// container/heap would box every element.
type queue []uint64

func (q *queue) push(rank, at int32) {
	h := append(*q, uint64(rank)<<32|uint64(at))
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
	*q = h
}

func (q *queue) pop() (rank, at int32) {
	h := *q
	top := h[0]
	h[0] = h[len(h)-1]
	h = h[:len(h)-1]
	for i := 0; 2*i+1 < len(h); {
		down := 2*i + 1
		if down+1 < len(h) && h[down+1] < h[down] {
			down++
		}
		if h[i] <= h[down] {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	*q = h
	return int32(top >> 32), int32(uint32(top))
}
