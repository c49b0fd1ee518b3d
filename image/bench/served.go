package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

// loopbackHub is the Hub of a bench, watched while contestants work.
type loopbackHub struct {
	*hubtest.Hub
	// faults makes the faults of the case, anew for each turn.
	faults func() []hubtest.Fault
	cpu    float64
}

// serve starts a Hub with one repository.
func serve(repo string, files map[string]hubtest.File) (*loopbackHub, error) {
	h := &loopbackHub{Hub: hubtest.New()}
	if _, err := h.Add(hubtest.Repo{Name: repo, License: "apache-2.0", Files: files}); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if _, err := h.Start(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// begin implements server.
func (h *loopbackHub) begin() {
	h.Calm()
	if h.faults != nil {
		h.Inject(h.faults()...)
	}
	h.Reset()
	h.cpu = ownCPU()
}

// end implements server.
func (h *loopbackHub) end(s *Sample) {
	s.ServerSeconds = ownCPU() - h.cpu
	s.Transferred = h.Sent("")
	for _, r := range h.Requests() {
		if r.Kind == hubtest.CDN {
			s.Requests++
		}
	}
	h.Calm()
}

// nobody is the server of contestants that need none.
type nobody struct{}

func (nobody) begin()      {}
func (nobody) end(*Sample) {}

// throttled lets every connection have so many bytes a second.
func throttled(rate int64) func() []hubtest.Fault {
	return func() []hubtest.Fault {
		return []hubtest.Fault{{Kind: hubtest.CDN, Effect: hubtest.Throttle(rate)}}
	}
}

const (
	// cutEvery is the share of connections that are cut: 1 in 20 is 5 %.
	cutEvery = 20
	// cutFirst is the first one, so that a contestant with few connections meets it too.
	cutFirst = 3
)

// cuts resets one connection in 20 halfway through what it was asked for.
func cuts(size int64) func() []hubtest.Fault {
	return func() []hubtest.Fault {
		var seen atomic.Int64
		effect := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if seen.Add(1)%cutEvery == cutFirst {
					hubtest.Reset(asked(r.Header.Get("Range"), size)/2)(next).ServeHTTP(w, r)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		return []hubtest.Fault{{Kind: hubtest.CDN, Effect: effect}}
	}
}

// asked is how many bytes of a file a Range header of one range asks for; all of them if it
// is none.
func asked(header string, size int64) int64 {
	first, last, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil || from >= size {
		return size
	}
	to, err := strconv.ParseInt(last, 10, 64)
	if err != nil || to >= size {
		to = size - 1
	}
	return max(0, to+1-from)
}

// generate writes a file of bytes that do not compress and returns its sha256.
func generate(ctx context.Context, path string, seed uint64, size int64) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("generating a file to serve: %w", err)
	}
	sum, from := sha256.New(), hubtest.Noise(seed, size)
	buf := make([]byte, piece)
	for at := int64(0); at < size && err == nil; at += piece {
		n := min(piece, size-at)
		if _, err = from.ReadAt(buf[:n], at); err == nil {
			sum.Write(buf[:n])
			_, err = f.Write(buf[:n])
		}
		err = errors.Join(err, ctx.Err())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("generating a file to serve: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// sumOf reads a file and returns its sha256.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, piece)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// opensslSum is the command that prints a sum of files, and sums reads its answer.
func (s *session) opensslSum(paths ...string) command {
	return command{program: s.result.program("openssl"), args: append([]string{"dgst", "-sha256", "-r"}, paths...)}
}

// sums are the first words of the lines that openssl dgst -r printed.
func sums(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		sum, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		out = append(out, sum)
	}
	return out
}

// blobPath is where a cache keeps the bytes of a file of the repository.
func blobPath(home, repo, sum string) string {
	return filepath.Join(home, "hub", "models--"+strings.ReplaceAll(repo, "/", "--"), "blobs", sum)
}
