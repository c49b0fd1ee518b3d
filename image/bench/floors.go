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
	// hashed is how much is hashed in one of the tries at it: a quarter of a second.
	hashed = 512 << 20
	tries  = 5
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

// floors enters the best of several tries at hashing and, if asked for, at writing all
// bytes. The best, because a floor is what cannot be beaten, whatever else the machine did.
func (s *session) floors(disk bool) error {
	rate := 0.0
	for range tries {
		done, seconds := hashFloor(min(hashed, s.size))
		rate = max(rate, float64(done)/seconds)
	}
	s.result.floor(floorHash, rate)
	if !disk {
		return nil
	}
	rate = 0
	for range s.Runs {
		seconds, err := diskFloor(s.path("floor"), s.size)
		if err != nil {
			return err
		}
		rate = max(rate, float64(s.size)/seconds)
	}
	s.result.floor(floorDisk, rate)
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

// drop takes files out of the page cache. What of them is not on the disk yet stays.
func drop(paths ...string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if err == nil {
			err = errors.Join(uncache(f), f.Close())
		}
		if err != nil {
			return fmt.Errorf("emptying the page cache: %w", err)
		}
	}
	return nil
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
