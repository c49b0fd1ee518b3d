package diff

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxBytes bounds every sum. No image comes near 36 PB.
const maxBytes = 1 << 55

// New compares two images. Input that contradicts itself is an error: a size below zero,
// one digest with two sizes, a layer that nothing identifies, a path that is there twice.
func New(a, b Image) (*Report, error) {
	r := &Report{SchemaVersion: SchemaVersion, ModelOnly: a.Lock || b.Lock, Settings: []SettingChange{}, Notes: []string{}}
	for _, i := range []Image{a, b} {
		if err := i.check(); err != nil {
			return nil, fmt.Errorf("comparing %s: %w", i.Name, err)
		}
	}
	leftA, leftB := int64(0), int64(0)
	if r.ModelOnly {
		a, leftA = a.modelOnly()
		b, leftB = b.modelOnly()
	}
	a.Layers, b.Layers = identified(a.Layers, b.Layers)
	if err := sameSizes(a, b); err != nil {
		return nil, fmt.Errorf("comparing %s with %s: %w", a.Name, b.Name, err)
	}
	r.A, r.B = a.side(leftA), b.side(leftB)
	r.compareBlobs(a, b)
	r.Pull = pull(a, b)
	r.Files = compareFiles(a, b)
	r.Settings = append(r.Settings, compareSettings(a, b)...)
	r.Notes = append(r.Notes, r.notes(a, b)...)
	r.Same = r.Blobs.Added.Count == 0 && r.Blobs.Removed.Count == 0 && sameOrder(a, b) &&
		len(r.Settings) == 0 && (r.Files == nil || len(r.Files.Changes) == 0)
	return r, nil
}

func (i Image) check() error {
	sum := int64(0)
	count := func(what string, n int64) error {
		if n < 0 || n > maxBytes || sum > maxBytes-n {
			return fmt.Errorf("%s has %d bytes: sizes are not below 0 and add up to at most %d", what, n, int64(maxBytes))
		}
		sum += n
		return nil
	}
	for _, b := range i.Blobs {
		if err := count(b.Name, b.Size); err != nil || b.Digest == "" {
			return cmp.Or(err, fmt.Errorf("the digest of the %s is missing", b.Name))
		}
	}
	for n, l := range i.Layers {
		if l.Digest == "" && l.Content == "" {
			return fmt.Errorf("layer %d %s: nothing identifies it", n, l.Title)
		}
		err := count(fmt.Sprintf("layer %d %s", n, l.Title), l.Size)
		if l.Unpacked != UnknownSize {
			err = errors.Join(err, count(fmt.Sprintf("layer %d %s, unpacked,", n, l.Title), l.Unpacked))
		}
		if err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, f := range i.Files {
		if err := count("file "+f.Path, f.Size); err != nil {
			return err
		}
		if seen[f.Path] {
			return fmt.Errorf("file %s is there twice", f.Path)
		}
		seen[f.Path] = true
	}
	return nil
}

// modelOnly is the image without what a lock cannot know; leftOut is the bytes of the rest.
func (i Image) modelOnly() (model Image, leftOut int64) {
	all := i.side(0).Bytes
	i.Layers = slices.DeleteFunc(slices.Clone(i.Layers), func(l Layer) bool { return l.Kind != KindModel })
	i.Blobs = nil
	i.Known = min(i.Known, KnowsModel)
	return i, all - i.side(0).Bytes
}

// identified gives every layer a digest: its own, that of a layer of the same content, or
// the content itself, which no digest equals.
func identified(a, b []Layer) (x, y []Layer) {
	digests := map[string]string{}
	for _, l := range slices.Concat(a, b) {
		if l.Digest != "" && l.Content != "" {
			digests[l.Content] = l.Digest
		}
	}
	fill := func(in []Layer) []Layer {
		out := slices.Clone(in)
		for i, l := range out {
			if l.Digest == "" {
				out[i].Digest = cmp.Or(digests[l.Content], contentPrefix+l.Content)
				out[i].DiffID = out[i].Digest // such a layer is not compressed
			}
		}
		return out
	}
	return fill(a), fill(b)
}

// contentPrefix marks what stands in for a digest.
const contentPrefix = "content:"

// shown is the digest as a report shows it.
func shown(digest string) string {
	if len(digest) > len(contentPrefix) && digest[:len(contentPrefix)] == contentPrefix {
		return ""
	}
	return digest
}

// sameSizes refuses a digest with two sizes.
func sameSizes(a, b Image) error {
	sizes := map[string]int64{}
	for _, l := range slices.Concat(a.blobs(), b.blobs()) {
		if size, is := sizes[l.Digest]; is && size != l.Size {
			return fmt.Errorf("layer %s %s: it has %d bytes in one place and %d in another", l.Digest, l.Title, l.Size, size)
		}
		sizes[l.Digest] = l.Size
	}
	return nil
}

// blobs lists layers, config and manifest alike.
func (i Image) blobs() []Layer {
	out := slices.Clone(i.Layers)
	for _, b := range i.Blobs {
		out = append(out, Layer{Title: b.Name, Digest: b.Digest, Size: b.Size})
	}
	return out
}

// distinct keeps the first of layers with one digest.
func distinct(layers []Layer) []Layer {
	seen := map[string]bool{}
	var out []Layer
	for _, l := range layers {
		id := cmp.Or(l.Digest, contentPrefix+l.Content)
		if !seen[id] {
			out = append(out, l)
		}
		seen[id] = true
	}
	return out
}

func digests(layers []Layer) map[string]bool {
	out := map[string]bool{}
	for _, l := range layers {
		out[l.Digest] = true
	}
	return out
}

func (i Image) side(leftOut int64) Side {
	s := Side{Name: i.Name, Digest: i.Digest, Platform: i.Platform, Layers: len(i.Layers), LeftOut: leftOut}
	for _, b := range distinct(i.blobs()) {
		s.Bytes += b.Size
	}
	return s
}

// sameOrder reports whether both sides stack the same layers in the same order.
func sameOrder(a, b Image) bool {
	return slices.EqualFunc(a.Layers, b.Layers, func(x, y Layer) bool { return x.Digest == y.Digest })
}

// notes say what was not compared.
func (r *Report) notes(a, b Image) []string {
	var out []string
	if r.ModelOnly {
		out = append(out, "a lock holds the model files alone: base, runtime and configuration are not compared")
	}
	if r.Blobs.Added.Count == 0 && r.Blobs.Removed.Count == 0 && !sameOrder(a, b) {
		out = append(out, "both hold the same layers, in another order or another number")
	}
	if r.Pull.Unpack == nil {
		out = append(out, "what is unpacked is not known: a configuration does not list a diff id for each layer")
	}
	for _, i := range []Image{a, b} {
		switch {
		case i.Known == KnowsNone:
			out = append(out, "the files of "+i.Name+" are not known: nothing in its manifest names them")
		case i.Known < max(a.Known, b.Known):
			out = append(out, "of "+i.Name+" only the model files are known, so only those are compared")
		}
	}
	if a.Name == b.Name && len(out) > 1 {
		out = slices.Compact(out)
	}
	return out
}
