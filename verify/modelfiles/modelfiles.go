// Package modelfiles verifies the files of a model, wherever they lie, against the model's
// description (manifests.ModelConfig, which every image carries as model.json).
//
// There is one way through, for a download cache, a folder, an OCI layout, a registry and
// the image's own runtime. They differ in a Place alone, which opens a file; what is then
// done with the bytes is the same everywhere:
//
//  1. Each file is read once, from its first byte to its last. sha256 is taken of all of
//     it, while the header of a container, or a small document, is kept on the way and,
//     where that is asked for (Options.Deep), the values behind a header are judged.
//  2. A .safetensors file must be a sound container, by its header (package safetensors).
//  3. A checkpoint must be one: family, dimensions, every tensor's dtype and shape, and the
//     precision and rank that the description and the file's name claim (package svdq).
//  4. The files of a base source must fit together and fit the checkpoints aboard that
//     stand for its transformer (package modelset). This step is left out where files are
//     wrong already: a set of broken files only repeats their findings.
//
// Files are checked side by side, the largest first. Memory is one buffer for each file in
// work (four and what package values keeps, with Deep), the headers, of at most 100 MB each,
// and the base's JSON documents; it does not grow with the weights. A file that a memo knows
// (verify.Watch) is read for its header only, or for its values.
// Nothing ends at the first fault, and the order of a report is that of the description.
//
// What is found is in the report, with the names of the description; an error means that
// the check itself was given up, which only a context does.
package modelfiles

import (
	"cmp"
	"context"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// Place is where the files of a model lie. It is safe for concurrent use.
type Place interface {
	// Open opens a file of the description. Findings say what is wrong with what lies there,
	// such as that it is missing; with an error among them the content is nil. An error means
	// that the file could not be looked at.
	Open(ctx context.Context, file manifests.ModelFile) (*Content, verify.Findings, error)
}

// Revealer is a Place that can show a file of the wrong size as it is, so that a whole file
// under a wrong name can be told from a damaged one.
type Revealer interface {
	Place
	// Reveal opens the file, whatever its size. ok is false where there is nothing to show.
	Reveal(file manifests.ModelFile) (content verify.Section, closer io.Closer, ok bool)
}

// Content is an opened file. It is read by one goroutine, which closes it.
type Content struct {
	// ReadCloser yields the bytes of the file in order, its parts joined.
	io.ReadCloser
	// Section reads the same bytes at any offset, for places that are built on this one; nil
	// where they come as a stream. Verify has no need of it.
	Section verify.Section
	// Parts is the number of pieces that the file lies in, 1 for a whole one.
	Parts int
	// Watch knows whether the bytes were read before; its zero value knows nothing.
	Watch verify.Watch
	// Proven says that whoever opened the content answers for its sum, and that it may end
	// behind the header of a container: no more is read of it.
	Proven bool
	// Around, if not nil, is asked once after the last byte for what was seen of the pieces
	// beside the file's own bytes, such as the digest of a layer.
	Around func() verify.Findings
}

// Options tune Verify. The zero value is fine.
type Options struct {
	// Jobs is the number of files checked at a time; below 1 it is the number of usable
	// cores.
	Jobs int
	// Progress, if not nil, is told of bytes as they are done with, Total in all where
	// nothing is wrong. It is called from several goroutines at a time.
	Progress func(n int64)
	// Force reads files whose sum the place's memo knows, and tells it what they are.
	Force bool
	// Deep judges the values of every container too, in the same read; see package values.
	Deep bool
	// Structure leaves the sums out: what is checked of a file is its size and, of those that
	// say something about the model, what they say. A FileReport then has no SHA256 and its
	// OK means that much; files that a memo knows have their sum all the same.
	Structure bool
	// Hints are the ways out that belong to the place, by the code of a finding. They
	// replace the finding's own.
	Hints map[string]string
}

// Total is the size of all files of the description.
func Total(c *manifests.ModelConfig) int64 {
	var sum int64
	for _, f := range c.Files {
		sum += f.Size
	}
	return sum
}

// Verify checks every file of the description, and how they fit together. The description
// must be one that manifests.DecodeModelConfig accepts. The error is ctx's; there is no
// report then.
func Verify(ctx context.Context, c *manifests.ModelConfig, place Place, o Options) (*Report, error) {
	v := newVerifier(c, place, o)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.Jobs)
	for _, i := range largestFirst(c.Files) {
		group.Go(func() error { return v.file(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	v.sets()
	return v.report, nil
}

// verifier is one run.
type verifier struct {
	Options
	config *manifests.ModelConfig
	place  Place
	report *Report
	// claims holds what the description says about checkpoints, by path.
	claims map[string]manifests.ModelCheckpoint
	// base is the set of sources whose files make a set.
	base map[string]bool
	// kept holds what was kept of each file, parallel to the description's files.
	kept []*keeper
	// configs holds the configurations that the checkpoints carry, parallel to the files.
	configs [][]byte
}

func newVerifier(c *manifests.ModelConfig, place Place, o Options) *verifier {
	if o.Jobs < 1 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	v := &verifier{
		Options: o, config: c, place: place, report: &Report{Files: make([]FileReport, len(c.Files)), Sets: []SetReport{}},
		claims: map[string]manifests.ModelCheckpoint{}, base: map[string]bool{},
		kept: make([]*keeper, len(c.Files)), configs: make([][]byte, len(c.Files)),
	}
	for _, p := range c.Checkpoints {
		v.claims[p.Path] = p
	}
	for _, s := range c.Sources {
		v.base[s.Name] = s.Role == manifests.RoleBase
	}
	return v
}

// largestFirst orders indices so that the longest work does not begin last.
func largestFirst(files []manifests.ModelFile) []int {
	order := make([]int, len(files))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(files[b].Size, files[a].Size) })
	return order
}
