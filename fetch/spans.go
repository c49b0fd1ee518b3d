package fetch

import "slices"

// span is the stretch [from, to) of a file.
type span struct{ from, to int64 }

func (s span) len() int64 { return s.to - s.from }

// spans is a set of bytes: sorted stretches that neither touch nor overlap.
type spans []span

// add puts a stretch into the set.
func (s spans) add(n span) spans {
	if n.from >= n.to {
		return s
	}
	// [i, j) are the stretches that n touches.
	i, _ := slices.BinarySearchFunc(s, n.from, func(have span, from int64) int { return compare(have.to, from) })
	j := i
	for j < len(s) && s[j].from <= n.to {
		n.from, n.to = min(n.from, s[j].from), max(n.to, s[j].to)
		j++
	}
	return slices.Replace(s, i, j, n)
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// front is the end of the stretch that begins at byte 0.
func (s spans) front() int64 {
	if len(s) > 0 && s[0].from == 0 {
		return s[0].to
	}
	return 0
}

// after is the end of the stretch that holds the byte at, or at itself if none does.
func (s spans) after(at int64) int64 {
	for _, have := range s {
		if have.from <= at && at < have.to {
			return have.to
		}
	}
	return at
}

// gap is the first stretch at or behind from, within size bytes, that is not in the set.
func (s spans) gap(from, size int64) (span, bool) {
	for _, have := range s {
		if have.to <= from {
			continue
		}
		if have.from > from {
			return span{from, min(have.from, size)}, from < size
		}
		from = have.to
	}
	return span{from, size}, from < size
}

// total is the number of bytes in the set.
func (s spans) total() int64 {
	var n int64
	for _, have := range s {
		n += have.len()
	}
	return n
}

// valid reports whether the set is one, within size bytes.
func (s spans) valid(size int64) bool {
	last := int64(-1)
	for _, have := range s {
		if have.from <= last || have.to <= have.from || have.to > size {
			return false
		}
		last = have.to
	}
	return true
}
