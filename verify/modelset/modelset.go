// Package modelset looks at a model as a whole: the components that a diffusers repository
// is made of, whether they are all there, whether they fit together, and which of their
// bytes nothing will ever read.
//
// A set is a file system whose root holds model_index.json and one folder a component, as
// in the Hub's repository. It may be a folder (os.DirFS), a snapshot of a Hub cache, or any
// named sections (Map): parts of a split file joined by verify.Concat, blobs, generated
// files. Files must offer io.ReaderAt; of weights only headers are read, so a set of 57 GB
// is looked at in well under a second and with memory that does not grow with the weights.
//
// Check works from the outside to the inside, and each step names both sides of a
// disagreement:
//
//  1. model_index.json: its components are present and of the class that it names.
//  2. Containers: every .safetensors parses and ends where it says.
//  3. Shards: an index and its shards describe the same tensors and bytes.
//  4. Dimensions: text encoder, VAE, transformer and processor agree where one's output is
//     another's input.
//  5. Tokens: the tokenizer's ids fit the embedding, and the special tokens that the text
//     encoder looks for are in the tokenizer under those ids.
//  6. Tensors: text encoder and VAE have every tensor that their configurations promise.
//
// CheckSchedules adds what only a description of the checkpoints can tell: whether each is
// sampled under the schedule that it was made for.
//
// What is inside one quantised checkpoint is package svdq's matter. A slim set carries such
// a checkpoint instead of the folder transformer/; the caller says so with a Replacement.
//
// Unused knows the pipeline QwenImageEditPipeline and its kin: what they never read is a
// fact about their code, not about the files, so other pipelines yield nothing.
package modelset

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/exactjson"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// maxDocument bounds the JSON files that are read whole. The largest published one, a
// tokenizer, has 11 MB.
const maxDocument = 64 << 20

// indexName is the file that makes a folder a set.
const indexName = "model_index.json"

// set is a file system with the headers that were read from it.
type set struct {
	fsys    fs.FS
	paths   []string // all files, sorted
	headers map[string]*safetensors.Header
}

// openSet lists the files.
func openSet(fsys fs.FS) (*set, error) {
	s := &set{fsys: fsys, headers: map[string]*safetensors.Header{}}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			s.paths = append(s.paths, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing model set: %w", err)
	}
	slices.Sort(s.paths)
	return s, nil
}

// has reports whether a file exists.
func (s *set) has(p string) bool {
	_, ok := slices.BinarySearch(s.paths, p)
	return ok
}

// under lists the files directly inside a folder that end in suffix.
func (s *set) under(dir, suffix string) []string {
	var list []string
	for _, p := range s.paths {
		if path.Dir(p) == dir && strings.HasSuffix(p, suffix) {
			list = append(list, p)
		}
	}
	return list
}

// open opens a file for reading at any offset.
func (s *set) open(p string) (f fs.File, section *io.SectionReader, err error) {
	f, err = s.fsys.Open(p)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("opening %s: not a regular file", p)
	}
	at, ok := f.(io.ReaderAt)
	if err == nil && !ok {
		err = fmt.Errorf("opening %s: the file system cannot read at an offset", p)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, io.NewSectionReader(at, 0, info.Size()), nil
}

// header reads the header of a safetensors file, once.
func (s *set) header(p string) (*safetensors.Header, error) {
	if h, ok := s.headers[p]; ok {
		return h, nil
	}
	f, section, err := s.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := safetensors.Read(section, section.Size())
	if err != nil {
		return nil, err
	}
	s.headers[p] = h
	return h, nil
}

// read reads a small file whole. Nobody may change what it returns.
func (s *set) read(p string) ([]byte, error) {
	f, section, err := s.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if section.Size() > maxDocument {
		return nil, fmt.Errorf("reading %s: %d bytes, at most %d are read", p, section.Size(), maxDocument)
	}
	if content := held(f); content != nil {
		return content, nil
	}
	content := make([]byte, section.Size())
	_, err = io.ReadFull(section, content)
	return content, err
}

// decode reads a JSON file into v, which takes the keys that it knows.
func (s *set) decode(p string, v any) error {
	content, err := s.read(p)
	if err != nil {
		return err
	}
	return decodeJSON(content, v)
}

// decodeJSON decodes one JSON value and nothing behind it; keys are exact and occur once.
func decodeJSON(content []byte, v any) error {
	if err := exactjson.Unmarshal(content, v); err != nil {
		return fault.Wrap(fault.Invalid, "", fmt.Errorf("decoding JSON: %w", err))
	}
	return nil
}
