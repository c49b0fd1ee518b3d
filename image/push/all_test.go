package push_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// titles and states of a plan.
func states(p push.TargetPlan) (out []push.State) {
	for _, l := range p.Layers {
		out = append(out, l.State)
	}
	return out
}

// wanted lists an image's layers as what a plan asks for.
func wanted(t *testing.T, img *image.Image, here bool) (out []push.Wanted) {
	t.Helper()
	m, err := img.Manifest()
	require.NoError(t, err)
	for _, d := range m.Layers {
		out = append(out, push.Wanted{Digest: d.Digest.String(), Size: d.Size, Here: here})
	}
	return out
}

func TestPlan(t *testing.T) {
	f, other, n := newFront(t, push.Registry{}), newFront(t, push.Registry{}), newNoise(1<<20)
	img := n.image(t)
	p, err := push.Plan(t.Context(), append(wanted(t, img, true), push.Wanted{Title: "unknown", Size: 5}, push.Wanted{Size: 7, Passing: true}), target(t, f.host+"/a:1"), quick())
	require.NoError(t, err)
	require.Equal(t, []push.State{push.ToSend, push.ToSend, push.ToFetch, push.ToStream}, states(p))
	require.EqualValues(t, 5, p.Bytes[push.ToFetch])
	require.EqualValues(t, 7, p.Bytes[push.ToStream])
	p, err = push.Plan(t.Context(), wanted(t, img, false), target(t, f.host+"/a:1"), quick())
	require.NoError(t, err)
	require.Equal(t, []push.State{push.ToFetch, push.ToFetch}, states(p))
	require.Empty(t, f.log, "a plan opens no upload")

	_, err = push.Publish(t.Context(), img, target(t, f.host+"/a:1"), quick())
	require.NoError(t, err)
	p, err = push.Plan(t.Context(), wanted(t, img, false), target(t, f.host+"/a:2"), quick())
	require.NoError(t, err)
	require.Equal(t, []push.State{push.Present, push.Present}, states(p))
	p, err = push.Plan(t.Context(), wanted(t, img, false), target(t, other.host+"/a:2"), quick())
	require.NoError(t, err)
	require.Equal(t, []push.State{push.ToFetch, push.ToFetch}, states(p), "another registry")
}

// perRepository makes a registry keep the blobs of its repositories apart, as real ones do.
func perRepository(f *front) {
	inner, has := f.inner, map[string]bool{}
	f.inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo, digest, isBlob := strings.Cut(strings.TrimSuffix(r.URL.Path, "/"), "/blobs/")
		switch {
		case isBlob && digest == "uploads":
			has[repo+r.URL.Query().Get("digest")] = true
		case isBlob && !has[repo+digest]:
			w.WriteHeader(http.StatusNotFound)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func TestMount(t *testing.T) {
	f, n := newFront(t, push.Registry{}), newNoise(1<<20)
	perRepository(f)
	img, o := n.image(t), quick()
	_, err := push.Publish(t.Context(), img, target(t, f.host+"/a:1"), o)
	require.NoError(t, err)
	o.MountFrom = []string{f.host + "/none", "elsewhere.example/a", f.host + "/a"}
	p, err := push.Plan(t.Context(), wanted(t, img, true), target(t, f.host+"/b:1"), o)
	require.NoError(t, err)
	require.Equal(t, push.Mountable, p.Layers[0].State)
	require.Equal(t, f.host+"/a", p.Layers[0].From)
	before := f.got
	r, err := push.Publish(t.Context(), img, target(t, f.host+"/b:1"), o)
	require.NoError(t, err)
	require.Equal(t, 2, r.Mounted)
	require.Zero(t, r.SentBytes)
	require.Equal(t, configSize(t, img), f.got-before)

	o.MountFrom = []string{"not a repository"}
	_, err = push.Publish(t.Context(), img, target(t, f.host+"/b:1"), o)
	require.Equal(t, fault.Usage, fault.KindOf(err), "%v", err)
}

// TestPublishAll: one read for all registries, one upload for a registry's repositories, and
// the one that fails fails alone.
func TestPublishAll(t *testing.T) {
	a, b, n := newFront(t, push.Registry{Chunk: chunk}), newFront(t, push.Registry{Chunk: chunk}), newNoise(blobSize)
	perRepository(a)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	img := n.image(t)
	out := push.PublishAll(t.Context(), img, []push.Target{
		target(t, a.host+"/m:1"), target(t, strings.TrimPrefix(gone.URL, "http://")+"/m:1"), target(t, b.host+"/m:1"), target(t, a.host+"/other:1"),
	}, func(push.Target) push.Options { return quick() })
	require.Len(t, out, 4)
	require.Equal(t, fault.Registry, fault.KindOf(out[1].Err))
	digest, err := img.Digest()
	require.NoError(t, err)
	for _, i := range []int{0, 2, 3} {
		require.NoError(t, out[i].Err)
		require.Equal(t, digest.String(), out[i].Result.Digest)
	}
	require.Equal(t, 2, out[3].Result.Mounted)
	require.Zero(t, out[3].Result.SentBytes)
	require.EqualValues(t, blobSize, n.read.Load(), "read once for both registries")
}

// TestSlowTarget: a target that falls behind the window reads for itself, and the fast one
// does not wait for it.
func TestSlowTarget(t *testing.T) {
	const large = 80 << 20
	fast, slow, n := newFront(t, push.Registry{Chunk: 8 << 20}), newFront(t, push.Registry{Chunk: 8 << 20}), newNoise(large)
	done := make(chan struct{})
	slow.patch = func() {
		select {
		case <-done:
		case <-time.After(time.Minute):
		}
	}
	inner := fast.inner
	fast.inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			close(done) // the fast one is through before the slow one has begun
		}
	})
	out := push.PublishAll(t.Context(), n.image(t), []push.Target{target(t, fast.host+"/m:1"), target(t, slow.host+"/m:1")},
		func(push.Target) push.Options { return quick() })
	require.NoError(t, out[0].Err)
	require.NoError(t, out[1].Err)
	require.Greater(t, n.read.Load(), int64(large))
	require.LessOrEqual(t, n.read.Load(), int64(2*large))
}

// checks are the names of the checks with a mark.
func checks(list []push.Check) string {
	var out []string
	for _, c := range list {
		mark := "+"
		if c.Err != nil {
			mark = "-"
		}
		out = append(out, mark+c.Name)
	}
	return strings.Join(out, " ")
}

func TestProbe(t *testing.T) {
	f := newFront(t, push.Registry{})
	ref := target(t, f.host+"/m:1")
	list := push.Probe(t.Context(), ref, quick())
	require.Equal(t, "+reachable +credentials +login +push +repository +tag", checks(list))
	require.Equal(t, "plain http", list[0].Detail)
	require.Contains(t, list[4].Detail, "not there yet")
	require.Contains(t, list[5].Detail, "1 is free")
	require.Empty(t, f.sessions, "the upload was cancelled")

	_, err := push.Publish(t.Context(), newNoise(1<<10).image(t), ref, quick())
	require.NoError(t, err)
	list = push.Probe(t.Context(), ref, quick())
	require.Equal(t, "exists", list[4].Detail)
	require.Contains(t, list[5].Detail, "names sha256:")

	f.refuse["POST"] = []reply{{403, nil}}
	list = push.Probe(t.Context(), ref, quick())
	require.Equal(t, "+reachable +credentials +login -push", checks(list))
	require.Contains(t, fault.HintOf(list[3].Err), "right to push")

	list = push.Probe(t.Context(), ref, push.Options{Keychain: locked{}})
	require.Equal(t, "+reachable -credentials", checks(list))
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	list = push.Probe(t.Context(), target(t, strings.TrimPrefix(gone.URL, "http://")+"/m:1"), quick())
	require.Equal(t, "-reachable", checks(list))
	require.Equal(t, fault.Registry, fault.KindOf(list[0].Err))
}
