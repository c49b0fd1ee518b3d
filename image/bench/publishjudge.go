package bench

// judge enters the ratios of Publish.
func (b *publishBench) judge() {
	r, size := b.result, float64(b.size)
	ours := entry{cold, oursPublish}
	b.fastest(ours)
	for _, c := range r.Cases {
		for _, x := range c.Contestants {
			if c.Name == cold {
				r.compare(entry{cold, x.Name}, entry{yardstick, byOpenssl}, "wall", wall, aim{})
			}
		}
	}
	r.share(ours, "read / size", size, callsRead, aim{AtMost, 1})
	r.share(ours, "disk written / size", size, diskWritten, aim{AtMost, 0})
	f := r.highest(floorHash, floorDisk)
	r.share(ours, "wall / floor ("+f.Name+")", f.Seconds, wall, aim{})
	r.share(entry{warmCase, oursPublish}, "read / size", size, callsRead, aim{AtMost, 0})
	beside := entry{runtimeOnly, oursPublish}
	r.share(beside, "wall, seconds", 1, wall, aim{AtMost, 5})
	r.share(beside, "downloaded / size", size, transferred, aim{AtMost, 0})
	r.share(beside, "sent / size", size, func(s Sample) float64 { return float64(s.CallsWritten) }, aim{})
	b.judgeResumed(r)
}

// fastest compares the cold publication with the fastest of the others.
func (b *publishBench) fastest(ours entry) {
	best, r := "", b.result
	for _, p := range b.publishers()[1:] {
		m, missing := r.median(entry{cold, p.name})
		if missing != "" {
			continue
		}
		if other, _ := r.median(entry{cold, best}); other == nil || m.Seconds < other.Seconds {
			best = p.name
		}
	}
	a := aim{AtMost, 1}
	if best == "" {
		r.ratio(cold, oursPublish+" / the fastest other, wall", 0, "crane, skopeo, oras and oci-modelcar are missing", a)
		return
	}
	r.compare(ours, entry{cold, best}, "wall (the fastest other)", wall, a)
}

// judgeResumed enters what a cut costs.
func (b *publishBench) judgeResumed(r *Result) {
	for _, way := range []string{interrupted, killed} {
		what, a := way+", sent twice / size", aim{AtMost, 0.03}
		if len(b.again[way]) == 0 {
			r.ratio(resumed, what, 0, "nothing was cut", a)
			continue
		}
		r.ratio(resumed, what, median(b.again[way], func(v float64) float64 { return v }), "", a)
		r.compare(entry{resumed, way}, entry{cold, oursPublish}, "wall", wall, aim{})
	}
}
