package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// ModelConfigPath is where the image holds its ModelConfig, without the leading slash.
const ModelConfigPath = "etc/plimsoll/model.json"

// ModelConfigVersion is the schema version of ModelConfig.
const ModelConfigVersion = 1

// ModelConfig is what an image knows about the model that it carries: the contract between
// the build, which writes it, and the runtime and the report, which read it.
type ModelConfig struct {
	SchemaVersion int    `json:"schemaVersion"`
	Name          string `json:"name"`
	Title         string `json:"title"`
	Variant       string `json:"variant"`
	// ModelsDir is the absolute folder of the model files; a configuration written by hand
	// may leave it to the one who runs it.
	ModelsDir string `json:"modelsDir"`
	// Sources lists the repositories that the files come from.
	Sources []ModelSource `json:"sources"`
	// Files lists every model file aboard, in the order of layers.
	Files []ModelFile `json:"files"`
	// Checkpoints lists those aboard, in the order of the priority list.
	Checkpoints []ModelCheckpoint `json:"checkpoints,omitempty"`
	// Serve configures the service; absent for an image without checkpoints.
	Serve *Serve `json:"serve,omitempty"`
	// Unused lists what is aboard but never read by inference.
	Unused []ModelUnused `json:"unused,omitempty"`
	// Tensors sums up the components aboard whose tensors are known, with paths relative to
	// ModelsDir.
	Tensors []TensorSums `json:"tensors,omitempty"`
}

// ModelSource is one upstream repository at one commit.
type ModelSource struct {
	Name string `json:"name"`
	// Title is the source's name for people, one line of text.
	Title string `json:"title"`
	// Role says what the source is to the model.
	Role    Role   `json:"role"`
	Repo    string `json:"repo"`
	Commit  string `json:"commit"`
	License string `json:"license"`
	// Path is the folder below ModelsDir.
	Path string `json:"path"`
}

// ModelFile is one file as it was published, whether the image holds it whole or in parts.
type ModelFile struct {
	// Path is relative to ModelsDir and starts with the source's folder.
	Path   string `json:"path"`
	Source string `json:"source"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Parts holds the lengths of the parts in order; empty: the file is whole. Part i of n
	// is named as pack.Parts names it.
	Parts []int64 `json:"parts,omitempty"`
}

// ModelCheckpoint is a checkpoint aboard.
type ModelCheckpoint struct {
	Checkpoint
	// Path is the file's path relative to ModelsDir.
	Path string `json:"path"`
}

// ModelUnused is a share of a file that inference never reads.
type ModelUnused struct {
	Path   string `json:"path"`
	Part   string `json:"part"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// NewModelConfig derives the configuration of an image from its manifest, its lock and the
// selection of a variant. unused comes from the lock, or from the headers of the files;
// its order does not matter. The result is one that DecodeModelConfig accepts.
func NewModelConfig(m *Manifest, l *Lock, s Selection, unused []Unused) (*ModelConfig, error) {
	c := &ModelConfig{
		SchemaVersion: ModelConfigVersion, Name: m.Name, Title: m.Title, Variant: s.Variant,
		ModelsDir: "/" + ModelsDir, Serve: m.Serve,
	}
	listings := l.Listings()
	for _, source := range m.Sources {
		c.Sources = append(c.Sources, ModelSource{
			Name: source.Name, Title: source.Title, Role: source.Role, Repo: source.Repo,
			Commit: listings[source.Name].Commit, License: source.License, Path: source.Path,
		})
	}
	kept := map[[2]string]string{}
	for _, d := range s.Kept() {
		f, err := m.modelFile(d)
		if err != nil {
			return nil, err
		}
		kept[[2]string{d.Source, d.Path}] = f.Path
		c.Files = append(c.Files, f)
	}
	for _, u := range byFileAndPart(unused) {
		if file, ok := kept[[2]string{u.Source, u.Path}]; ok {
			c.Unused = append(c.Unused, ModelUnused{Path: file, Part: u.Part, Bytes: u.Bytes, Reason: u.Reason})
		}
	}
	c.Checkpoints = m.checkpointsAboard(kept)
	c.Tensors = c.tensorsAboard(l)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("describing %s: %w", m.Name, err)
	}
	return c, nil
}

// modelFile describes one kept file.
func (m *Manifest) modelFile(d Decision) (ModelFile, error) {
	parts, err := pack.Parts(d.ImagePath, d.Size, int64(m.PartSize))
	if err != nil {
		return ModelFile{}, err
	}
	source, _ := m.Source(d.Source)
	f := ModelFile{Path: source.Path + "/" + d.Path, Source: d.Source, Size: d.Size, SHA256: d.SHA256}
	for _, p := range parts {
		if p.Count > 1 {
			f.Parts = append(f.Parts, p.Length)
		}
	}
	return f, nil
}

// checkpointsAboard lists the checkpoints whose files are kept: those of the priority list
// first, in its order, then the others in the manifest's.
func (m *Manifest) checkpointsAboard(kept map[[2]string]string) []ModelCheckpoint {
	var names []string
	if m.Serve != nil {
		names = slices.Clone(m.Serve.Priority)
	}
	for _, c := range m.Checkpoints {
		if !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	var out []ModelCheckpoint
	for _, name := range names {
		c, _ := m.Checkpoint(name)
		if file, ok := kept[[2]string{c.Source, c.File}]; ok {
			out = append(out, ModelCheckpoint{Checkpoint: c, Path: file})
		}
	}
	return out
}

// Encode returns the configuration as indented JSON with a final newline.
func (c *ModelConfig) Encode() []byte {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("encoding model.json: %v", err)) // plain values always encode
	}
	return append(data, '\n')
}

// DecodeModelConfig parses a model.json. Unknown keys, another schema version, unsafe
// paths and sums or parts that contradict the sizes are errors of kind fault.Invalid.
func DecodeModelConfig(data []byte) (*ModelConfig, error) {
	c := &ModelConfig{}
	err := strict(data, c)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("reading model.json: %w", err))
	}
	return c, nil
}

// check refuses values that the runtime relies on, and lists that contradict each other.
func (c *ModelConfig) check() error {
	switch {
	case c.SchemaVersion != ModelConfigVersion:
		return fmt.Errorf("schemaVersion is %d, this runtime reads %d", c.SchemaVersion, ModelConfigVersion)
	case c.ModelsDir != "" && (!path.IsAbs(c.ModelsDir) || path.Clean(c.ModelsDir) != c.ModelsDir):
		return fmt.Errorf("modelsDir is %q, want a clean absolute folder", c.ModelsDir)
	case len(c.Files) == 0:
		return errors.New("files is empty")
	}
	folders, err := c.checkSources()
	if err != nil {
		return err
	}
	sizes := map[string]int64{}
	for _, f := range c.Files {
		if err := f.check(); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
		_, known := folders[f.Source]
		if _, twice := sizes[f.Path]; twice || !known {
			return fmt.Errorf("file %s: it is there twice or its source %q is not", f.Path, f.Source)
		}
		sizes[f.Path] = f.Size
	}
	for _, f := range c.Files {
		if folder := folders[f.Source]; !strings.HasPrefix(f.Path, folder+"/") {
			return fmt.Errorf("file %s: it lies outside of %s, the folder of its source", f.Path, folder)
		}
	}
	return c.checkReferences(sizes)
}

// checkSources returns the folder of every source.
func (c *ModelConfig) checkSources() (folders map[string]string, err error) {
	folders = map[string]string{}
	for _, s := range c.Sources {
		_, taken := folders[s.Name]
		switch {
		case s.Name == "":
			return nil, fmt.Errorf("the source of folder %q has no name", s.Path)
		case taken || CheckPath(s.Path) != nil:
			return nil, fmt.Errorf("source %s: its name is taken or its path %q is unsafe", s.Name, s.Path)
		case !isLine(s.Title):
			return nil, fmt.Errorf("source %s: title is %q, want one line of text", s.Name, s.Title)
		case s.Role != RoleBase && s.Role != RoleCheckpoints:
			return nil, fmt.Errorf("source %s: role is %q: %q and %q are known", s.Name, s.Role, RoleBase, RoleCheckpoints)
		}
		folders[s.Name] = s.Path
	}
	return folders, nil
}

// checkReferences checks what points at files.
func (c *ModelConfig) checkReferences(sizes map[string]int64) error {
	names := map[string]bool{}
	for _, p := range c.Checkpoints {
		if _, aboard := sizes[p.Path]; !aboard {
			return fmt.Errorf("checkpoint %s is in %s, which is not listed", p.Name, p.Path)
		}
		if names[p.Name] {
			return fmt.Errorf("checkpoint %s is there twice", p.Name)
		}
		names[p.Name] = true
	}
	for _, u := range c.Unused {
		size, aboard := sizes[u.Path]
		if !aboard || u.Bytes < 0 || u.Bytes > size {
			return fmt.Errorf("unused %s of %q: %d bytes of a file that has %d", u.Part, u.Path, u.Bytes, size)
		}
	}
	return c.checkTensors()
}

func (f ModelFile) check() error {
	if err := CheckPath(f.Path); err != nil {
		return err
	}
	if f.Size < 0 || !isHex(f.SHA256, 64) {
		return fmt.Errorf("size %d or sha256 %q is malformed", f.Size, f.SHA256)
	}
	if len(f.Parts) == 1 || len(f.Parts) > pack.MaxParts {
		return fmt.Errorf("it has %d parts, none or 2 to %d are possible", len(f.Parts), pack.MaxParts)
	}
	if sum, ok := addUp(f.Parts); len(f.Parts) > 0 && (!ok || sum != f.Size) {
		return fmt.Errorf("its parts add up to %d, its size is %d", sum, f.Size)
	}
	return nil
}

// addUp sums the lengths; ok is false if one is not positive or the sum overflows.
func addUp(lengths []int64) (sum int64, ok bool) {
	for _, n := range lengths {
		if n <= 0 || sum+n < sum {
			return sum, false
		}
		sum += n
	}
	return sum, true
}

// PartPaths returns the paths, relative to ModelsDir, that together hold the file: its own
// if it is whole.
func (f ModelFile) PartPaths() []string {
	if len(f.Parts) == 0 {
		return []string{f.Path}
	}
	out := make([]string, len(f.Parts))
	for i := range f.Parts {
		out[i] = pack.PartName(f.Path, i, len(f.Parts))
	}
	return out
}
