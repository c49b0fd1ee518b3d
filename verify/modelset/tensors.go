package modelset

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// Sum sums up the tensors of every component that the file system holds in .safetensors
// files, by path: one entry for each folder that a model_index.json names as a component,
// and one for each file outside of such folders, which is a checkpoint on its own. An error
// means that a file could not be read.
func Sum(fsys fs.FS) ([]manifests.TensorSums, error) {
	s, err := openSet(fsys)
	if err != nil {
		return nil, err
	}
	folders, err := s.componentFolders()
	if err != nil {
		return nil, err
	}
	parts := map[string]*tally{}
	for _, p := range s.paths {
		if path.Ext(p) != ".safetensors" {
			continue
		}
		h, err := s.header(p)
		if err != nil {
			return nil, fmt.Errorf("summing up tensors: %s: %w", p, err)
		}
		name := p
		if folders[path.Dir(p)] {
			name = path.Dir(p)
		}
		if parts[name] == nil {
			parts[name] = &tally{sums: manifests.TensorSums{Path: name}, numbered: map[string]int64{}}
		}
		parts[name].add(h)
	}
	var out []manifests.TensorSums
	for _, t := range parts {
		out = append(out, t.finish())
	}
	slices.SortFunc(out, func(a, b manifests.TensorSums) int { return cmp.Compare(a.Path, b.Path) })
	return out, nil
}

// componentFolders is the set of folders that the sets in the file system are made of.
func (s *set) componentFolders() (map[string]bool, error) {
	folders := map[string]bool{}
	for _, p := range s.paths {
		if path.Base(p) != indexName {
			continue
		}
		index, err := s.readIndex(p)
		if err != nil {
			return nil, fmt.Errorf("summing up tensors: reading %s: %w", p, err)
		}
		for name := range index.components {
			folders[path.Join(path.Dir(p), name)] = true
		}
	}
	return folders, nil
}

// tally adds up one component, whose numbered parts may lie in several shards.
type tally struct {
	sums     manifests.TensorSums
	numbered map[string]int64
}

func (t *tally) add(h *safetensors.Header) {
	for _, tensor := range h.Tensors {
		n := tensor.Size()
		t.sums.Bytes += n
		if part, ok := numberedPart(tensor.Name); ok {
			t.numbered[part] += n
			t.sums.Repeated += n
		}
		if tensor.DType == safetensors.I8 && strings.HasSuffix(tensor.Name, ".qweight") {
			t.sums.Packed += n
		}
		if slices.Contains(lookupTables, tensor.Name) {
			t.sums.Lookup += n
		}
		if axis, ok := widths[tensor.Name]; ok && axis < len(tensor.Shape) {
			t.sums.Width = tensor.Shape[axis]
		}
	}
}

func (t *tally) finish() manifests.TensorSums {
	for _, n := range t.numbered {
		t.sums.Block = max(t.sums.Block, n)
	}
	return t.sums
}

// numberedPart is a tensor's name up to its first number: "model.layers.3" is one layer.
func numberedPart(tensor string) (string, bool) {
	end := 0
	for _, element := range strings.Split(tensor, ".") {
		end += len(element)
		if element != "" && strings.Trim(element, "0123456789") == "" {
			return tensor[:end], true
		}
		end++
	}
	return "", false
}

// lookupTables are tensors of which a prompt reads one row a token.
var lookupTables = []string{"model.embed_tokens.weight"}

// widths are the axes of tensors that show the width of a component's stream: the
// transformer's and the text encoder's tokens, and the VAE's last convolution, which reads
// full resolution.
var widths = map[string]int{
	"img_in.weight":             0,
	"model.embed_tokens.weight": 1,
	"decoder.conv_out.weight":   1,
}
