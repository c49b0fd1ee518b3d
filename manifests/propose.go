package manifests

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// group is a proposed rule with the files that it is meant to claim. because is "" for a
// rule that keeps.
type group struct {
	name    string
	because Category
	reason  string
	notes   []string
	files   []File
}

// proposal sorts files into groups. Each step claims files that no earlier step has.
type proposal struct {
	open   []File
	groups []*group
}

// propose sorts every file into exactly one group: kept ones first, those at the top of the
// repository before folders. The groups follow from the files alone, whatever their order.
func propose(files []File) []*group {
	p := &proposal{open: slices.Clone(files)}
	slices.SortFunc(p.open, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	p.dropConversions()
	p.dropDocs()
	p.dropFormats()
	p.dropVariants()
	p.dropIdentical()
	p.dropSingleFile()
	drops := p.groups
	p.groups = nil
	p.keepRest()
	p.noteAlternatives()
	p.groups = append(p.groups, drops...)
	p.uniqueNames()
	return p.groups
}

// claim moves the open files that pick chooses into groups, by the name that it gives.
func (p *proposal) claim(pick func(File) (group, bool)) {
	p.open = slices.DeleteFunc(p.open, func(f File) bool {
		g, ok := pick(f)
		if ok {
			p.add(g, f)
		}
		return ok
	})
}

func (p *proposal) add(g group, f File) {
	for _, known := range p.groups {
		if known.name == g.name && known.because == g.because && known.reason == g.reason {
			known.files = append(known.files, f)
			return
		}
	}
	g.files = []File{f}
	p.groups = append(p.groups, &g)
}

// duplicateOf is the group of files that hold the weights as a in place of b.
func duplicateOf(as, of format) group {
	return group{
		name: ruleName(formatNames[as]), because: BecauseDuplicate,
		reason: fmt.Sprintf("the weights in %s form; they are kept as %s", formatNames[as], formatNames[of]),
	}
}

// dropConversions drops folders of converted weights, whole.
func (p *proposal) dropConversions() {
	stock := takeStock(p.open)
	p.claim(func(f File) (group, bool) {
		as, of, ok := stock.conversionOf(f.Path)
		return duplicateOf(as, of), ok
	})
}

var (
	docsForm = regexp.MustCompile(`(?i)^(readme|license|licence|notice|copying|changelog|citation)\b[^/]*$|` +
		`^\.git(attributes|ignore|keep)$|\.(md|rst|pdf|png|jpe?g|gif|svg|webp|bmp|mp4|ipynb|html?|bib)$`)
	trainingForm = regexp.MustCompile(`(?i)^(training_args\.bin|train(ing)?_script\.py|train\.py|trainer_state\.json|(all|train|eval|test)_results\.json|` +
		`optimizer\.(pt|bin|pth)|scheduler\.pt|scaler\.pt|rng_state(_[0-9]+)?\.pth|events\.out\.tfevents\..*)$`)
)

// dropDocs drops what people read and what a training run left behind.
func (p *proposal) dropDocs() {
	p.claim(func(f File) (group, bool) {
		return group{name: "docs", because: BecauseDocs, reason: "for people and repositories, not read at run time"},
			docsForm.MatchString(path.Base(f.Path))
	})
	p.claim(func(f File) (group, bool) {
		return group{name: "training", because: BecauseDocs, reason: "records of a training run, which inference never reads"},
			trainingForm.MatchString(path.Base(f.Path))
	})
}

// dropFormats drops weights that the same folder holds in a preferred format.
func (p *proposal) dropFormats() {
	stock := takeStock(p.open)
	p.claim(func(f File) (group, bool) {
		w, ok := weightsOf(f.Path)
		if !ok {
			return group{}, false
		}
		of, ok := stock.better(w)
		return duplicateOf(w.format, of), ok
	})
}

// dropVariants drops weights of another precision beside those without a suffix.
func (p *proposal) dropVariants() {
	stock := takeStock(p.open)
	p.claim(func(f File) (group, bool) {
		w, ok := weightsOf(f.Path)
		if !ok || w.variant == "" {
			return group{}, false
		}
		b, ok := stock.best(weightSet{w.dir, w.stem, ""})
		return group{
			name: ruleName(w.variant), because: BecauseDuplicate,
			reason: fmt.Sprintf("the weights as variant %s, which loaders take only on request", w.variant),
		}, ok && b <= w.format
	})
}

// looksUp bounds the files that are kept at several paths although their bytes are the
// same: loaders look for configuration by path, and it weighs nothing.
const looksUp = 1 << 20

// dropIdentical drops all but one of the files with the same bytes: weights wherever they
// lie, other large files within one folder.
func (p *proposal) dropIdentical() {
	kept := map[string]string{}
	byLength := slices.Clone(p.open)
	slices.SortStableFunc(byLength, func(a, b File) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/")), cmp.Compare(len(a.Path), len(b.Path)))
	})
	for _, f := range byLength {
		if key := identity(f); key != "" && kept[key] == "" {
			kept[key] = f.Path
		}
	}
	p.claim(func(f File) (group, bool) {
		first := kept[identity(f)]
		return group{name: "identical", because: BecauseDuplicate, reason: "byte for byte the same as a file that is kept"},
			first != "" && first != f.Path
	})
}

// identity is the same for files of which one is enough, "" for a file to leave alone.
func identity(f File) string {
	sum := f.SHA256
	if sum == "" {
		sum = f.SHA1
	}
	_, isWeights := weightsOf(f.Path)
	switch {
	case sum == "" || f.Size == 0:
		return ""
	case isWeights:
		return sum
	case f.Size >= looksUp:
		return sum + " " + path.Dir(f.Path)
	}
	return ""
}

// dropSingleFile drops weights at the top of a diffusers repository that are large enough
// to be the whole pipeline: its folders hold the same, and its loader reads only them.
func (p *proposal) dropSingleFile() {
	components := int64(0)
	pipeline := false
	for _, f := range p.open {
		if _, ok := weightsOf(f.Path); ok && strings.Contains(f.Path, "/") {
			components += f.Size
		}
		pipeline = pipeline || f.Path == "model_index.json"
	}
	p.claim(func(f File) (group, bool) {
		_, ok := weightsOf(f.Path)
		return group{name: "single-file", because: BecauseDuplicate, reason: "the whole pipeline in one file; its folders hold the same"},
			ok && pipeline && components > 0 && !strings.Contains(f.Path, "/") && f.Size >= components/4
	})
}

var (
	tokenizerForm = regexp.MustCompile(`^(tokenizer.*|vocab\..*|merges\.txt|special_tokens_map\.json|added_tokens\.json|chat_template.*|.*\.model|.*\.tiktoken)$`)
	configForm    = regexp.MustCompile(`\.(json|ya?ml|toml|jinja|txt|cfg)$`)
)

// keepRest keeps what is left: a rule for each folder, and one for each kind of file at
// the top.
func (p *proposal) keepRest() {
	p.claim(func(f File) (group, bool) {
		dir, _, nested := strings.Cut(f.Path, "/")
		return group{name: ruleName(dir), reason: "the component " + printable(dir)}, nested
	})
	p.claim(func(f File) (group, bool) {
		w, ok := weightsOf(f.Path)
		if ok && w.format == gguf {
			name := quantisation(f.Path)
			return group{name: ruleName(name), reason: "the weights " + printable(name)}, true
		}
		return group{name: "weights", reason: "the weights"}, ok
	})
	kinds := []struct {
		form  *regexp.Regexp
		group group
	}{
		{tokenizerForm, group{name: "tokenizer", reason: "turns text into tokens"}},
		{configForm, group{name: "config", reason: "says how the model is built and used"}},
		{regexp.MustCompile(`\.py$`), group{name: "code", reason: "code of the model's own"}},
		{regexp.MustCompile(``), group{name: "other", reason: "not recognised, so kept", notes: []string{"Nothing is known about these files: keep or drop them yourself."}}},
	}
	for _, k := range kinds {
		p.claim(func(f File) (group, bool) { return k.group, k.form.MatchString(f.Path) })
	}
	slices.SortStableFunc(p.groups, func(a, b *group) int { return cmp.Compare(a.nested(), b.nested()) })
}

// nested is 0 for files at the top of the repository, 1 for those in folders.
func (g *group) nested() int { return min(strings.Count(g.files[0].Path, "/"), 1) }

// quantisation is the name of a GGUF file without shard number and extension.
func quantisation(file string) string {
	name := strings.TrimSuffix(file, path.Ext(file))
	if m := shardForm.FindStringSubmatch(name); m != nil {
		return m[1] + m[3]
	}
	return name
}

// printable cuts foreign text for a reason.
func printable(text string) string { return strings.ToValidUTF8(text[:min(len(text), 100)], "") }

// noteAlternatives says over the first of several kept GGUF files what they are.
func (p *proposal) noteAlternatives() {
	var alternatives []*group
	for _, g := range p.groups {
		if w, ok := weightsOf(g.files[0].Path); ok && w.format == gguf {
			alternatives = append(alternatives, g)
		}
	}
	if len(alternatives) > 1 {
		alternatives[0].notes = []string{
			fmt.Sprintf("The repository holds %d alternatives of one model. Most images need one of them:", len(alternatives)),
			"drop the others, because precision.",
		}
	}
}

// uniqueNames numbers groups whose names became equal.
func (p *proposal) uniqueNames() {
	taken := map[string]bool{}
	for _, g := range p.groups {
		name := g.name
		for n := 2; taken[g.name]; n++ {
			g.name = fmt.Sprintf("%s-%d", name[:min(len(name), 58)], n)
		}
		taken[g.name] = true
	}
}

// patterns are the shortest list of patterns that claims exactly the group's files: whole
// folders, sets of shards, then single names.
func (g *group) patterns(all []File) []string {
	mine := map[string]bool{}
	for _, f := range g.files {
		mine[f.Path] = true
	}
	var out []string
	for _, f := range g.files {
		if !matchAny(out, f.Path) {
			out = append(out, g.pattern(f.Path, mine, all))
		}
	}
	return out
}

// pattern is the widest one that claims the file and no file of another group.
func (g *group) pattern(file string, mine map[string]bool, all []File) string {
	exact := func(pattern string) bool {
		return !slices.ContainsFunc(all, func(f File) bool { return !mine[f.Path] && doublestar.MatchUnvalidated(pattern, f.Path) })
	}
	parts := strings.Split(file, "/")
	for i := 1; i < len(parts); i++ {
		if p := escapePattern(strings.Join(parts[:i], "/")) + "/**"; exact(p) {
			return p
		}
	}
	if m := shardForm.FindStringSubmatch(file); m != nil {
		if p := escapePattern(m[1]) + "-?????-of-" + m[2] + escapePattern(m[3]); exact(p) {
			return p
		}
	}
	return escapePattern(file)
}

var metaForm = regexp.MustCompile(`[*?\[\]{}\\]`)

// escapePattern makes a pattern that matches the text alone.
func escapePattern(text string) string { return metaForm.ReplaceAllString(text, `\$0`) }
