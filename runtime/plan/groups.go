package plan

import (
	"cmp"
	"slices"

	"github.com/plimsoll-oci/plimsoll/runtime/compute"
)

// Group is a group of weights.
type Group struct {
	Name string `json:"name"`
	// Bytes is what it takes of a device where it stays there.
	Bytes int64 `json:"bytes"`
	// WindowBytes is what it takes of package kernels' window where it comes when it is used,
	// and what is copied then, but for a few percent. Tables take nothing: single rows come.
	WindowBytes int64 `json:"windowBytes"`
	// Uses is how often a run begins to use it after another.
	Uses int64 `json:"uses"`
}

type group struct{ Group }

// String is the group's name.
func (g *group) String() string { return g.Name }

// Group begins a group, which is counted for itself.
func (b *Backend) Group(name string) {
	b.loading = nil
	if name == "" {
		return
	}
	b.loading = &group{Group{Name: name}}
	b.groups = append(b.groups, b.loading)
}

// window counts pieces of memory in the window.
func (b *Backend) window(pieces ...int64) {
	for _, n := range pieces {
		if b.loading != nil {
			b.loading.WindowBytes += (n + compute.Align - 1) / compute.Align * compute.Align
		}
	}
}

// use counts the beginning of a use of the group of an operation's weights.
func (b *Backend) use(g *group, more ...compute.Vector) {
	all := []*group{g}
	for _, v := range more {
		if v != nil {
			all = append(all, b.vector(v).group)
		}
	}
	g = compute.CheckGroup((*group).String, all...)
	if g != nil && g != b.using {
		b.using = g
		g.Uses += b.times
	}
}

// Streaming says which groups of weights stay on the host, and what that takes.
type Streaming struct {
	// Groups are their names, in the order of loading.
	Groups []string
	// WindowBytes is the window through which they come, HeldBytes all that weights take of the
	// device, the window among it.
	WindowBytes, HeldBytes int64
	// RunBytes is what is copied to the device in a run like the one that was counted, and
	// HostBytes what should be in the host's page cache for that.
	RunBytes, HostBytes int64
}

// Stream chooses groups so that weights take at most so many bytes of the device, and little is
// copied in a run like the one that was counted: those first of which least is copied for the memory
// that they give, which is within a few percent of the best choice where groups are many. Where there is room for all
// weights it chooses none; ok is false where there is none for the rest and a window.
//
// The window takes as much as two of the largest group that streams, so the choice is made anew for
// each size that may be the largest.
func (r Result) Stream(room int64) (best Streaming, ok bool) {
	classes, largest := r.classes(), []int64{0}
	for _, g := range r.Groups {
		largest = append(largest, g.WindowBytes)
	}
	slices.Sort(largest)
	for i, most := range slices.Compact(largest) {
		s := r.choose(room, most, classes)
		fits, smaller := s.HeldBytes <= room, s.HeldBytes < best.HeldBytes
		if i == 0 || fits && (!ok || s.RunBytes < best.RunBytes) || !ok && smaller {
			best, ok = s, fits
		}
	}
	return best, ok
}

// choose is Stream with no group of more than most bytes in the window.
func (r Result) choose(room, most int64, classes [][]int) Streaming {
	chosen := make([]bool, len(r.Groups))
	s := r.streaming(chosen)
	for _, class := range classes {
		if r.Groups[class[0]].WindowBytes > most {
			continue
		}
		before := slices.Clone(chosen)
		for n := 1; n <= len(class) && s.HeldBytes > room; n++ {
			copy(chosen, before)
			for j := range n { // spread over the run, so that copies are
				chosen[class[j*len(class)/n]] = true
			}
			s = r.streaming(chosen)
		}
	}
	return r.putBack(room, chosen, s)
}

// putBack takes groups out of a choice that fits without them, the ones first of which most is
// copied.
func (r Result) putBack(room int64, chosen []bool, s Streaming) Streaming {
	var order []int
	for i := range chosen {
		if chosen[i] {
			order = append(order, i)
		}
	}
	copied := func(i int) int64 { return r.Groups[i].Uses * r.Groups[i].WindowBytes }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(copied(b), copied(a)) })
	for _, i := range order {
		chosen[i] = false
		if without := r.streaming(chosen); without.HeldBytes <= room {
			s = without
		} else {
			chosen[i] = true
		}
	}
	return s
}

// classes are the groups in the order in which they leave the device, those that are alike
// together: the ones of which least is copied for the memory that they give.
func (r Result) classes() (all [][]int) {
	like := func(a, b Group) bool {
		return a.Uses == b.Uses && a.Bytes == b.Bytes && a.WindowBytes == b.WindowBytes
	}
	for i, g := range r.Groups {
		at := slices.IndexFunc(all, func(class []int) bool { return like(r.Groups[class[0]], g) })
		if at < 0 {
			at = len(all)
			all = append(all, nil)
		}
		all[at] = append(all[at], i)
	}
	price := func(class []int) float64 {
		g := r.Groups[class[0]]
		return float64(g.Uses*g.WindowBytes) / float64(max(1, g.Bytes))
	}
	slices.SortStableFunc(all, func(a, b []int) int { return cmp.Compare(price(a), price(b)) })
	return all
}

// streaming is what a choice takes.
func (r Result) streaming(chosen []bool) Streaming {
	s := Streaming{HeldBytes: r.WeightBytes}
	var largest int64
	for i, g := range r.Groups {
		if !chosen[i] {
			continue
		}
		s.Groups = append(s.Groups, g.Name)
		s.HeldBytes -= g.Bytes
		s.HostBytes += g.Bytes
		s.RunBytes += g.Uses * g.WindowBytes
		largest = max(largest, g.WindowBytes)
	}
	s.WindowBytes = 2 * largest
	s.HeldBytes += s.WindowBytes
	return s
}
