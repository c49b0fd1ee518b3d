package hubtest

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
)

// tree is a git tree being built: a directory with its files and directories.
type tree struct {
	blobs map[string]string // name → id
	dirs  map[string]*tree
}

// put places a blob at a path.
func (t *tree) put(path []string, oid string) {
	if len(path) == 1 {
		if t.blobs == nil {
			t.blobs = map[string]string{}
		}
		t.blobs[path[0]] = oid
		return
	}
	if t.dirs == nil {
		t.dirs = map[string]*tree{}
	}
	child, ok := t.dirs[path[0]]
	if !ok {
		child = &tree{}
		t.dirs[path[0]] = child
	}
	child.put(path[1:], oid)
}

// id returns git's id of the tree and reports the id of every directory below it.
func (t *tree) id(prefix string, report func(path, oid string)) string {
	type line struct{ sortKey, text string }
	var lines []line
	for name, oid := range t.blobs {
		lines = append(lines, line{name, "100644 " + name + "\x00" + rawID(oid)})
	}
	for name, child := range t.dirs {
		oid := child.id(prefix+name+"/", report)
		report(prefix+name, oid)
		lines = append(lines, line{name + "/", "40000 " + name + "\x00" + rawID(oid)})
	}
	// git sorts directories as if their names ended with a slash.
	slices.SortFunc(lines, func(a, b line) int { return bytes.Compare([]byte(a.sortKey), []byte(b.sortKey)) })
	var body bytes.Buffer
	for _, l := range lines {
		body.WriteString(l.text)
	}
	return objectID("tree", body.Bytes())
}

// commitID is the id of a commit without parents, at time 0.
func commitID(tree, repo string) string {
	const who = "hubtest <hubtest@localhost> 0 +0000"
	return objectID("commit", fmt.Appendf(nil, "tree %s\nauthor %s\ncommitter %s\n\nUpload %s\n", tree, who, who, repo))
}

// objectID is git's id of an object.
func objectID(kind string, body []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, len(body))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// rawID is the binary form of an id that this package made.
func rawID(oid string) string {
	raw, err := hex.DecodeString(oid)
	if err != nil {
		panic("hubtest: an id is not hex: " + oid)
	}
	return string(raw)
}
