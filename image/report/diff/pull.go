package diff

// pull counts what a node that has A fetches and unpacks for B.
func pull(a, b Image) Pull {
	var p Pull
	kept, known := commonChain(a.Layers, b.Layers)
	have := digests(a.blobs())
	above := digests(Image{Layers: b.Layers[kept:], Blobs: b.Blobs}.blobs())
	for _, l := range distinct(b.blobs()) {
		if have[l.Digest] {
			continue
		}
		p.Download.add(l.Size)
		if !above[l.Digest] {
			p.Spared.add(l.Size)
		}
	}
	if known {
		p.Unpack = unpack(a.Layers, b.Layers, kept)
	}
	return p
}

// commonChain is the number of lowest layers that have one chain id in both. known is false
// where a layer has no diff id.
func commonChain(a, b []Layer) (n int, known bool) {
	for _, layers := range [][]Layer{a, b} {
		for _, l := range layers {
			if l.DiffID == "" {
				return 0, false
			}
		}
	}
	for n < min(len(a), len(b)) && a[n].DiffID == b[n].DiffID {
		n++
	}
	return n, true
}

// unpack counts B's layers: the lowest ones are kept, the others unpacked.
func unpack(a, b []Layer, kept int) *Unpack {
	sizes, inA := map[string]int64{}, map[string]bool{}
	for _, l := range append(append([]Layer{}, a...), b...) {
		if l.Unpacked != UnknownSize {
			sizes[l.DiffID] = l.Unpacked
		}
	}
	for _, l := range a {
		inA[l.DiffID] = true
	}
	u := &Unpack{}
	for n, l := range b {
		size, known := sizes[l.DiffID]
		switch {
		case n < kept:
			u.Kept.add(size, known)
		case inA[l.DiffID]:
			u.Again.add(size, known)
		default:
			u.New.add(size, known)
		}
	}
	return u
}

func (w *Weight) add(n int64, known bool) {
	w.Count.add(n)
	if !known {
		w.Unknown++
	}
}

// plus is both weights together.
func (w Weight) plus(o Weight) Weight {
	return Weight{Count: Count{Count: w.Count.Count + o.Count.Count, Bytes: w.Bytes + o.Bytes}, Unknown: w.Unknown + o.Unknown}
}
