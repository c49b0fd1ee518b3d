// Package fetch brings files of a repository into the cache: each byte once, verified
// before it bears its name, and never lost to a cut.
//
// # One file
//
// A blob on the way is one file of full length from the start (preallocated, so that a full
// disk shows at once) into which every piece is written at its final place. Several
// connections may each fill a stretch of it; idle ones take over half of what the slowest
// still has to do. Behind them one goroutine reads the contiguous front of the file back,
// out of the page cache, and feeds all sums at once: sha256 of the file, the git blob id,
// and the digest of every layer that the file will become. So the sums are of what is on
// disk, and they are ready with the last byte: nothing is read twice, or copied together.
//
//	streams ──pwrite──▶ part ──read back──▶ sums
//	                     │
//	                  fdatasync ──▶ journal
//
// # Resume
//
// The journal beside the part is append-only. Its first line names the blob, every further
// line is a complete state: which stretches are on disk, and the marshalled states of the
// hashes at the front. A line is written only after fdatasync of what it describes, and is
// itself synced; each carries a checksum, so that a torn tail is ignored. No more than
// Limits.Window bytes are ever received but not recorded, over all files together: streams
// wait for the disk rather than run ahead. So whatever happens, a next process, which continues from the last line,
// downloads no more than the size and one window for each cut, and hashes nothing twice.
//
// # Trust
//
// Size and sums gate everything, wherever the bytes came from; headers are only ever a
// reason to stop early. A blob of right size and wrong sums is thrown away and fetched once
// more, from the next source if there is one. A blob that another tool left in the cache is
// hashed once and remembered in the Memo. The name of a blob is its etag, and it gets that
// name by a rename, after fsync, once it is proven.
//
// # Failure
//
// A try that brought new bytes counts as progress and forgives all tries before it; tries
// without progress wait longer and longer, with jitter, and at least as long as the server
// asks. What can not get better by waiting moves the file to the next source at once, and
// what is already on disk stays good there. Everything stops at once when the context ends,
// and leaves a journal.
//
// Two processes that want one blob do not both fetch it: see package cache. The second
// waits and takes what the first has made.
//
// # Without a disk
//
// A file can also be read where it is: a Remote holds a window of it in memory, which moves
// with its readers, and a Proof takes the same sums as a download in one pass over it. The
// same rules decide about failures. What Files keeps in a part the source keeps: the pinned
// commit makes every offset readable again, so that nothing but the states of the sums has
// to be journalled.
package fetch

import (
	"context"
	"time"

	"github.com/plimsoll-oci/plimsoll/fetch/cache"
	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// File is one file to be fetched, and what it must be.
type File struct {
	// Repo is "owner/name", Commit 40 hex digits, Path the file's path in the repository.
	Repo, Commit, Path string
	// Size in bytes.
	Size int64
	// SHA256 of the bytes and SHA1, the git blob id, in lower-case hex. At least one is set,
	// and all that are set must hold. SHA1 is set for small files only, which the Hub names
	// by it; it then names the blob in the cache.
	SHA256, SHA1 string
	// Layers are the layers whose digests are wanted. nil: none, as when a lock has them.
	Layers []pack.Part
}

// String is "owner/name@commit path", with the commit cut to 12 digits.
func (f File) String() string {
	return f.Repo + "@" + f.Commit[:min(12, len(f.Commit))] + " " + f.Path
}

// Result is a file that lies in the cache, with its sums proven.
type Result struct {
	File File
	// Blob is the absolute path of the bytes: a regular file.
	Blob string
	// SHA256 of the bytes, whether File knew it or not.
	SHA256 string
	// Digests are those of File.Layers, in their order, as "sha256:" and 64 hex digits.
	Digests []string
	// Downloaded counts the bytes that were received for the blob in this call, those of
	// retries included. Files with the same bytes in one repository share one blob; the
	// first of them counts.
	Downloaded int64
	// Cached says that nothing had to be downloaded.
	Cached bool
}

// Source is a place to get files from; *hub.Client is one.
type Source interface {
	// Open asks for length bytes of a file from offset, to its end if length is negative.
	// The body may begin earlier, if it says so, and be shorter. Its Read must return an
	// error rather than wait without end for a silent server, and as soon as ctx ends. Open
	// does not retry: hub.Temporary tells whether trying again can help. It is safe for
	// concurrent use.
	Open(ctx context.Context, repo, commit, path string, offset, length int64) (*hub.Body, error)
}

var _ Source = (*hub.Client)(nil)

// Memo remembers which files were hashed before; *verify.Memo is one. It is used by several
// goroutines at a time.
type Memo interface {
	// Lookup returns the sha256 of the file at path if it is still the file that was hashed.
	Lookup(path string) (sha256 string, ok bool)
	// Remember records the sha256 of the file at path as it is now.
	Remember(path, sha256 string) error
}

// Options say where from, where to and how. Sources and Cache are needed.
type Options struct {
	// Sources are tried in order: one that fails for good is left for the next.
	Sources []Source
	Cache   *cache.Cache
	// Memo may be nil: then every cached file is hashed every time. A memo that cannot be
	// written costs the next run a hash and is no error.
	Memo Memo
	// Progress may be nil.
	Progress Progress
	// Jobs is the number of connections at a time, over all files; 0 chooses.
	Jobs int
	// Offline forbids requests: a file that is not in the cache is an error.
	Offline bool
	// Refs names, for each repository, the branch or tag that was resolved to the commit of
	// its files: it is recorded in the cache once they are there. A repository may be left
	// out, and should be if not all of its files are fetched: offline, huggingface_hub takes
	// a snapshot that it finds by a ref for complete.
	Refs map[string]string
	// Limits may be left zero.
	Limits Limits
}

// Limits bound what a fetch risks; the zero value of each field chooses.
type Limits struct {
	// Window is how many bytes may be received but not yet recorded in a journal, over all
	// files and connections together, and so how many a cut can cost. Default: 64 MiB.
	Window int64
	// Range is the longest stretch that one request asks for when a file is fetched over
	// several connections. Default: 64 MiB.
	Range int64
	// MinRange is the shortest stretch worth a connection of its own. Default: 8 MiB.
	MinRange int64
	// Tries is how often a source is tried without progress before it is given up.
	// Default: 10, or 4 if there is another source.
	Tries int
	// Wait is the first wait between tries; it doubles up to MaxWait. Defaults: 500 ms, 30 s.
	Wait, MaxWait time.Duration
	// MaxRetryAfter is the longest wait that a server may ask for before its refusal counts
	// as final. Default: 330 s, just over the Hub's rate-limit window.
	MaxRetryAfter time.Duration
}

// withDefaults fills in what was left zero.
func (l Limits) withDefaults(sources int) Limits {
	tries := 10
	if sources > 1 {
		tries = 4
	}
	l.Window = either(l.Window, 64<<20)
	l.Range = either(l.Range, 64<<20)
	l.MinRange = either(l.MinRange, 8<<20)
	l.Tries = either(l.Tries, tries)
	l.Wait = either(l.Wait, 500*time.Millisecond)
	l.MaxWait = either(l.MaxWait, 30*time.Second)
	l.MaxRetryAfter = either(l.MaxRetryAfter, 330*time.Second)
	return l
}

func either[T int | int64 | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

// Progress is told what happens. Its methods are called from several goroutines at a time,
// between Start and Done, and must return quickly.
type Progress interface {
	// Start is called once, before the first byte.
	Start(Need)
	// File is called for everything that happens to a file.
	File(Event)
	// Done is called once, when nothing goes on any more, whether all went well or not.
	Done()
}

// Event is something that happened to a file.
type Event struct {
	// File is the first of the files that share the bytes.
	File File
	Kind Kind
	// Bytes is how many bytes the event is about.
	Bytes int64
	// Err is why a try failed (Retrying) or bytes were thrown away (Discarded).
	Err error
	// Wait is how long until the next try (Retrying).
	Wait time.Duration
	// Owner is the process that is waited for (Waiting).
	Owner cache.Owner
}

// Kind is a kind of Event.
type Kind int

// The kinds of events of a file, roughly in the order in which they happen.
const (
	Waiting   Kind = iota // another process is fetching it
	Began                 // its download begins; Bytes are already on disk
	Received              // Bytes more arrived and are new
	Retrying              // a connection failed with Err; the next try comes after Wait
	Discarded             // Bytes were of no use because of Err, and have to come once more
	Checked               // Bytes more of a file found in the cache were hashed
	Finished              // it is in the cache, proven
)

var kindNames = [...]string{"waiting", "began", "received", "retrying", "discarded", "checked", "finished"}

// String is the kind's word in lower case.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}
