package registrytest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Discard is a registry that hashes what it is sent and throws it away, for images that no
// disk here could hold: it takes uploads in chunks, in one stream and with the closing
// request, tells where they stand, and closes them only under the digest that their bytes
// have. Manifests are kept. A manifest whose blobs it has not seen is refused.
type Discard struct {
	// Host is host and port, as in a reference.
	Host string
	got  atomic.Int64

	mu        sync.Mutex
	opened    int
	uploads   map[string]*discarded
	blobs     map[string]int64  // sizes by repository and digest
	manifests map[string][]byte // by repository and digest or tag
	subjects  map[string][]descriptor
}

// discarded is an upload. A request holds it, as registries lock an upload.
type discarded struct {
	sync.Mutex
	sum hash.Hash
	n   int64
}

// StartDiscard starts one that ends with the test. around, which may be nil, is put around
// its handler, to make faults.
func StartDiscard(t testing.TB, around func(http.Handler) http.Handler) *Discard {
	t.Helper()
	d := &Discard{uploads: map[string]*discarded{}, blobs: map[string]int64{}, manifests: map[string][]byte{}, subjects: map[string][]descriptor{}}
	var h http.Handler = d
	if around != nil {
		h = around(d)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	d.Host = strings.TrimPrefix(s.URL, "http://")
	return d
}

// Received counts the bytes of blobs that arrived, whatever became of them.
func (d *Discard) Received() int64 { return d.got.Load() }

// Forget expires all uploads that are open.
func (d *Discard) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.uploads)
}

// Stored adds up the sizes of the blobs.
func (d *Discard) Stored() (n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, size := range d.blobs {
		n += size
	}
	return n
}

// ServeHTTP implements http.Handler.
func (d *Discard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if repo, id, ok := strings.Cut(path, "/blobs/uploads/"); ok {
		d.upload(w, r, repo, id)
	} else if repo, digest, ok := strings.Cut(path, "/blobs/"); ok {
		d.blob(w, repo, digest)
	} else if repo, name, ok := strings.Cut(path, "/manifests/"); ok {
		d.manifest(w, r, repo, name)
	} else if repo, digest, ok := strings.Cut(path, "/referrers/"); ok {
		d.referrers(w, repo, digest)
	}
}

// referrers lists the manifests that refer to another.
func (d *Discard) referrers(w http.ResponseWriter, repo, digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.subjects[repo+"@"+digest]
	if list == nil {
		list = []descriptor{}
	}
	w.Header().Set("Content-Type", ociIndex)
	_ = json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
}

const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
)

// blob answers a HEAD.
func (d *Discard) blob(w http.ResponseWriter, repo, digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size, ok := d.blobs[repo+"@"+digest]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
	w.Header().Set("Docker-Content-Digest", digest)
}

// upload answers requests about uploads.
func (d *Discard) upload(w http.ResponseWriter, r *http.Request, repo, id string) {
	d.mu.Lock()
	if r.Method == http.MethodPost {
		d.opened++
		id = fmt.Sprint(d.opened)
		d.uploads[id] = &discarded{sum: sha256.New()}
	}
	u := d.uploads[id]
	d.mu.Unlock()
	if u == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	u.Lock()
	defer u.Unlock()
	if !u.begins(r) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if err := d.take(u, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.n-1, 0)))
	switch r.Method {
	case http.MethodPut:
		d.close(w, r, u, repo, id)
	case http.MethodGet:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// begins reports whether a body begins where the upload stands.
func (u *discarded) begins(r *http.Request) bool {
	var from, to int64
	text := r.Header.Get("Content-Range")
	if text == "" {
		return true
	}
	_, err := fmt.Sscanf(text, "%d-%d", &from, &to)
	return err == nil && from == u.n
}

// take hashes a body.
func (d *Discard) take(u *discarded, body io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		u.sum.Write(buf[:n])
		u.n += int64(n)
		d.got.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// close ends an upload under its digest.
func (d *Discard) close(w http.ResponseWriter, r *http.Request, u *discarded, repo, id string) {
	digest := r.URL.Query().Get("digest")
	if digest != "sha256:"+hex.EncodeToString(u.sum.Sum(nil)) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blobs[repo+"@"+digest] = u.n
	delete(d.uploads, id)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// manifest keeps manifests, and gives them out.
func (d *Discard) manifest(w http.ResponseWriter, r *http.Request, repo, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Method == http.MethodPut {
		data, err := io.ReadAll(r.Body)
		subject, whole := d.whole(repo, data)
		if err != nil || !whole {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if subject != "" {
			key, own := repo+"@"+subject, descriptor{MediaType: ociManifest, Digest: digestOf(data), Size: int64(len(data))}
			if !slices.Contains(d.subjects[key], own) {
				d.subjects[key] = append(d.subjects[key], own)
			}
			w.Header().Set("OCI-Subject", subject)
		}
		d.manifests[repo+"@"+name] = data
		d.manifests[repo+"@"+digestOf(data)] = data
		w.WriteHeader(http.StatusCreated)
		return
	}
	data, ok := d.manifests[repo+"@"+name]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", ociManifest)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Header().Set("Docker-Content-Digest", digestOf(data))
	if r.Method == http.MethodGet {
		_, _ = w.Write(data) // a client that goes away needs no answer
	}
}

// whole reports whether all blobs of a manifest are there, in the sizes that it says, and
// what it refers to.
func (d *Discard) whole(repo string, data []byte) (subject string, ok bool) {
	var m struct {
		Config  descriptor   `json:"config"`
		Layers  []descriptor `json:"layers"`
		Subject descriptor   `json:"subject"`
	}
	if json.Unmarshal(data, &m) != nil {
		return "", false
	}
	for _, b := range append(m.Layers, m.Config) {
		if size, ok := d.blobs[repo+"@"+b.Digest]; !ok || size != b.Size {
			return "", false
		}
	}
	return m.Subject.Digest, true
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
