package base

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Resolve returns the packages that names mean in a suite (such as "trixie") today, sorted
// by name, from the first mirror of o that gives a complete answer. arch is Debian's name
// of the architecture, such as "amd64". Dependencies are not followed: names is the whole
// list.
//
// What is checked and what is trusted is said in the package comment. Errors are of kind
// Upstream, and wrap ErrNoMirror where no mirror could be reached; of kind Usage for a
// name that is malformed, given twice, or not in the suite.
func Resolve(ctx context.Context, o Options, suite, arch string, names []string) ([]manifests.Package, error) {
	if err := checkNames(suite, arch, names); err != nil {
		return nil, err
	}
	var index []byte
	var file indexFile
	var sources []source
	for _, root := range o.Mirrors {
		sources = append(sources, source{root, func(ctx context.Context) (err error) {
			index, file, err = o.fetchIndex(ctx, root, suite, arch)
			return err
		}})
	}
	if err := firstOf(ctx, "reading the package index of "+suite, "check the suite in the manifest, or set "+MirrorEnv+" to a mirror that has it", sources); err != nil {
		return nil, err
	}
	found, err := findPackages(index, file, suite, arch, names)
	if err != nil {
		return nil, fault.Wrap(fault.Upstream, "", fmt.Errorf("reading %s of %s: %w", file.path, suite, err))
	}
	return complete(found, suite, names)
}

func checkNames(suite, arch string, names []string) error {
	for i, name := range names {
		if !packageName.MatchString(name) || slices.Contains(names[:i], name) {
			return fault.Wrap(fault.Usage, "", fmt.Errorf("resolving package %q: the name is malformed or there twice", name))
		}
	}
	if !word.MatchString(suite) || !word.MatchString(arch) {
		return fault.Wrap(fault.Usage, "", fmt.Errorf("resolving packages: suite %q or architecture %q is malformed", suite, arch))
	}
	return nil
}

// fetchIndex reads the release file of a mirror and then the package index it names.
func (o Options) fetchIndex(ctx context.Context, root, suite, arch string) ([]byte, indexFile, error) {
	data, err := o.get(ctx, join(root, "dists", suite, "InRelease"), want{size: maxRelease})
	if err != nil {
		return nil, indexFile{}, err
	}
	rel, err := parseRelease(data, suite, arch)
	if err != nil {
		return nil, indexFile{}, err
	}
	file, err := rel.index(arch)
	if err != nil {
		return nil, indexFile{}, err
	}
	if file.size > maxIndex {
		return nil, indexFile{}, fmt.Errorf("%s has %d bytes, at most %d are allowed", file.path, file.size, maxIndex)
	}
	w := want{name: file.path, size: file.size, sum: file.sum}
	name := "Packages-" + suite + "-" + arch + path.Ext(file.path)
	index, err := o.cached(name, w, func() ([]byte, error) { return o.getIndex(ctx, root, suite, rel, file, w) })
	return index, file, err
}

// getIndex downloads an index by its hash, where the mirror offers that: the plain name
// may already mean the next version.
func (o Options) getIndex(ctx context.Context, root, suite string, rel *release, file indexFile, w want) ([]byte, error) {
	plain := join(root, "dists", suite, file.path)
	if !rel.byHash {
		return o.get(ctx, plain, w)
	}
	data, err := o.get(ctx, join(root, "dists", suite, path.Dir(file.path), "by-hash", "SHA256", file.sum), w)
	if errors.Is(err, errAbsent) {
		return o.get(ctx, plain, w)
	}
	return data, err
}

// findPackages picks the named packages out of a compressed index.
func findPackages(index []byte, file indexFile, suite, arch string, names []string) (map[string]manifests.Package, error) {
	r, err := unpackIndex(index, file.path)
	if err != nil {
		return nil, err
	}
	found := map[string]manifests.Package{}
	for c := newControlReader(r); ; {
		s, err := c.next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		name := s["package"]
		if !slices.Contains(names, name) || s["architecture"] != arch && s["architecture"] != "all" {
			continue
		}
		if other, twice := found[name]; twice {
			return nil, fmt.Errorf("%s is there twice, as %s and %s", name, other.Version, s["version"])
		}
		if found[name], err = packageOf(s, suite); err != nil {
			return nil, err
		}
	}
}

func unpackIndex(index []byte, name string) (io.Reader, error) {
	var r io.Reader
	var err error
	if path.Ext(name) == ".xz" {
		r, err = xz.NewReader(bytes.NewReader(index))
	} else {
		r, err = gzip.NewReader(bytes.NewReader(index))
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	return &limitedReader{r: r, max: maxIndexRaw}, nil
}

func packageOf(s stanza, suite string) (manifests.Package, error) {
	size, err := strconv.ParseInt(s["size"], 10, 64)
	if err != nil {
		return manifests.Package{}, fmt.Errorf("the size of %s is %.30q", s["package"], s["size"])
	}
	p := manifests.Package{
		Name: s["package"], Version: s["version"], Arch: s["architecture"], Suite: suite,
		Path: s["filename"], Size: size, SHA256: s["sha256"],
	}
	return p, checkPackage(p)
}

// complete returns the packages in the order of their names, or says which are missing.
func complete(found map[string]manifests.Package, suite string, names []string) ([]manifests.Package, error) {
	var out []manifests.Package
	var missing []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		p, ok := found[name]
		if !ok {
			missing = append(missing, name)
			continue
		}
		out = append(out, p)
	}
	if len(missing) > 0 {
		return nil, fault.Wrap(fault.Usage, "check the names of the base packages in the manifest", fmt.Errorf(
			"resolving packages: component main of %s has no %s", suite, strings.Join(missing, ", ")))
	}
	return out, nil
}
