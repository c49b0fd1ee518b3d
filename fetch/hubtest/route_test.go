package hubtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var routes = map[string]route{
	"/api/models/o/n":                               {Revision, "o/n", "main", ""},
	"/api/models/n":                                 {Revision, "n", "main", ""},
	"/api/models/o/n/revision/refs%2Fpr%2F1":        {Revision, "o/n", "refs/pr/1", ""},
	"/api/models/n/revision/main":                   {Revision, "n", "main", ""},
	"/api/models/o/n/tree/main":                     {Tree, "o/n", "main", ""},
	"/api/models/o/n/tree/main/a/b%20c":             {Tree, "o/n", "main", "a/b c"},
	"/o/n/resolve/main/a/b%23.txt":                  {Resolve, "o/n", "main", "a/b#.txt"},
	"/n/resolve/main/x":                             {Resolve, "n", "main", "x"},
	"/o/resolve/resolve/main/x":                     {Resolve, "o", "resolve", "main/x"},
	"/api/resolve-cache/models/o/n/" + forty + "/x": {Cache, "o/n", forty, "x"},
	"/api/resolve-cache/models/n/" + forty + "/a/b": {Cache, "n", forty, "a/b"},
	"/api/resolve-cache/models/o/n/main/x":          {kind: Other},
	"/api/models":                                   {kind: Other},
	"/api/models/":                                  {kind: Other},
	"/api/models/a/b/c":                             {kind: Other},
	"/api/whoami-v2":                                {kind: Other},
	"/o/n/resolve/main":                             {kind: Other},
	"/%zz":                                          {kind: Other},
	"/":                                             {kind: Other},
	"":                                              {kind: Other},
}

var forty = strings.Repeat("a", 40)

func TestParseRoute(t *testing.T) {
	for path, want := range routes {
		require.Equal(t, want, parseRoute(path), path)
	}
}

func FuzzParseRoute(f *testing.F) {
	for path := range routes {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		to := parseRoute(path)
		if to.kind == Resolve && escape(to.repo)+escape(to.revision)+escape(to.path) == "" {
			t.Fatalf("%q names nothing", path)
		}
	})
}
