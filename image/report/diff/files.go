package diff

import (
	"cmp"
	"maps"
	"slices"
)

// The values of FileChanges.Scope.
const (
	ScopeModel = "model"
	ScopeAll   = "all"
)

// compareFiles compares as many files as both sides know; nil where one knows none.
func compareFiles(a, b Image) *FileChanges {
	known := min(a.Known, b.Known)
	if known == KnowsNone {
		return nil
	}
	was, is := a.known(known), b.known(known)
	out := &FileChanges{Scope: ScopeAll, Changes: []FileChange{}}
	if known == KnowsModel {
		out.Scope = ScopeModel
	}
	for _, path := range slices.Sorted(maps.Keys(is)) {
		out.compare(path, was, is)
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		if _, still := is[path]; !still {
			f := was[path]
			out.Removed.add(f.Size)
			out.Changes = append(out.Changes, FileChange{Status: Removed, Path: path, Bytes: f.Size, Sum: f.Sum})
		}
	}
	slices.SortStableFunc(out.Changes, func(x, y FileChange) int { return cmp.Compare(x.Path, y.Path) })
	return out
}

// known returns the files of a scope, by path.
func (i Image) known(scope Known) map[string]File {
	out := map[string]File{}
	for _, f := range i.Files {
		if scope == KnowsAll || f.Kind == KindModel {
			out[f.Path] = f
		}
	}
	return out
}

// compare counts a file of B.
func (c *FileChanges) compare(path string, was, is map[string]File) {
	f := is[path]
	old, there := was[path]
	if there && old.Sum == f.Sum && old.Size == f.Size {
		c.Shared.add(f.Size)
		return
	}
	change := FileChange{Status: Added, Path: path, Bytes: f.Size, Sum: f.Sum}
	if there {
		change.Status, change.Was, change.WasSum = Changed, old.Size, old.Sum
		c.Removed.add(old.Size)
	}
	c.Added.add(f.Size)
	c.Changes = append(c.Changes, change)
}

// compareSettings lists the values that differ, of the kinds that both sides know.
func compareSettings(a, b Image) []SettingChange {
	var order []SettingChange
	seen := map[SettingChange]bool{}
	was, is := map[SettingChange]string{}, map[SettingChange]string{}
	for _, side := range []struct {
		settings []Setting
		into     map[SettingChange]string
	}{{a.Settings, was}, {b.Settings, is}} {
		for _, s := range side.settings {
			key := SettingChange{Kind: s.Kind, Name: s.Name}
			if !seen[key] {
				order = append(order, key)
			}
			seen[key] = true
			side.into[key] = s.Value
		}
	}
	var out []SettingChange
	for _, key := range order {
		if was[key] != is[key] && a.tells(key.Kind) && b.tells(key.Kind) {
			out = append(out, SettingChange{Kind: key.Kind, Name: key.Name, A: was[key], B: is[key]})
		}
	}
	return out
}

// tells reports whether a side knows settings of a kind.
func (i Image) tells(kind string) bool {
	return kind == SettingSource || i.Lock == (kind == SettingPackage)
}
