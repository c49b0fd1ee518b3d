package flow

import (
	"fmt"
	"os"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
)

// openSet opens the kept files of a source as one file system. What other tools put into
// the cache beside them is not seen. Files of which only the beginning is here, in heads,
// need not be in the cache.
func (j *Job) openSet(l *manifests.Lock, s manifests.Selection, source manifests.Source, heads heads) (modelset.Map, func(), error) {
	listing := l.Listings()[source.Name]
	set := modelset.Map{}
	var files []*os.File
	closer := func() {
		for _, f := range files {
			f.Close()
		}
	}
	for _, d := range s.Kept() {
		if d.Source != source.Name {
			continue
		}
		if head, ok := heads[d.SHA256]; ok {
			set[d.Path] = head.section(d.Size)
			continue
		}
		path, err := j.blob(listing.Repo, d.File)
		if err == nil {
			var f *os.File
			if f, err = os.Open(path); err == nil {
				files = append(files, f)
				set[d.Path] = section{File: f, size: d.Size}
			}
		}
		if err != nil {
			closer()
			return nil, nil, fmt.Errorf("opening %s of %s: %w", d.Path, source.Name, err)
		}
	}
	return set, closer, nil
}

// section is an open file with its size.
type section struct {
	*os.File
	size int64
}

// Size is the file's size in bytes.
func (s section) Size() int64 { return s.size }
