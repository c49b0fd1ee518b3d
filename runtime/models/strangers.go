package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelfiles"
)

// maxStrangers bounds the warnings about files that model.json does not know: a folder
// that is really a download cache may hold thousands.
const maxStrangers = 100

// strangers warns of what lies in the folder and is none of the files: bytes that nobody
// verifies and nobody needs. Links to folders are not followed. A cache holds what others need.
func (f *Folder) strangers() verify.Findings {
	if f.foreign || len(f.cachedSources()) > 0 {
		return nil
	}
	known := map[string]bool{}
	for _, file := range f.config.Files {
		for _, piece := range f.disk.Pieces(file) {
			for p := piece.Name; p != "." && !known[p]; p = path.Dir(p) {
				known[p] = true
			}
		}
	}
	var found verify.Findings
	more := 0
	warn := func(code, name, message string) {
		if len(found) == maxStrangers {
			more++
			return
		}
		found.Add(verify.Warning, code, printable(name), "%s", message)
	}
	fs.WalkDir(os.DirFS(f.dir), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			warn(modelfiles.CodeUnreadable, name, err.Error())
		case !d.IsDir() && !known[name]:
			warn("extra", name, "not listed in model.json")
		}
		return nil
	})
	if more > 0 {
		found.Add(verify.Warning, "extra", "", "%s", fmt.Sprintf("and %d more", more))
	}
	return found
}

// printable quotes a name that could upset a terminal.
func printable(name string) string {
	if q := strconv.Quote(name); q[1:len(q)-1] != name {
		return q
	}
	return name
}
