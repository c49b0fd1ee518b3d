package flow

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll-oci/plimsoll/fetch"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// heads are the first bytes of files that are not here, by the files' sha256: of a container
// its header, which says everything that is to be judged of its structure; of other files
// nothing.
type heads map[string]head

// head is the first bytes of a file.
type head []byte

// section is a file of the given size of which only the head can be read.
func (h head) section(size int64) verify.Section { return headSection{bytes.NewReader(h), size} }

type headSection struct {
	io.ReaderAt
	size int64
}

// Size is the size of the whole file in bytes.
func (s headSection) Size() int64 { return s.size }

const (
	// lengthField is the size of the number before a container's header.
	lengthField = 8
	// headPiece is what is asked for at a time: the header of a published checkpoint has
	// about half a megabyte, that of a shard a tenth of it.
	headPiece = 256 << 10
	// headJobs is how many headers are read at a time.
	headJobs = 4
)

// headPath is where a head lies once its file is proven. It is a function of the file.
func (j *Job) headPath(f fetch.File) string { return filepath.Join(j.work("heads"), f.SHA256) }

// readHeads reads the headers of containers from the Hub, those of files that were proven
// before from the cache.
func (s *streaming) readHeads(ctx context.Context) error {
	s.heads = heads{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(headJobs)
	for _, f := range s.large {
		group.Go(func() error {
			h, err := s.readHead(ctx, f)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heads[f.want.SHA256] = h
			return err
		})
	}
	return group.Wait()
}

func (s *streaming) readHead(ctx context.Context, f *streamed) (head, error) {
	if path.Ext(f.Path) != ".safetensors" {
		return nil, nil
	}
	if data, err := os.ReadFile(s.headPath(f.want)); err == nil {
		return data, nil
	}
	o := f.remote
	o.Piece, o.Window = headPiece, 2*headPiece
	r := fetch.OpenRemote(ctx, f.want, o)
	defer r.Close()
	length, err := firstBytes(r, lengthField)
	if err != nil || len(length) < lengthField {
		return length, err
	}
	n := binary.LittleEndian.Uint64(length)
	if n > safetensors.MaxHeader || int64(n) > f.Size-lengthField {
		return length, nil // it is refused when it is judged
	}
	return firstBytes(r, lengthField+int64(n))
}

// firstBytes reads the beginning of a file.
func firstBytes(r *fetch.Remote, n int64) ([]byte, error) {
	x := r.Reader(n)
	defer x.Close()
	return io.ReadAll(io.NewSectionReader(x, 0, n))
}

// keepHead keeps the head of a file that is proven, for a next run.
func (s *streaming) keepHead(f *streamed) error {
	h := s.heads[f.want.SHA256]
	if len(h) == 0 {
		return nil
	}
	name := s.headPath(f.want)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("keeping a header: %w", err)
	}
	return manifests.WriteFile(name, h)
}

// streamPlace is where the files of a model lie that is streamed: the small ones in the
// cache, of the others the heads.
type streamPlace struct {
	modelfiles.Place
	heads heads
}

// Open implements modelfiles.Place. The sum of a file of which only the head is here is
// taken when the file passes, and the head is compared then.
func (p streamPlace) Open(ctx context.Context, file manifests.ModelFile) (*modelfiles.Content, verify.Findings, error) {
	h, ok := p.heads[file.SHA256]
	if !ok {
		return p.Place.Open(ctx, file)
	}
	return &modelfiles.Content{ReadCloser: io.NopCloser(bytes.NewReader(h)), Parts: max(1, len(file.Parts)), Proven: true}, nil, nil
}

// judge makes all checks of a build that need no more than heads and small files, before
// the first large file moves: container, checkpoint, set.
func (s *streaming) judge(ctx context.Context) error {
	m, err := s.subject()
	if err != nil {
		return err
	}
	memo, err := s.openMemo()
	if err != nil {
		return err
	}
	cache, err := s.cachePlace(m, memo)
	if err != nil {
		return err
	}
	o := modelfiles.Options{Hints: hintsFor("the Hub does not hold what the manifest describes: lock again with -update to see what it has now", "container")}
	report, err := modelfiles.Verify(ctx, m.config, streamPlace{cache, s.heads}, o)
	if err != nil {
		return err
	}
	if err := report.Findings().Err(); err != nil {
		return fmt.Errorf("verifying %s: %w", s.Manifest.Name, err)
	}
	s.verified = &VerifyResult{
		SchemaVersion: SchemaVersion, Model: s.Manifest.Name, Variant: s.selection.Variant, In: string(formCache), Report: *report, config: m.config,
	}
	s.verified.finish()
	return nil
}
