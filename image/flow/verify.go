package flow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/fetch/progress"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
	"github.com/plimsoll-oci/plimsoll/verify/svdq"
)

// VerifyResult says what every kept file in the cache is worth.
type VerifyResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Model         string `json:"model"`
	Variant       string `json:"variant"`
	// Files holds every kept file; those with findings are not OK.
	Files []VerifiedFile `json:"files"`
	// Findings are about the files and about how they fit together.
	Findings verify.Findings `json:"findings"`
}

// VerifiedFile is one file and what it was found to be.
type VerifiedFile struct {
	Source string `json:"source"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	OK     bool   `json:"ok"`
	// Kind describes a checkpoint by its tensors, such as "qwen-image int4 rank 128".
	Kind string `json:"kind,omitempty"`
}

// Verify proves the kept files in the cache against the lock: size and sha256, then the
// container, the checkpoint and the set. Sums of files that did not change since they were
// last read are taken from the memo unless force is set. Findings are no error of Verify;
// VerifyResult.Findings.Err tells.
func Verify(ctx context.Context, j *Job, force bool) (*VerifyResult, error) {
	l, err := j.lock()
	if err != nil {
		return nil, err
	}
	s, err := j.Manifest.Select(j.Variant, l.Listings())
	if err != nil {
		return nil, err
	}
	memo, err := j.openMemo()
	if err != nil {
		return nil, err
	}
	if force {
		memo = nil
	}
	r := &VerifyResult{SchemaVersion: SchemaVersion, Model: j.Manifest.Name, Variant: s.Variant}
	if err := j.verifyFiles(ctx, l, s, memo, r); err != nil {
		return nil, err
	}
	if r.Findings.Err() == nil { // a set of broken files only repeats itself
		r.Findings = append(r.Findings, j.verifySets(l, s)...)
	}
	return r, nil
}

// verifyFiles checks the files side by side; results keep the order of layers.
func (j *Job) verifyFiles(ctx context.Context, l *manifests.Lock, s manifests.Selection, memo *verify.Memo, r *VerifyResult) error {
	kept, listings := s.Kept(), l.Listings()
	total, _ := s.Bytes()
	bar := progress.New(j.Stderr, j.TTY, "verifying "+j.label(), total)
	defer bar.Finish()
	r.Files = make([]VerifiedFile, len(kept))
	findings := make([]verify.Findings, len(kept))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(j.Jobs, runtime.GOMAXPROCS(0)))
	for i, d := range kept {
		group.Go(func() (err error) {
			path, err := j.blob(listings[d.Source].Repo, d.File)
			if err != nil {
				return err
			}
			r.Files[i], findings[i], err = j.verifyFile(ctx, d, path, memo, bar.Add)
			return err
		})
	}
	err := group.Wait()
	for _, f := range findings {
		r.Findings = append(r.Findings, f...)
	}
	return err
}

// verifyFile checks one file: sums, then the container and the checkpoint.
func (j *Job) verifyFile(ctx context.Context, d manifests.Decision, path string, memo *verify.Memo, progress func(int64)) (VerifiedFile, verify.Findings, error) {
	out := VerifiedFile{Source: d.Source, Path: d.Path, Size: d.Size}
	sums, findings, err := memo.File(ctx, path, verify.Want{Size: d.Size, SHA256: d.SHA256}, progress)
	if err != nil {
		return out, nil, err
	}
	out.SHA256 = sums.SHA256
	if len(findings) == 0 && filepath.Ext(d.Path) == ".safetensors" {
		out.Kind, findings = j.verifyContainer(d, path)
	}
	for i := range findings {
		findings[i].Object = d.Source + ": " + d.Path
	}
	if len(findings) > 0 {
		findings.Hint("run the fetch target: it replaces what is missing or broken")
	}
	out.OK = findings.Err() == nil
	return out, findings, nil
}

// verifyContainer opens a .safetensors file, and holds the manifest's claims about a
// checkpoint against its tensors.
func (j *Job) verifyContainer(d manifests.Decision, path string) (kind string, findings verify.Findings) {
	f, err := os.Open(path)
	if err != nil {
		findings.Add(verify.Error, "unreadable", d.Path, "%v", err)
		return "", findings
	}
	defer f.Close()
	header, err := safetensors.Read(f, d.Size)
	if err != nil {
		findings.Add(verify.Error, "container", d.Path, "%v", err)
		return "", findings
	}
	for _, c := range j.Manifest.Checkpoints {
		if c.Source == d.Source && c.File == d.Path {
			return verifyCheckpoint(c, header)
		}
	}
	return "", nil
}

// verifyCheckpoint compares what the tensors are with what manifest and file name claim.
func verifyCheckpoint(claim manifests.Checkpoint, header *safetensors.Header) (kind string, findings verify.Findings) {
	c, err := svdq.Identify(header)
	if err != nil {
		findings.Add(verify.Error, "checkpoint", claim.File, "%v", err)
		return "", findings
	}
	findings = append(findings, svdq.Check(header)...)
	findings = append(findings, svdq.CheckName(claim.File, c)...)
	if c.Precision != claim.Precision {
		findings.Add(verify.Error, "precision", claim.File, "the manifest says %s, the tensors are %s", claim.Precision, c.Precision)
	}
	if c.Rank != claim.Rank {
		findings.Add(verify.Error, "rank", claim.File, "the manifest says rank %d, the tensors have %d", claim.Rank, c.Rank)
	}
	return fmt.Sprintf("%s %s rank %d", c.Family, c.Precision, c.Rank), findings
}

// verifySets checks that the components of each base source fit together and fit the
// checkpoints that replace the transformer.
func (j *Job) verifySets(l *manifests.Lock, s manifests.Selection) verify.Findings {
	var out verify.Findings
	for _, source := range j.Manifest.Sources {
		if source.Role != manifests.RoleBase {
			continue
		}
		set, closer, err := j.openSet(l, s, source)
		if err != nil {
			out.Add(verify.Error, "unreadable", source.Name, "%v", err)
			continue
		}
		if _, diffusers := set["model_index.json"]; diffusers {
			out = append(out, modelset.Check(set, j.replacements(l, s)...)...)
		}
		closer()
	}
	return out
}

// openSet opens the kept files of a source as one file system. What other tools put into
// the cache beside them is not seen.
func (j *Job) openSet(l *manifests.Lock, s manifests.Selection, source manifests.Source) (modelset.Map, func(), error) {
	listing := l.Listings()[source.Name]
	set := modelset.Map{}
	var files []*os.File
	closer := func() {
		for _, f := range files {
			f.Close()
		}
	}
	for _, d := range s.Kept() {
		if d.Source != source.Name {
			continue
		}
		path, err := j.blob(listing.Repo, d.File)
		if err == nil {
			var f *os.File
			if f, err = os.Open(path); err == nil {
				files = append(files, f)
				set[d.Path] = section{File: f, size: d.Size}
			}
		}
		if err != nil {
			closer()
			return nil, nil, fmt.Errorf("opening %s of %s: %w", d.Path, source.Name, err)
		}
	}
	return set, closer, nil
}

// section is an open file with its size.
type section struct {
	*os.File
	size int64
}

// Size is the file's size in bytes.
func (s section) Size() int64 { return s.size }

// replacements are the checkpoints aboard, standing in for the transformer.
func (j *Job) replacements(l *manifests.Lock, s manifests.Selection) []modelset.Replacement {
	var out []modelset.Replacement
	listings := l.Listings()
	for _, c := range j.Manifest.Checkpoints {
		for _, d := range s.Kept() {
			if d.Source != c.Source || d.Path != c.File {
				continue
			}
			r := modelset.Replacement{Component: "transformer"}
			if path, err := j.blob(listings[d.Source].Repo, d.File); err == nil {
				r.Config = configOf(path, d.Size)
			}
			out = append(out, r)
		}
	}
	return out
}

// configOf reads the configuration out of a checkpoint's metadata, nil if there is none.
func configOf(path string, size int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	header, err := safetensors.Read(f, size)
	if err != nil || header.Metadata["config"] == "" {
		return nil
	}
	return []byte(header.Metadata["config"])
}
