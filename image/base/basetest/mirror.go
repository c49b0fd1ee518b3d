package basetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// archive is the folder of the archive below the server's origin.
const archive = "debian/"

// Mirror is an HTTP server on loopback with files in memory. It remembers what it was
// asked for, and can be made to fail. It is safe for concurrent use.
type Mirror struct {
	server *http.Server
	origin string
	done   chan error

	mu        sync.Mutex
	files     map[string][]byte
	asked     []string
	intercept func(http.ResponseWriter, *http.Request) bool
}

// Start serves an archive of trixie with the packages BaseFiles and Libc.
func Start() (*Mirror, error) {
	m, err := StartEmpty()
	if err != nil {
		return nil, err
	}
	if _, err := m.Publish([]Deb{BaseFiles(), Libc(".xz")}, ".xz"); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// StartEmpty serves nothing yet.
func StartEmpty() (*Mirror, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a loopback mirror: %w", err)
	}
	m := &Mirror{origin: "http://" + l.Addr().String(), done: make(chan error, 1), files: map[string][]byte{}}
	m.server = &http.Server{Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { m.done <- m.server.Serve(l) }()
	return m, nil
}

// URL is the root of the archive, for base.Options.Mirrors and PLIMSOLL_DEBIAN_MIRROR.
func (m *Mirror) URL() string { return m.origin + "/" + strings.TrimSuffix(archive, "/") }

// Origin is the URL of the server, without a trailing slash.
func (m *Mirror) Origin() string { return m.origin }

// Close stops the server and cuts open connections. It may be called more than once.
func (m *Mirror) Close() error {
	err := m.server.Close()
	served := <-m.done
	m.done <- served
	if !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// serve answers one request.
func (m *Mirror) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked = append(m.asked, r.URL.Path)
	intercept := m.intercept
	data, ok := m.files[strings.TrimPrefix(r.URL.Path, "/")]
	m.mu.Unlock()
	switch {
	case intercept != nil && intercept(w, r):
	case ok:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	default:
		http.NotFound(w, r)
	}
}

// Put serves data at a path below the origin, such as debian/pool/x.
func (m *Mirror) Put(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = data
}

// Remove takes a file away; ok is false if it was not there.
func (m *Mirror) Remove(name string) (ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok = m.files[name]
	delete(m.files, name)
	return ok
}

// File returns what is served at a path below the origin; ok is false if nothing is.
func (m *Mirror) File(name string) (data []byte, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok = m.files[name]
	return data, ok
}

// Intercept lets f see every request first; where it returns true, it has answered. nil
// ends that.
func (m *Mirror) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.intercept = f
}

// Answer makes the mirror answer paths that hold text with a status.
func (m *Mirror) Answer(text string, status int) {
	m.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, text) {
			return false
		}
		w.WriteHeader(status)
		return true
	})
}

// Asked returns the paths of all requests since the last call, and forgets them.
func (m *Mirror) Asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.asked
	m.asked = nil
	return out
}

// Publish makes the mirror a complete archive of the suite with the packages and nothing
// else in its index, which is there in the given compressions (".xz", ".gz", ""), by name
// and by hash. It returns the packages' lock lines, sorted by name.
func (m *Mirror) Publish(debs []Deb, compressions ...string) ([]manifests.Package, error) {
	var index strings.Builder
	var out []manifests.Package
	for _, d := range debs {
		data, err := d.Bytes()
		if err != nil {
			return nil, fmt.Errorf("publishing %s: %w", d.Name, err)
		}
		p := d.Package(data)
		m.Put(archive+p.Path, data)
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nArchitecture: %s\nFilename: %s\nSize: %d\nMD5sum: 00\nSHA256: %s\n\n",
			p.Name, p.Version, p.Arch, p.Path, p.Size, p.SHA256)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b manifests.Package) int { return strings.Compare(a.Name, b.Name) })
	return out, m.PublishIndex(index.String(), compressions...)
}

// PublishIndex makes index the suite's package index for amd64, and names it in the
// release file.
func (m *Mirror) PublishIndex(index string, compressions ...string) error {
	var lines []string
	for _, c := range compressions {
		data, err := Compress([]byte(index), c)
		if err != nil {
			return fmt.Errorf("publishing the index: %w", err)
		}
		digest := sha256.Sum256(data)
		sum, name := hex.EncodeToString(digest[:]), "main/binary-amd64/Packages"+c
		lines = append(lines, fmt.Sprintf("%s %d %s", sum, len(data), name))
		m.Put(archive+"dists/"+Suite+"/"+name, data)
		m.Put(archive+"dists/"+Suite+"/"+path.Dir(name)+"/by-hash/SHA256/"+sum, data)
	}
	m.Put(archive+"dists/"+Suite+"/InRelease", InRelease(lines...))
	return nil
}

// InRelease is a release file of the suite, with lines of "sha256 size path" for its
// indices. Its signature is none.
func InRelease(sums ...string) []byte {
	return ClearSigned("Origin: Debian\nSuite: stable\nCodename: " + Suite + "\nAcquire-By-Hash: yes\nArchitectures: all amd64 arm64\n" +
		"MD5Sum:\n 00 1 main/binary-amd64/Packages.xz\nSHA256:\n " + strings.Join(sums, "\n ") + "\n")
}

// ClearSigned puts text, whose lines must not begin with a dash, into OpenPGP's cleartext
// framework (RFC 9580, 7) with a signature that is none.
func ClearSigned(text string) []byte {
	return []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + text +
		"-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n")
}
