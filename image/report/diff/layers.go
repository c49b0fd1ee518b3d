package diff

// compareBlobs fills in Layers and Blobs.
func (r *Report) compareBlobs(a, b Image) {
	inA, inB := digests(a.blobs()), digests(b.blobs())
	for _, l := range distinct(b.blobs()) {
		if inA[l.Digest] {
			r.Blobs.Shared.add(l.Size)
		} else {
			r.Blobs.Added.add(l.Size)
		}
	}
	for _, l := range distinct(a.blobs()) {
		if !inB[l.Digest] {
			r.Blobs.Removed.add(l.Size)
		}
	}
	r.Layers = compareLayers(distinct(a.Layers), distinct(b.Layers))
}

// compareLayers lists distinct layers: B's in their order, then A's that went.
func compareLayers(a, b []Layer) []LayerChange {
	inA, inB := digests(a), digests(b)
	before := pairs(without(a, inB), without(b, inA))
	replaced := map[string]bool{}
	out := []LayerChange{}
	for _, l := range b {
		c := LayerChange{Status: Added, Kind: l.Kind, Title: l.Title, Digest: shown(l.Digest), Bytes: l.Size}
		if old, is := before[l.Digest]; is {
			c.Status, c.SameContent = Changed, l.DiffID != "" && l.DiffID == old.DiffID
			c.Before = &LayerBefore{Title: old.Title, Digest: shown(old.Digest), Bytes: old.Size}
			replaced[old.Digest] = true
		}
		if inA[l.Digest] {
			c.Status = Shared
		}
		out = append(out, c)
	}
	for _, l := range a {
		if !inB[l.Digest] && !replaced[l.Digest] {
			out = append(out, LayerChange{Status: Removed, Kind: l.Kind, Title: l.Title, Digest: shown(l.Digest), Bytes: l.Size})
		}
	}
	return out
}

// without returns the layers whose digest is not in the set.
func without(layers []Layer, set map[string]bool) []Layer {
	var out []Layer
	for _, l := range layers {
		if !set[l.Digest] {
			out = append(out, l)
		}
	}
	return out
}

// pairs finds, by the digest of a layer that came, the one that it came in the place of:
// the one with the same diff id, else the one with the same role, where each side has only
// one of those.
func pairs(gone, came []Layer) map[string]Layer {
	out, taken := map[string]Layer{}, map[string]bool{}
	for _, of := range []func(Layer) string{func(l Layer) string { return l.DiffID }, role} {
		was, is := only(gone, of), only(came, of)
		for key, l := range is {
			old, both := was[key]
			if _, paired := out[l.Digest]; both && !paired && !taken[old.Digest] {
				out[l.Digest], taken[old.Digest] = old, true
			}
		}
	}
	return out
}

// only maps a key to the one layer that has it. Layers with the key "" are left out.
func only(layers []Layer, of func(Layer) string) map[string]Layer {
	out, count := map[string]Layer{}, map[string]int{}
	for _, l := range layers {
		out[of(l)] = l
		count[of(l)]++
	}
	for key, n := range count {
		if n > 1 || key == "" {
			delete(out, key)
		}
	}
	return out
}

// role is what a layer is to its image, whatever it holds: the file of a model, the one
// layer of another kind, the instruction that made it; "" if nothing says.
func role(l Layer) string {
	switch {
	case l.Kind == "" && l.Title == "":
		return ""
	case l.Kind == "" || l.Kind == KindModel:
		return l.Kind + "\x00" + l.Title
	}
	return l.Kind
}
