package bench

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

const (
	// hashed is how much is hashed to learn the rate: enough for half a second.
	hashed = 1 << 30
	// piece is the unit of hashing and writing.
	piece = 1 << 20
)

// hashFloor measures crypto/sha256 on one core, out of memory, in bytes and seconds.
func hashFloor(n int64) (int64, float64) {
	buf, h := noise(), sha256.New()
	start := time.Now()
	done := int64(0)
	for done < n {
		h.Write(buf)
		done += int64(len(buf))
	}
	h.Sum(nil)
	return done, time.Since(start).Seconds()
}

// noise is one piece of bytes that do not compress.
func noise() []byte {
	buf := make([]byte, piece)
	_, _ = hubtest.Noise(7, piece).ReadAt(buf, 0) // never fails inside of its size
	return buf
}

// diskFloor measures how long a new file of n bytes takes until it is on the disk.
func diskFloor(path string, n int64) (seconds float64, err error) {
	flush()
	start := time.Now()
	f, err := os.Create(path)
	if err != nil {
		return 0, fmt.Errorf("measuring the disk: %w", err)
	}
	defer os.Remove(path)
	for buf := noise(); n > 0 && err == nil; n -= int64(len(buf)) {
		_, err = f.Write(buf[:min(n, int64(len(buf)))])
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, fmt.Errorf("measuring the disk: %w", err)
	}
	return time.Since(start).Seconds(), nil
}

// floors enters medians of hashing and, if asked for, of writing all bytes.
func (s *session) floors(disk bool) error {
	var hash, written []float64
	n := min(hashed, s.size)
	for range s.Runs {
		done, seconds := hashFloor(n)
		hash = append(hash, seconds*float64(n)/float64(done))
		if !disk {
			continue
		}
		seconds, err := diskFloor(s.path("floor"), s.size)
		if err != nil {
			return err
		}
		written = append(written, seconds)
	}
	self := func(v float64) float64 { return v }
	s.result.floor(floorHash, n, median(hash, self))
	if disk {
		s.result.floor(floorDisk, s.size, median(written, self))
	}
	return nil
}

// The floors that every bench of files has.
const (
	floorHash = "crypto/sha256 of all bytes, one core, from memory"
	floorDisk = "writing all bytes to the disk (fsync)"
)

// highest is the floor that decides among those of the names.
func (r *Result) highest(names ...string) Floor {
	var out Floor
	for _, f := range r.Floors {
		for _, name := range names {
			if f.Name == name && f.Seconds > out.Seconds {
				out = f
			}
		}
	}
	return out
}

// warm reads files, so that they lie in the page cache.
func warm(paths ...string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return fmt.Errorf("warming the page cache: %w", err)
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, piece))
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("warming the page cache: %w", err)
		}
	}
	return nil
}
