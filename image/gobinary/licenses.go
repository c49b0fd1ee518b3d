package gobinary

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// StdModule is the module name under which Licenses returns Go's own licence.
const StdModule = "std"

// License is one licence text.
type License struct {
	// Module is the module's path; StdModule for Go's standard library.
	Module string
	// Version is the module's version, the toolchain's for StdModule, "" for the main
	// module.
	Version string
	// Name is the file's path in the module, such as "LICENSE" or "zstd/LICENSE.txt".
	Name string
	// Text is the file's content.
	Text string
}

// maxLicense bounds a licence text in bytes.
const maxLicense = 1 << 20

// licenseName matches the file names under which projects keep licence texts and notices.
var licenseName = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|copyright|unlicense|notice|patents)([._-].*)?$`)

// Licenses returns the licence texts of every module that the program is linked from: the
// main module, its dependencies and Go itself. Texts count that lie in the folder of a
// linked package or in one above it, up to the module's root. The order is that of module
// and name, so equal sources give equal results.
//
// A module without any text is an error: nobody may ship it then.
func Licenses(ctx context.Context, o Options) ([]License, error) {
	g, err := newCommand(ctx, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("collecting licences of %s: %w", o.Package, err)
	}
	packages, err := g.list(ctx, o.Package)
	if err != nil {
		return nil, fmt.Errorf("collecting licences of %s: %w", o.Package, err)
	}
	var c collector
	for _, p := range packages {
		if err := c.add(p, g.toolchain); err != nil {
			return nil, fmt.Errorf("collecting licences of %s: %w", o.Package, err)
		}
	}
	return c.sorted()
}

// goModule and goPackage are what we need of go list's answer (go help list).
type goModule struct {
	Path, Version, Dir string
	Main               bool
	Replace            *goModule
}

type goPackage struct {
	ImportPath, Dir, Root       string
	Standard                    bool
	Module                      *goModule
	GoFiles, SFiles, EmbedFiles []string
}

// list returns the packages that are linked into pkg.
func (c *command) list(ctx context.Context, pkg string) ([]goPackage, error) {
	out, err := c.run(ctx, "list", "-mod=readonly", "-deps", "-json=ImportPath,Dir,Root,Standard,Module,GoFiles,SFiles,EmbedFiles", pkg)
	if err != nil {
		return nil, err
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the list of packages: %w", err)
		}
		packages = append(packages, p)
	}
}

// collector gathers each licence file once.
type collector struct {
	folders map[string]bool // folders already looked at
	modules map[string]bool // module to whether it has a text
	found   []License
}

// add looks at the folders from a package up to its module's root.
func (c *collector) add(p goPackage, toolchain string) error {
	module, version, root, err := origin(p, toolchain)
	if err != nil {
		return err
	}
	if c.folders == nil {
		c.folders, c.modules = map[string]bool{}, map[string]bool{}
	}
	c.modules[module] = c.modules[module] || false
	for dir := p.Dir; !c.folders[dir]; dir = filepath.Dir(dir) {
		c.folders[dir] = true
		rel, err := filepath.Rel(root, dir)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return fmt.Errorf("looking for the licence of %s: %s is not inside of %s", p.ImportPath, dir, root)
		}
		if err := c.look(dir, filepath.ToSlash(rel), module, version); err != nil {
			return err
		}
		if rel == "." {
			break
		}
	}
	return nil
}

// origin says which module a package is of, and where that lies.
func origin(p goPackage, toolchain string) (module, version, root string, err error) {
	switch {
	case p.Standard:
		// Root is the module's where the program uses a module that Go has a copy of in vendor.
		return StdModule, toolchain, strings.TrimSuffix(p.Dir, filepath.FromSlash("/src/"+p.ImportPath)), nil
	case p.Module == nil:
		return "", "", "", fmt.Errorf("looking for the licence of %s: it is in no module", p.ImportPath)
	}
	root = p.Module.Dir
	if r := p.Module.Replace; r != nil && r.Dir != "" {
		root = r.Dir
	}
	return p.Module.Path, p.Module.Version, root, nil
}

// look takes the licence texts of one folder.
func (c *collector) look(dir, rel, module, version string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !licenseName.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		info, err := e.Info()
		if err == nil && info.Size() > maxLicense {
			err = fmt.Errorf("reading %s: it has %d bytes, at most %d are allowed", e.Name(), info.Size(), maxLicense)
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		c.modules[module] = true
		c.found = append(c.found, License{Module: module, Version: version, Name: path.Join(rel, e.Name()), Text: string(text)})
	}
	return nil
}

// sorted returns what was found, unless a module has nothing.
func (c *collector) sorted() ([]License, error) {
	var without []string
	for module, has := range c.modules {
		if !has {
			without = append(without, module)
		}
	}
	if len(without) > 0 {
		slices.Sort(without)
		hint := ""
		if slices.Contains(without, StdModule) {
			hint = "install Go from go.dev/dl: some distributions leave its LICENSE out"
		}
		return nil, fault.Wrap(fault.Invalid, hint, fmt.Errorf("collecting licences: no licence text in %s", strings.Join(without, ", ")))
	}
	slices.SortFunc(c.found, func(a, b License) int {
		return cmp.Or(cmp.Compare(a.Module, b.Module), cmp.Compare(a.Name, b.Name))
	})
	return c.found, nil
}
