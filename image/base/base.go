// Package base makes the base layer of an image out of Debian packages: what a dynamic
// binary needs below it, and nothing else.
//
//	suite, names --Resolve--> packages (lines of the lock) --Fetch--> .deb files --Layer--> one tar
//
// Resolve is the only step that asks what is current. It reads dists/<suite>/InRelease of
// the first mirror that works, takes size and sha256 of the package index of component
// main from there, and size and sha256 of each package from the index. Everything after
// that is a function of the lock: Fetch takes the same bytes from any mirror, Layer makes
// the same layer of them on any machine.
//
// Trust. The OpenPGP signature of InRelease is not checked: that would take a keyring and
// an OpenPGP implementation. What Resolve returns is as true as the connection to the
// mirror: TLS for an https mirror, first use for an http one. From then on the lock's
// sha256 decides, and no mirror can change anything unnoticed. Security updates live in
// another archive (<suite>-security) and are not read; they reach the suite itself with
// its next point release.
//
// Mirrors are tried in order: PLIMSOLL_DEBIAN_MIRROR, the machine's own apt sources, the
// manifest's list (SystemMirrors), and for a .deb then Debian's snapshot archive, because
// old revisions vanish from the mirrors with point releases. A .deb gets its final name in
// the cache only when size and sha256 are right; an interrupted Fetch starts again at the
// first package that is not there. Proxy and CA variables work as in all of net/http.
//
// What a package gives to the layer: its shared libraries, its licence text, the loader's
// configuration, and out of base-files the release's name and the licence texts that
// others refer to. Left out are programs, gconv modules, audit libraries, change logs,
// locales and everything else; maintainer scripts never run. Layer adds what a nonroot
// container needs (users, /tmp, mount points, links of a merged /usr) and one dpkg status
// file a package, so that scanners see what is aboard. Then it proves the result: every
// link leads somewhere, every library that a library needs is there, every package has
// its licence.
//
// All functions are safe for concurrent use, also by several processes on one cache.
package base

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// MirrorEnv names the environment variable with the mirror to try first: the URL of a
// Debian archive's root, the folder that holds dists and pool.
const MirrorEnv = "PLIMSOLL_DEBIAN_MIRROR"

// SnapshotArchive is Debian's archive of every package that ever was.
const SnapshotArchive = "https://snapshot.debian.org"

// Limits of what is accepted from outside. libc6 is 3 MB packed and 13 MB unpacked, the
// index of trixie's main 10 MB packed and 57 MB unpacked.
const (
	// MaxDeb bounds a .deb in bytes.
	MaxDeb = 64 << 20
	// MaxUnpacked bounds the unpacked bytes of one member of a .deb.
	MaxUnpacked = 512 << 20
	// MaxEntries bounds the entries of a .deb.
	MaxEntries = 50_000

	maxRelease  = 4 << 20
	maxIndex    = 64 << 20
	maxIndexRaw = 1 << 30
	maxFile     = 64 << 20
)

// ErrNoMirror is wrapped by errors of Resolve and Fetch when no mirror gave any answer of
// a Debian archive at all: none is configured, or each was unreachable or refused. It is
// not wrapped when a mirror answered but lacks the file or has other bytes.
var ErrNoMirror = errors.New("no Debian mirror could be reached")

// Options says where packages come from. Mirrors, Snapshot and Cache are all that Resolve
// and Fetch know: they read no environment variable and no apt configuration themselves.
type Options struct {
	// Cache is the folder for .deb files, named <sha256>.deb, and for the package index.
	// It is created when needed. Several processes may share it.
	Cache string
	// Mirrors are root URLs of Debian archives in the order of trying.
	Mirrors []string
	// Snapshot is the root URL of a snapshot archive, such as SnapshotArchive; "" leaves
	// it out. Only Fetch uses it.
	Snapshot string
	// Client does the requests; nil means one that gives up on a silent server soon.
	Client *http.Client
	// Progress, if set, hears from time to time how many of total bytes of the named file
	// have arrived, from the calling goroutine.
	Progress func(name string, done, total int64)

	stall time.Duration // for tests; 0 means stallTimeout
}

// Patterns of the names that go into URLs and paths (Debian Policy 5.6.1, 5.6.12; pool
// paths never hold an epoch).
var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	version     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+:~-]*$`)
	word        = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	poolPath    = regexp.MustCompile(`^pool(/[A-Za-z0-9+_~-][A-Za-z0-9+._~-]*)+\.deb$`)
	hexSHA256   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	hexSHA1     = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// checkPackage refuses a package whose fields could lead a URL or a path elsewhere.
func checkPackage(p manifests.Package) error {
	for _, c := range []struct {
		what, value string
		re          *regexp.Regexp
	}{
		{"name", p.Name, packageName}, {"version", p.Version, version}, {"architecture", p.Arch, word},
		{"suite", p.Suite, word}, {"path", p.Path, poolPath}, {"sha256", p.SHA256, hexSHA256},
	} {
		if !c.re.MatchString(c.value) {
			return fault.Wrap(fault.Invalid, "", fmt.Errorf("checking package %q: its %s is %q, %s is expected", p.Name, c.what, c.value, c.re))
		}
	}
	if p.Size < 1 || p.Size > MaxDeb {
		return fault.Wrap(fault.Invalid, "", fmt.Errorf("checking package %q: its size is %d bytes, 1 to %d are allowed", p.Name, p.Size, MaxDeb))
	}
	return nil
}
