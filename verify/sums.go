package verify

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// bufferSize is the unit of reading: large enough that system calls do not count, small
// enough that a cancelled context is seen within a millisecond or two.
const bufferSize = 1 << 20

// Want is what a file is expected to be.
type Want struct {
	// Size in bytes; negative if it is not known.
	Size int64
	// SHA256 of the bytes, 64 lower-case hex digits; "" if it is not known.
	SHA256 string
	// SHA1 is the git blob id, sha1("blob <size>\0" + bytes), 40 lower-case hex digits. It
	// decides only where SHA256 is "".
	SHA1 string
}

// Sums is what a file is.
type Sums struct {
	// Size is the number of bytes; where the size alone already decided, the bytes were not
	// read and the sums are "".
	Size int64
	// SHA256 is always computed when the bytes are read.
	SHA256 string
	// SHA1 is the git blob id; it is computed only where Want asked for it and knew no sha256.
	SHA1 string
}

// File compares the file at path with want. The size is looked at first; a file of another
// size is not read. Otherwise the bytes are read once, in order.
//
// progress, if not nil, is called after each piece with the number of bytes in that piece,
// from the calling goroutine. Findings have the path as their object; their codes are
// "missing", "not-regular", "size", "sha256", "sha1" and "no-sum" (want knows no sum, so
// nothing is proven). An error means that the file could not be looked at to the end, for
// want of permission, by a disk error or because ctx ended. File is safe for concurrent use.
func File(ctx context.Context, path string, want Want, progress func(n int64)) (Sums, Findings, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Sums{}, missing(path), nil
	}
	if err != nil {
		return Sums{}, nil, resource(path, err)
	}
	if !info.Mode().IsRegular() {
		var found Findings
		found.Add(Error, "not-regular", path, "not a regular file but %s", info.Mode().Type())
		return Sums{}, found, nil
	}
	if found := sizeFindings(path, info.Size(), want); found != nil {
		return Sums{Size: info.Size()}, found, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return Sums{}, nil, resource(path, err)
	}
	defer f.Close()
	want.Size = info.Size()
	return Reader(ctx, path, f, want, progress)
}

// Reader compares a stream with want, reading it to its end, or to one byte behind the
// expected size: a longer stream is not drained. object names the stream in findings and
// errors. Everything else is as for File. A Want with SHA1 alone needs the size, which is
// part of what that sum is taken over; without it the finding is "no-sum".
func Reader(ctx context.Context, object string, r io.Reader, want Want, progress func(n int64)) (Sums, Findings, error) {
	s := newSummer(want)
	if want.Size >= 0 {
		r = io.LimitReader(r, want.Size+1)
	}
	n, err := Copy(ctx, s, r, progress)
	if err != nil {
		return Sums{}, nil, fmt.Errorf("verifying %s: reading at byte %d: %w", object, n, err)
	}
	if found := sizeFindings(object, n, want); found != nil {
		return Sums{Size: n}, found, nil
	}
	sums := s.sums(n)
	return sums, sumFindings(object, sums, want), nil
}

// summer feeds the hashes that a Want needs.
type summer struct{ sha256, sha1 hash.Hash }

func newSummer(want Want) summer {
	s := summer{sha256: sha256.New()}
	if want.SHA256 == "" && want.SHA1 != "" && want.Size >= 0 {
		s.sha1 = sha1.New()
		fmt.Fprintf(s.sha1, "blob %d\x00", want.Size)
	}
	return s
}

func (s summer) Write(p []byte) (int, error) {
	s.sha256.Write(p)
	if s.sha1 != nil {
		s.sha1.Write(p)
	}
	return len(p), nil
}

func (s summer) sums(n int64) Sums {
	sums := Sums{Size: n, SHA256: hex.EncodeToString(s.sha256.Sum(nil))}
	if s.sha1 != nil {
		sums.SHA1 = hex.EncodeToString(s.sha1.Sum(nil))
	}
	return sums
}

// Copy copies r to its end into w, which must not fail, in pieces of up to 1 MiB, and looks
// at ctx before each. progress, if not nil, is told of each piece's bytes. io.Copy is not
// used: it would hand the copying over to r, past the context and the progress.
func Copy(ctx context.Context, w io.Writer, r io.Reader, progress func(n int64)) (int64, error) {
	buf := make([]byte, bufferSize)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := r.Read(buf)
		w.Write(buf[:n])
		total += int64(n)
		if progress != nil && n > 0 {
			progress(int64(n))
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// sizeFindings says how far a size is off. A stream that is too long is cut one byte
// behind its end, so the excess of a stream is a lower bound.
func sizeFindings(object string, size int64, want Want) Findings {
	var found Findings
	switch {
	case want.Size < 0 || size == want.Size:
		return nil
	case size < want.Size:
		found.Add(Error, "size", object, "file is %s short: %d of %d", count(want.Size-size, "byte"), size, want.Size)
		found.Hint("run fetch again: it goes on where it was")
	default:
		found.Add(Error, "size", object, "file is %s too long: %d instead of %d", count(size-want.Size, "byte"), size, want.Size)
	}
	return found
}

// sumFindings compares the one sum that decides.
func sumFindings(object string, got Sums, want Want) Findings {
	var found Findings
	switch {
	case want.SHA256 != "" && got.SHA256 != want.SHA256:
		found.Add(Error, "sha256", object, "sha256 is %s, expected %s", got.SHA256, want.SHA256)
	case want.SHA256 != "":
	case want.SHA1 == "" || got.SHA1 == "":
		found.Add(Error, "no-sum", object, "no sum is known to compare with, sha256 is %s", got.SHA256)
	case got.SHA1 != want.SHA1:
		found.Add(Error, "sha1", object, "git blob sha1 is %s, expected %s", got.SHA1, want.SHA1)
	}
	return found
}

func missing(path string) Findings {
	var found Findings
	found.Add(Error, "missing", path, "file is missing")
	found.Hint("run fetch")
	return found
}

func resource(path string, err error) error {
	return fault.Wrap(fault.Resource, "", fmt.Errorf("verifying %s: %w", path, err))
}

// count is "1 byte" or "2 bytes".
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
