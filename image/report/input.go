package report

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
	"github.com/plimsoll-oci/plimsoll/verify/gpu"
)

// Input is what a report is made of.
type Input struct {
	Manifest *manifests.Manifest
	// Selection holds every decision of the variant, of kept and of dropped files.
	Selection manifests.Selection
	// Layers holds every layer of the image, in its order.
	Layers []Layer
	// Unused is what the image's own configuration lists.
	Unused []manifests.ModelUnused
	// Manifests is the number of bytes of the config and manifest blobs together.
	Manifests int64
	// Note goes into the report as it is.
	Note string
	// Image is the digest of the image's manifest, "" if it is not known.
	Image string
	// Other is another image to compare the layers to, nil for none.
	Other *Other
	// Limits are what registries take.
	Limits []Limit
	// Checkpoints are the checkpoints aboard, as package gpu describes them.
	Checkpoints []gpu.Checkpoint
}

// layerKinds lists the kinds of layers.
var layerKinds = []string{KindModel, KindBase, KindRuntime, KindConfig}

// maxBytes bounds every sum of an input. No image comes near 36 PB, and a hundred times
// the bound, which rounding needs, still fits int64.
const maxBytes = 1 << 55

// key names a file across sources.
type key struct{ source, path string }

// check refuses input that contradicts itself: a report over it could not be exact.
func (in Input) check() error {
	checks := []func() error{in.checkDecisions, in.checkLayers, in.checkCoverage, in.checkUnused, in.checkOther, in.checkLimits, in.checkSums}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (in Input) checkDecisions() error {
	seen := map[key]bool{}
	for _, d := range in.Selection.Decisions {
		_, known := in.Manifest.Source(d.Source)
		_, category := categoryTitles[d.Because]
		k := key{d.Source, d.Path}
		switch {
		case !known:
			return fmt.Errorf("file %s: there is no source %q in the manifest", d.Path, d.Source)
		case d.Size < 0:
			return fmt.Errorf("file %s of %s: its size is %d", d.Path, d.Source, d.Size)
		case seen[k]:
			return fmt.Errorf("file %s of %s: it is there twice", d.Path, d.Source)
		case d.Keep != (d.ImagePath != ""):
			return fmt.Errorf("file %s of %s: keep is %t and its image path %q", d.Path, d.Source, d.Keep, d.ImagePath)
		case !d.Keep && !category:
			return fmt.Errorf("file %s of %s: it is dropped because of %q, an unknown category", d.Path, d.Source, d.Because)
		}
		seen[k] = true
	}
	return nil
}

func (in Input) checkLayers() error {
	sizes := map[string]int64{}
	for _, l := range in.Layers {
		if err := l.check(in.Manifest); err != nil {
			return fmt.Errorf("layer %s: %w", l.Path, err)
		}
		if size, ok := sizes[l.Digest]; ok && size != l.Size {
			return fmt.Errorf("layer %s: its size is %d, another layer of digest %s has %d", l.Path, l.Size, l.Digest, size)
		}
		sizes[l.Digest] = l.Size
	}
	return nil
}

func (l Layer) check(m *manifests.Manifest) error {
	_, known := m.Source(l.Source)
	switch {
	case !slices.Contains(layerKinds, l.Kind):
		return fmt.Errorf("its kind is %q, known are %v", l.Kind, layerKinds)
	case l.Kind == KindModel && !known:
		return fmt.Errorf("there is no source %q in the manifest", l.Source)
	case l.Kind != KindModel && l.Source != "":
		return fmt.Errorf("its kind is %q, but it names the source %q", l.Kind, l.Source)
	case l.Digest == "":
		return errors.New("its digest is missing")
	case l.Size < 0 || l.Content < 0 || l.Unpacked < 0:
		return fmt.Errorf("its size is %d, unpacked %d, and its content %d", l.Size, l.Unpacked, l.Content)
	case l.Kind == KindModel && l.Size < l.Content:
		return fmt.Errorf("its size is %d, less than its content of %d", l.Size, l.Content)
	}
	return nil
}

// checkCoverage refuses an image whose model layers do not hold the kept files, no more
// and no less.
func (in Input) checkCoverage() error {
	held, err := in.held()
	if err != nil {
		return foreign(err)
	}
	for _, d := range in.Selection.Kept() {
		bytes, ok := held[key{d.Source, d.ImagePath}]
		if !ok {
			return foreign(fmt.Errorf("file %s of %s: it is kept, but no layer holds it", d.Path, d.Source))
		}
		if bytes != d.Size {
			return foreign(fmt.Errorf("file %s of %s: its layers hold %d bytes, its size is %d", d.Path, d.Source, bytes, d.Size))
		}
	}
	return nil
}

// foreign marks an error that an image of another lock or variant explains.
func foreign(err error) error {
	return fault.Wrap(fault.Invalid, "the image was built from another manifest, lock or variant: build it again", err)
}

// held adds up the content of model layers by the kept file, in terms of image paths, that
// each belongs to.
func (in Input) held() (map[key]int64, error) {
	kept, seen := map[key]bool{}, map[key]bool{}
	for _, d := range in.Selection.Kept() {
		kept[key{d.Source, d.ImagePath}] = true
	}
	held := map[key]int64{}
	for _, l := range in.Layers {
		if l.Kind != KindModel {
			continue
		}
		k := key{l.Source, l.Path}
		if seen[k] {
			return nil, fmt.Errorf("layer %s: it is there twice", l.Path)
		}
		seen[k] = true
		if name, _, _, ok := pack.SplitPartName(l.Path); ok && !kept[k] {
			k.path = name
		}
		if !kept[k] {
			return nil, fmt.Errorf("layer %s: source %s keeps no such file", l.Path, l.Source)
		}
		held[k] += l.Content
	}
	return held, nil
}

// checkUnused refuses shares of files that are not aboard, or larger than their file.
func (in Input) checkUnused() error {
	left := map[string]int64{}
	for _, d := range in.Selection.Kept() {
		left[d.ImagePath] = d.Size
	}
	for _, u := range in.Unused {
		path := manifests.ModelsDir + "/" + u.Path
		size, ok := left[path]
		if !ok {
			return foreign(fmt.Errorf("unused %s: the file %s is not aboard", u.Part, u.Path))
		}
		if u.Bytes < 0 || u.Bytes > size {
			return fmt.Errorf("unused %s: it is %d bytes, of %s there are %d", u.Part, u.Bytes, u.Path, size)
		}
		left[path] = size - u.Bytes
	}
	return nil
}

// checkSums refuses sizes whose sums could overflow, and an image without the two blobs
// that every image has.
func (in Input) checkSums() error {
	if in.Manifests <= 0 {
		return fmt.Errorf("the config and manifest blobs have %d bytes", in.Manifests)
	}
	sizes := []int64{in.Manifests}
	for _, d := range in.Selection.Decisions {
		sizes = append(sizes, d.Size)
	}
	for _, l := range in.Layers {
		sizes = append(sizes, max(l.Size, l.Unpacked))
	}
	for _, s := range in.Manifest.Before.Software {
		if s.Bytes < 0 || s.CompressedBytes < 0 {
			return fmt.Errorf("software %s: its size is %d, compressed %d", s.Name, s.Bytes, s.CompressedBytes)
		}
		sizes = append(sizes, s.Bytes)
	}
	return checkSum(sizes)
}

// checkSum refuses sizes, none below zero, that add up to more than maxBytes.
func checkSum(sizes []int64) error {
	sum := int64(0)
	for _, n := range sizes {
		if n > maxBytes || sum+n > maxBytes {
			return fmt.Errorf("all sizes together are over %d bytes", int64(maxBytes))
		}
		sum += n
	}
	return nil
}
