package modelfiles

import (
	"context"
	"io"
	"path"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
	"github.com/plimsoll-oci/plimsoll/verify/svdq/values"
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

// content reads the file, then looks at what was kept of it.
func (v *verifier) content(ctx context.Context, i int, c *Content) {
	defer c.Close()
	file, r := v.config.Files[i], &v.report.Files[i]
	r.Parts = c.Parts
	k := v.keeper(file)
	found, err := v.read(ctx, r, c, file, k)
	if c.Around != nil {
		found = append(found, c.Around()...)
	}
	r.Findings = append(r.Findings, found...)
	if err != nil {
		r.unreadable(err)
		return
	}
	if h := v.structure(i, k); h != nil && v.Deep {
		v.values(ctx, r, h, c.Section)
	}
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

// read takes the sum of all bytes, unless it is known, and keeps what k wants.
func (v *verifier) read(ctx context.Context, r *FileReport, c *Content, file manifests.ModelFile, k *keeper) (verify.Findings, error) {
	want := verify.Want{Size: file.Size, SHA256: file.SHA256}
	if c.Watch.Known(want) {
		r.SHA256, r.Remembered = file.SHA256, true
		v.Progress(file.Size)
		return nil, k.fill(c)
	}
	sums, found, err := verify.Reader(ctx, file.Path, io.TeeReader(c, k), want, v.Progress)
	if err == nil && found.Worst() < verify.Error {
		c.Watch.Keep(sums.SHA256)
	}
	r.SHA256 = sums.SHA256
	return found, err
}

// structure judges the header of a container, and what it says about a checkpoint. It
// returns the header, nil where there is none.
func (v *verifier) structure(i int, k *keeper) *safetensors.Header {
	file, r := v.config.Files[i], &v.report.Files[i]
	claim, isCheckpoint := v.claims[file.Path]
	v.kept[i] = k
	if path.Ext(file.Path) != weights {
		if isCheckpoint {
			r.wrong(svdq.CodeUnknown, "checkpoint %s is no %s file", claim.Name, weights)
		}
		return nil
	}
	h, err := safetensors.Read(k, k.Size())
	if err != nil {
		r.wrong("container", "%v", err)
		r.Findings.Hint("%s", fault.HintOf(err))
		return nil
	}
	if isCheckpoint {
		r.checkpoint(h, claim)
		v.configs[i] = []byte(h.Metadata["config"])
	}
	return h
}

// values judges the numbers in a container. They are read where they lie, several tensors
// at a time, after the sums: a stream cannot be judged so.
func (v *verifier) values(ctx context.Context, r *FileReport, h *safetensors.Header, section verify.Section) {
	if section == nil {
		r.Findings.Add(verify.Warning, "values", r.Path, "its values were not judged: it comes as a stream here")
		return
	}
	stats, found, err := values.Check(ctx, h, section, values.Options{Workers: 1})
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
