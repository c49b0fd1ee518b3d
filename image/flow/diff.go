package flow

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/image/report/diff"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// formLock is a lock, which stands for the model layers that would be built from it.
const formLock form = "lock:"

// diffHint lists the forms that diff knows.
const diffHint = "write oci:PATH, oci:PATH:NAME, docker://REGISTRY/REPOSITORY:TAG or lock:PATH"

// DiffOptions say how two images are compared.
type DiffOptions struct {
	// Model names the manifest of locks; "": the manifest beside each, else the one in the
	// folder manifests that the lock itself names. Variant is the variant that locks stand
	// for; "": the default one.
	Model, Variant string
	// Platform is "OS/ARCHITECTURE", chosen where a place holds several; "": linux/amd64.
	Platform string
	// Files reads the layers of layouts, so that all files are compared and not just those
	// that annotations name.
	Files bool
	// Markdown is a path for the report in Markdown, "" for none: the file is replaced, but
	// the one that GITHUB_STEP_SUMMARY names is added to.
	Markdown string
	// Root is the folder of plimsoll's module, which holds manifests/; default: ".".
	Root string
	// Registry says how registries are reached.
	Registry contents.Options
}

// Diff compares two images, each "oci:PATH", "oci:PATH:NAME", "docker://REFERENCE" or
// "lock:PATH". It reads manifests and configs and, without DiffOptions.Files, no layer.
// Errors are of kind fault.Usage for a bad name, and of the kinds of package contents.
func Diff(ctx context.Context, a, b string, o DiffOptions) (*diff.Report, error) {
	if o.Root == "" {
		o.Root = "."
	}
	if o.Platform != "" {
		p, err := v1.ParsePlatform(o.Platform)
		if err != nil || p.OS == "" || p.Architecture == "" {
			return nil, fault.Wrap(fault.Usage, "write -platform=linux/arm64", fmt.Errorf("reading -platform=%s: want OS/ARCHITECTURE", o.Platform))
		}
		o.Registry.Platform = p
	}
	x, err := o.read(ctx, a)
	if err != nil {
		return nil, err
	}
	y, err := o.read(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := o.addFiles(ctx, &x, &y); err != nil {
		return nil, err
	}
	r, err := diff.New(x.Image, y.Image)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "", err)
	}
	if o.Markdown != "" {
		err = writeDocument(os.Getenv, o.Markdown, []byte(r.Markdown()))
	}
	return r, err
}

// side is one side of a comparison, with the layout that it lies in; nil for other forms.
type side struct {
	diff.Image
	layout *contents.Image
}

// read describes one side.
func (o DiffOptions) read(ctx context.Context, text string) (side, error) {
	for form, read := range map[form]func(context.Context, string) (side, error){
		formOCI: o.readLayout, formRegistry: o.readRegistry, formLock: o.readLock,
	} {
		if value, ok := strings.CutPrefix(text, string(form)); ok && value != "" {
			s, err := read(ctx, value)
			s.Name = text
			return s, err
		}
	}
	hint := diffHint
	if text == string(formCache) || strings.HasPrefix(text, string(formDir)) {
		hint = "cache and dir: hold files and no image: " + diffHint
	}
	return side{}, fault.Wrap(fault.Usage, hint, fmt.Errorf("reading %q: it is none of the known forms", text))
}

func (o DiffOptions) readRegistry(ctx context.Context, reference string) (side, error) {
	if o.Files {
		return side{}, fault.Wrap(fault.Usage, "copy the image to an OCI layout first, and name that",
			fmt.Errorf("reading docker://%s: of a registry no layer is read, and -files=true reads them", reference))
	}
	img, err := contents.Registry(ctx, reference, o.Registry)
	if err != nil {
		return side{}, err
	}
	return side{Image: describe(img)}, nil
}

func (o DiffOptions) readLayout(_ context.Context, place string) (side, error) {
	img, err := contents.Pick(place, o.Registry)
	if err != nil {
		return side{}, err
	}
	return side{Image: describe(img), layout: img}, nil
}

// describe says what manifest and config of an image hold.
func describe(img *contents.Image) diff.Image {
	i := diff.Image{
		Digest: img.Digest.String(), Platform: platformOf(img.Config), Settings: settings(img.Config),
		Blobs: []diff.Blob{
			{Name: "config", Digest: img.Manifest.Config.Digest.String(), Size: img.Manifest.Config.Size},
			{Name: "manifest", Digest: img.Digest.String(), Size: img.Size},
		},
	}
	created := instructions(img)
	files := map[string]diff.File{}
	for n, d := range img.Manifest.Layers {
		l := diff.Layer{
			Kind: d.Annotations[image.AnnotationKind], Title: d.Annotations[titleKey],
			Digest: d.Digest.String(), Size: d.Size, Unpacked: diff.UnknownSize,
		}
		if l.Title == "" {
			l.Title = created[n]
		}
		if len(img.Config.RootFS.DiffIDs) == len(img.Manifest.Layers) {
			l.DiffID = img.Config.RootFS.DiffIDs[n].String()
		}
		if l.DiffID == l.Digest {
			l.Unpacked = d.Size
		}
		if l.Kind == diff.KindModel {
			describeModel(d, &l, files)
		}
		i.Layers = append(i.Layers, l)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		i.Files, i.Known = append(i.Files, files[path]), diff.KnowsModel
	}
	return i
}

// titleKey is the annotation with the name of a layer's file.
const titleKey = "org.opencontainers.image.title"

// describeModel adds what the annotations of a model layer say. A layer whose annotations
// contradict each other is one of no kind.
func describeModel(d v1.Descriptor, l *diff.Layer, files map[string]diff.File) {
	m, err := image.ReadAnnotations(d)
	sum := "sha256:" + m.SHA256
	if known, twice := files[m.File]; err != nil || twice && (known.Sum != sum || known.Size != m.Size) {
		l.Kind = ""
		return
	}
	l.Title, l.Content = m.Part.Name, content(m)
	files[m.File] = diff.File{Path: m.File, Kind: diff.KindModel, Size: m.Size, Sum: sum}
}

// content is everything that the digest of a model layer is a function of.
func content(m image.ModelLayer) string {
	return fmt.Sprintf("pack %s: %s is bytes %d+%d of the file of %d bytes with sha256 %s",
		m.Pack, m.Part.Name, m.Part.Offset, m.Part.Length, m.Size, m.SHA256)
}

// instructions are what the history says about each layer, "" where it does not fit.
func instructions(img *contents.Image) []string {
	var out []string
	for _, h := range img.Config.History {
		if !h.EmptyLayer {
			out = append(out, h.CreatedBy)
		}
	}
	if len(out) != len(img.Manifest.Layers) {
		return make([]string, len(img.Manifest.Layers))
	}
	return out
}

// addFiles reads layers, where that is asked for and a comparison can use it. Annotations
// name the files of model layers, so those are read only to be compared with an image that
// has none: there a file that is cut is two, on both sides.
func (o DiffOptions) addFiles(ctx context.Context, a, b *side) error {
	if !o.Files || a.Lock || b.Lock {
		return nil
	}
	named := a.Known != diff.KnowsNone && b.Known != diff.KnowsNone
	for _, s := range []*side{a, b} {
		if !named {
			s.Files = nil
		}
		if err := s.addFiles(ctx, named); err != nil {
			return err
		}
	}
	return nil
}

// addFiles adds up the root file system. named leaves out layers that annotations describe.
func (s *side) addFiles(ctx context.Context, named bool) error {
	var root contents.Root
	for n := range s.Layers {
		root.Next()
		if named && s.Layers[n].Kind == diff.KindModel {
			continue
		}
		unpacked, err := s.layout.Entries(ctx, n, func(e contents.Entry) error { root.Add(e); return nil })
		if errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap(fault.Usage, "complete the layout with the export target, or leave -files=true away", err)
		}
		if err != nil {
			return err
		}
		s.Layers[n].Unpacked = unpacked
	}
	seen := map[string]bool{}
	for _, f := range s.Files {
		seen[f.Path] = true
	}
	files := root.Files()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if !seen[path] {
			s.Files = append(s.Files, diffFile(path, files[path]))
		}
	}
	s.Known = diff.KnowsAll
	return nil
}

// diffFile says what stands for the content of an entry.
func diffFile(path string, e contents.Entry) diff.File {
	switch e.Type {
	case tar.TypeReg:
		return diff.File{Path: path, Size: e.Size, Sum: "sha256:" + e.Sum}
	case tar.TypeSymlink:
		return diff.File{Path: path, Sum: "link to " + e.Link}
	case tar.TypeLink:
		return diff.File{Path: path, Sum: "the same file as " + e.Link}
	}
	return diff.File{Path: path, Sum: fmt.Sprintf("tar entry of type %q", e.Type)}
}
