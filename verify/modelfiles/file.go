package modelfiles

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// weights is the extension of containers.
const weights = ".safetensors"

// file checks one file. The error is ctx's.
func (v *verifier) file(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, r := v.config.Files[i], &v.report.Files[i]
	*r = FileReport{Path: file.Path, Source: file.Source, Size: file.Size}
	content, found, err := v.place.Open(ctx, file)
	r.Findings = found
	switch {
	case err != nil:
		r.unreadable(err)
		v.Progress(file.Size)
	case content == nil:
		v.reveal(i)
		v.Progress(file.Size)
	default:
		v.content(ctx, i, content)
	}
	r.OK = r.Findings.Worst() < verify.Error
	if !r.OK {
		v.kept[i] = nil
	} else if r.Checkpoint != nil {
		r.Checkpoint.Variant.Locked = v.published(file.Source)
	}
	v.giveHints(r.Findings)
	return ctx.Err()
}

// published is where a source's files come from.
func (v *verifier) published(source string) string {
	for _, s := range v.config.Sources {
		if s.Name == source {
			return s.Repo + "@" + s.Commit
		}
	}
	return ""
}

// reveal says what a checkpoint of the wrong size is, if it is a whole one: then another
// file bears its name, and fetching or copying it again would not help.
func (v *verifier) reveal(i int) {
	file, r := v.config.Files[i], &v.report.Files[i]
	claim, isCheckpoint := v.claims[file.Path]
	place, can := v.place.(Revealer)
	wrongSize := slices.ContainsFunc(r.Findings, func(f verify.Finding) bool { return f.Code == "size" })
	if !isCheckpoint || !can || !wrongSize {
		return
	}
	content, closer, ok := place.Reveal(file)
	if !ok {
		return
	}
	defer closer.Close()
	h, err := safetensors.Read(content, content.Size())
	if err != nil {
		return // it is damaged, as its size says
	}
	size := r.Findings
	r.Findings = nil
	r.checkpoint(h, claim)
	r.Findings = append(r.Findings, size...)
}

// content reads the file, then looks at what was kept of it.
func (v *verifier) content(ctx context.Context, i int, c *Content) {
	defer c.Close()
	file, r := v.config.Files[i], &v.report.Files[i]
	r.Parts = c.Parts
	k := v.keeper(file)
	var j *judge
	if v.Deep && k.container {
		j = &judge{keeper: k}
		defer j.close()
	}
	found, err := v.read(ctx, r, c, file, k, j)
	if c.Around != nil {
		found = append(found, c.Around()...)
	}
	r.Findings = append(r.Findings, found...)
	if err != nil {
		r.unreadable(err)
		return
	}
	v.structure(i, k, j)
}

// keeper chooses what to keep of a file: headers of containers, and the documents that
// make a set.
func (v *verifier) keeper(file manifests.ModelFile) *keeper {
	switch ext := path.Ext(file.Path); {
	case ext == weights:
		return keepHeader(file.Size)
	case ext == ".json" && v.base[file.Source]:
		return keepDocument(file.Size)
	}
	return &keeper{size: file.Size}
}

// read takes the sum of all bytes, unless it is known or nobody asks, and keeps what k wants.
// All of them go by j, if it is not nil.
func (v *verifier) read(ctx context.Context, r *FileReport, c *Content, file manifests.ModelFile, k *keeper, j *judge) (verify.Findings, error) {
	to := io.Writer(k)
	if j != nil {
		to = j
	}
	want := verify.Want{Size: file.Size, SHA256: file.SHA256}
	if r.Remembered = c.Proven || !v.Force && c.Watch.Known(want); r.Remembered {
		r.SHA256 = file.SHA256
		return nil, v.readKnown(ctx, c, file, k, j)
	}
	if file.SHA256 == "" {
		var found verify.Findings
		found.Add(verify.Warning, "no-sum", file.Path, "no sum is known to compare with: size and structure alone were checked")
		return found, v.readKnown(ctx, c, file, k, j)
	}
	if v.Structure && j == nil {
		return nil, v.readKnown(ctx, c, file, k, j)
	}
	sums, found, err := verify.Reader(ctx, file.Path, io.TeeReader(c, to), want, v.Progress)
	if err == nil && sums.SHA256 != "" {
		c.Watch.Keep(sums.SHA256) // a wrong one too: it is not the one that is wanted
	}
	r.SHA256 = sums.SHA256
	return found, err
}

// readKnown reads what is wanted of a file whose sum is not taken: what k wants, or all of it
// where values are judged.
func (v *verifier) readKnown(ctx context.Context, c *Content, file manifests.ModelFile, k *keeper, j *judge) error {
	if j == nil {
		v.Progress(file.Size)
		return k.fill(c)
	}
	n, err := verify.Copy(ctx, j, c, v.Progress)
	if err != nil {
		return fmt.Errorf("judging %s: reading at byte %d: %w", file.Path, n, err)
	}
	return nil
}

// structure judges the header of a container, what it says about a checkpoint and, where j
// is not nil, the values.
func (v *verifier) structure(i int, k *keeper, j *judge) {
	file, r := v.config.Files[i], &v.report.Files[i]
	claim, isCheckpoint := v.claims[file.Path]
	v.kept[i] = k
	if !k.container {
		if isCheckpoint {
			r.wrong(svdq.CodeUnknown, "checkpoint %s is no %s file", claim.Name, weights)
		}
		return
	}
	parse := k.parse
	if j != nil {
		parse = j.parse
	}
	h, err := parse()
	if err != nil {
		r.wrong("container", "%v", err)
		r.Findings.Hint("%s", fault.HintOf(err))
		return
	}
	if isCheckpoint {
		r.checkpoint(h, claim)
		v.configs[i] = []byte(h.Metadata["config"])
	}
	if j != nil {
		r.values(j)
	}
}

// values reports on the numbers in a container. Of a file that is known to be cut they say
// nothing.
func (r *FileReport) values(j *judge) {
	stats, found, err := j.finish()
	if err != nil && r.Findings.Worst() == verify.Error {
		return
	}
	if err != nil {
		r.unreadable(err)
		return
	}
	r.Values = &stats
	r.addTensorFindings(found)
}

// checkpoint compares what the tensors are with what description and file name claim.
func (r *FileReport) checkpoint(h *safetensors.Header, claim manifests.ModelCheckpoint) {
	r.addTensorFindings(svdq.Check(h))
	is, err := svdq.Identify(h)
	if err != nil {
		return // Check has said so
	}
	r.Checkpoint = &CheckpointReport{Name: claim.Name, Family: is.Family, Precision: is.Precision, Rank: is.Rank, Blocks: is.Blocks}
	r.Checkpoint.Variant.Variant = is.Variant(claim.Path)
	r.addTensorFindings(svdq.CheckName(claim.Path, is))
	if is.Precision != claim.Precision {
		r.wrong("precision", "tensors are %s, claimed is %s", is.Precision, claim.Precision)
	}
	if is.Rank != claim.Rank {
		r.wrong("rank", "tensors have rank %d, claimed is %d", is.Rank, claim.Rank)
	}
}

// addTensorFindings takes over what package svdq found, under codes that cannot be taken
// for those of files: a missing tensor is no missing file.
func (r *FileReport) addTensorFindings(found verify.Findings) {
	for _, f := range found {
		f.Object = r.Path
		if f.Code != svdq.CodeUnknown {
			f.Code = svdq.CodeUnknown + "-" + f.Code
		}
		r.Findings = append(r.Findings, f)
	}
}

func (r *FileReport) wrong(code, format string, args ...any) {
	r.Findings.Add(verify.Error, code, r.Path, format, args...)
}

func (r *FileReport) unreadable(err error) {
	r.err = err
	r.wrong(CodeUnreadable, "%v", err)
	r.Findings.Hint("%s", fault.HintOf(err))
}

// giveHints gives findings the ways out of the place.
func (v *verifier) giveHints(found verify.Findings) {
	for i := range found {
		if hint, ok := v.Hints[found[i].Code]; ok {
			found[i].Hint = hint
		}
	}
}
