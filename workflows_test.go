package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// workflows are the files of GitHub's workflows.
func workflows(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(".github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// walk calls do for every key of a document with a value in text.
func walk(v any, do func(key, value string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if text, is := value.(string); is {
				do(key, text)
			}
			walk(value, do)
		}
	case []any:
		for _, value := range v {
			walk(value, do)
		}
	}
}

// pinned is an action at a full commit: a tag could be moved to other code.
var pinned = regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._/-]+@[0-9a-f]{40}$`)

// TestActionsArePinned: no action is taken by a name that its owner can move, and every
// workflow says which rights it needs.
func TestActionsArePinned(t *testing.T) {
	for _, file := range workflows(t) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var document map[string]any
		require.NoError(t, yaml.UnmarshalStrict(data, &document), file)
		require.Contains(t, document, "permissions", file)
		walk(document, func(key, value string) {
			if key == "uses" {
				require.Regexp(t, pinned, value, file)
			}
			if key == "run" {
				// What somebody else can write reaches a script as a variable, never as a
				// part of its text.
				require.NotContains(t, value, "${{", file)
			}
		})
	}
}

// target is what the magefile says of a target: how many words it takes, and its flags.
type target struct {
	words int
	flags []string
}

// targets reads the magefile.
func targets(t *testing.T) map[string]target {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "magefile.go", nil, 0)
	require.NoError(t, err)
	out := map[string]target{}
	for _, d := range file.Decls {
		if f, is := d.(*ast.FuncDecl); is && f.Name.IsExported() {
			out[targetName(f)] = signature(f)
		}
	}
	require.Contains(t, out, "cache:list")
	return out
}

// targetName is a target's name in small letters, as mage compares names.
func targetName(f *ast.FuncDecl) string {
	name := strings.ToLower(f.Name.Name)
	if f.Recv != nil {
		return strings.ToLower(f.Recv.List[0].Type.(*ast.Ident).Name) + ":" + name
	}
	return name
}

// signature tells flags, which are pointers, from words.
func signature(f *ast.FuncDecl) (out target) {
	for _, p := range f.Type.Params.List {
		switch p.Type.(type) {
		case *ast.StarExpr:
			for _, n := range p.Names {
				out.flags = append(out.flags, n.Name)
			}
		case *ast.Ident:
			out.words += len(p.Names)
		}
	}
	return out
}

// call finds a line that calls mage, with the lines that go on from it. What ends a command
// in a shell or a span in Markdown ends it here too.
var call = regexp.MustCompile("go tool mage ((?:[^\n`|&;>)\\\\]|\\\\\n)*)")

// word is one word of a command: quotes may stand anywhere in it.
var word = regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"'])+`)

// pending are flags that workflows use and that a change under way brings.
var pending []string

// TestCommandsAreTargets: whatever the README, the workflows and the examples tell to call
// is a target, with as many words as it takes and with flags that it has.
func TestCommandsAreTargets(t *testing.T) {
	files := append(workflows(t), "README.md")
	require.NoError(t, filepath.WalkDir("image/examples", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".yaml") {
			files = append(files, path)
		}
		return err
	}))
	known, used := targets(t), 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, c := range call.FindAllStringSubmatch(string(data), -1) {
			used++
			checkCommand(t, known, file, strings.ReplaceAll(c[1], "\\\n", " "))
		}
	}
	require.Greater(t, used, 20)
	for _, p := range pending {
		name, flag, _ := strings.Cut(p, " -")
		require.NotContains(t, known[name].flags, flag, "the flag is here: take %q off the list of what is pending", p)
	}
}

// checkCommand holds one command against the magefile.
func checkCommand(t *testing.T, known map[string]target, file, command string) {
	t.Helper()
	words := word.FindAllString(command, -1)
	require.NotEmpty(t, words, file)
	name := strings.Trim(words[0], ".,:")
	target, is := known[strings.ToLower(name)]
	require.True(t, is, "%s: go tool mage %s: there is no target %s", file, command, name)
	given := 0
	for _, w := range words[1:] {
		flag, isFlag := strings.CutPrefix(w, "-")
		switch flag, _, _ = strings.Cut(flag, "="); {
		case isFlag:
			require.True(t, slices.Contains(target.flags, flag) || slices.Contains(pending, name+" -"+flag),
				"%s: go tool mage %s: %s has no flag -%s, known are %v", file, command, name, flag, target.flags)
		case !strings.HasPrefix(w, `"${`): // an array of flags
			given++
		}
	}
	require.Equal(t, target.words, given, "%s: go tool mage %s", file, command)
}

// TestCommandsAreChecked: the check above finds what is wrong.
func TestCommandsAreChecked(t *testing.T) {
	const text = "x `go tool mage plan -model=\"$A B\"` and\n  go tool mage diff \"lock:$x\" b \\\n    -json=true > out || y\n"
	found := call.FindAllStringSubmatch(text, -1)
	require.Len(t, found, 2)
	require.Equal(t, `plan -model="$A B"`, found[0][1])
	require.Equal(t, []string{"diff", `"lock:$x"`, "b", "-json=true"}, word.FindAllString(strings.ReplaceAll(found[1][1], "\\\n", " "), -1))
	known := targets(t)
	require.Equal(t, 2, known["diff"].words)
	require.Contains(t, known["diff"].flags, "json")
	require.Contains(t, known, "ci")
}
