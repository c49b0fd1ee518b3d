package fetch

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// Keys of the sums of the whole file.
const (
	sha256Key = "sha256"
	sha1Key   = "git-sha1"
)

// laneSpec describes one sum: over prefix, then the bytes [from, to) of the file, then
// suffix zeros.
type laneSpec struct {
	key      string // its name in the journal
	make     func() hash.Hash
	prefix   []byte
	from, to int64
	suffix   int64
	layer    bool
}

// fileLanes are the sums of the file itself. sha256 is always taken.
func fileLanes(f File) []laneSpec {
	lanes := []laneSpec{{key: sha256Key, make: sha256.New, to: f.Size}}
	if f.SHA1 != "" {
		prefix := fmt.Appendf(nil, "blob %d\x00", f.Size) // as git hashes a blob object
		lanes = append(lanes, laneSpec{key: sha1Key, make: sha1.New, prefix: prefix, to: f.Size})
	}
	return lanes
}

// layerLanes are the sums of the layers that the file becomes.
func layerLanes(f File) ([]laneSpec, error) {
	var lanes []laneSpec
	for _, p := range f.Layers {
		prefix, err := pack.Prefix(p)
		if err != nil {
			return nil, err
		}
		if p.Offset < 0 || p.Length < 0 || p.Length > f.Size-p.Offset {
			return nil, fmt.Errorf("fetching %s: layer %s is bytes %d+%d of %d", f, p.Name, p.Offset, p.Length, f.Size)
		}
		lanes = append(lanes, laneSpec{
			key: layerKey(p), make: sha256.New, prefix: prefix, layer: true,
			from: p.Offset, to: p.Offset + p.Length, suffix: pack.SuffixLen(p.Length),
		})
	}
	return lanes, nil
}

// layerKey names a layer's sum. The version is part of it: under another one the same name
// and bytes give another digest.
func layerKey(p pack.Part) string {
	return fmt.Sprintf("layer-v%d %d+%d %s", pack.Version, p.Offset, p.Length, p.Name)
}

// sums takes all sums of one file in one pass. Bytes come in order, from one goroutine;
// the other methods may be called by others meanwhile.
type sums struct {
	mu    sync.Mutex
	lanes []lane
	done  int64 // bytes taken so far
}

type lane struct {
	laneSpec
	hash hash.Hash
}

// newSums begins at byte 0.
func newSums(specs []laneSpec) *sums {
	s := &sums{}
	seen := map[string]bool{}
	for _, spec := range specs {
		if seen[spec.key] {
			continue
		}
		seen[spec.key] = true
		l := lane{spec, spec.make()}
		l.hash.Write(spec.prefix)
		s.lanes = append(s.lanes, l)
	}
	return s
}

// write takes the next bytes. The sums of one piece are taken side by side: two at a time
// cost little more than one where there is a second core.
func (s *sums) write(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wg sync.WaitGroup
	for _, l := range s.lanes {
		from, to := max(l.from-s.done, 0), min(l.to-s.done, int64(len(p)))
		if from < to {
			wg.Go(func() { l.hash.Write(p[from:to]) })
		}
	}
	wg.Wait()
	s.done += int64(len(p))
}

// offset is how many bytes were taken.
func (s *sums) offset() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// state is everything that restore needs, from one moment.
func (s *sums) state() (done int64, states map[string][]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	states = map[string][]byte{}
	for _, l := range s.lanes {
		state, err := l.hash.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			return 0, nil, fmt.Errorf("saving the state of %s: %w", l.key, err)
		}
		states[l.key] = state
	}
	return s.done, states, nil
}

// restore goes on from a saved state. ok is false, and nothing has changed, if the state
// lacks one of the sums or is not one.
func (s *sums) restore(done int64, states map[string][]byte) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	restored := make([]lane, len(s.lanes))
	for i, l := range s.lanes {
		h := l.make()
		if h.(encoding.BinaryUnmarshaler).UnmarshalBinary(states[l.key]) != nil {
			return false
		}
		restored[i] = lane{l.laneSpec, h}
	}
	s.lanes, s.done = restored, done
	return true
}

// hex is the finished sum with the given key, "" if there is none of that name. All bytes
// of its lane must have been taken.
func (s *sums) hex(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.key == key {
			return hex.EncodeToString(l.finished())
		}
	}
	return ""
}

// finished is the sum with the zeros behind it. The lane itself stands as it did: its state
// may be saved afterwards.
func (l lane) finished() []byte {
	h := l.hash
	if l.suffix > 0 {
		state, err := l.hash.(encoding.BinaryMarshaler).MarshalBinary()
		h = l.make()
		if err = errors.Join(err, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)); err != nil {
			panic("copying the state of a hash: " + err.Error()) // the standard library's own hashes
		}
		h.Write(make([]byte, l.suffix))
	}
	return h.Sum(nil)
}

// digests are those of the file's layers, in their order.
func (s *sums) digests(f File) []string {
	if f.Layers == nil {
		return nil
	}
	list := make([]string, len(f.Layers))
	for i, p := range f.Layers {
		list[i] = "sha256:" + s.hex(layerKey(p))
	}
	return list
}
