package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// requireClean: only the result stays.
func requireClean(t *testing.T, o Options, name string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(o.Out, "bench"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, name+".json", entries[0].Name())
}

// TestFetch runs the whole bench without the programs of others: ours is measured, they
// are named.
func TestFetch(t *testing.T) {
	o := options(t, "3 MB")
	alone(t)
	r, err := Fetch(t.Context(), o)
	require.NoError(t, err)
	for _, c := range []string{"unlimited", "throttled", "cut"} {
		m := requireMedian(t, r, c, oursLocked)
		require.GreaterOrEqual(t, m.Transferred, int64(3e6))
		require.Positive(t, m.Requests)
		require.Positive(t, m.PeakMemory)
		require.GreaterOrEqual(t, m.CallsRead, int64(6e6), "from the socket, and back for the sum")
	}
	require.Equal(t, "curl is missing", ratioOf(t, r, "unlimited", oursLocked+" / "+byCurl+", wall").Missing)
	require.Equal(t, "aria2c is missing", ratioOf(t, r, "throttled", oursLocked+" / "+byAria).Missing)
	require.NotNil(t, ratioOf(t, r, "cut", oursLocked+", downloaded").Value)
	require.Contains(t, r.Text(), "install it with: apt-get install aria2")
	requireClean(t, o, "fetch")
}

// TestFetchProves: a contestant that says it is done, with other bytes, ends the bench.
func TestFetchProves(t *testing.T) {
	b := &fetchBench{session: newSession(t, 10, 1)}
	path := b.path("f")
	var err error
	b.sum, err = generate(t.Context(), path, 1, 10)
	require.NoError(t, err)
	require.NoError(t, b.proven(path, true))
	require.NoError(t, os.WriteFile(path, []byte("other byte"), 0o600))
	require.NoError(t, b.proven(path, false), "the size is right")
	require.ErrorContains(t, b.proven(path, true), b.sum)
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	require.ErrorContains(t, b.proven(path, false), "its size is 5, 10 were served")
	require.ErrorIs(t, b.proven(b.path("none"), false), os.ErrNotExist)
	require.ErrorContains(t, b.aria().check("", outcome{stdout: []string{"", "00 *f\n"}}, true), "its sha256 is 00")
}

func TestVerify(t *testing.T) {
	o := options(t, "4 MB")
	alone(t)
	r, err := Verify(t.Context(), o)
	require.NoError(t, err)
	for _, c := range []string{"one file", "a file a core"} {
		require.Positive(t, requireMedian(t, r, c, oursVerify).CallsRead)
		require.Equal(t, "openssl is missing", ratioOf(t, r, c, byOpenssl).Missing)
		require.GreaterOrEqual(t, *ratioOf(t, r, c, oursVerify+", read").Value, 1.0, "every byte is read")
	}
	requireClean(t, o, "verify")
}

// actingRegistry is a registry of another make than the one of others.
func actingRegistry(dir, address string) (command, error) {
	return acting("registry", filepath.Join(dir, "data"), address), os.Mkdir(filepath.Join(dir, "data"), 0o755)
}

func TestPublish(t *testing.T) {
	o := options(t, "6 MB")
	o.registry = actingRegistry
	alone(t)
	r, err := Publish(t.Context(), o)
	require.NoError(t, err)
	require.GreaterOrEqual(t, requireMedian(t, r, cold, oursPublish).CallsWritten, r.Size)
	require.Less(t, requireMedian(t, r, warmCase, oursPublish).CallsWritten, r.Size/10)
	require.Zero(t, requireMedian(t, r, runtimeOnly, oursPublish).Transferred)
	require.Equal(t, 0.0, *ratioOf(t, r, runtimeOnly, oursPublish+", downloaded").Value)
	require.Equal(t, "crane, skopeo, oras and oci-modelcar are missing", ratioOf(t, r, cold, oursPublish+" / the fastest").Missing)
	requireClean(t, o, "publish")
}

// TestPull: without the programs of others nothing is pulled, and they are named.
func TestPull(t *testing.T) {
	o := options(t, "24 MB")
	o.registry = actingRegistry
	alone(t)
	r, err := Pull(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, r.Cases, 2)
	for _, x := range r.Ratios {
		require.Contains(t, []string{"containerd is missing", "podman is missing"}, x.Missing)
	}
	require.Contains(t, r.Text(), "install it with: apt-get install podman")
	requireClean(t, o, "pull")
}

func TestPublishNeedsARegistry(t *testing.T) {
	o := options(t, "1 MB")
	alone(t)
	_, err := Publish(t.Context(), o)
	require.Equal(t, fault.Resource, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "docker-registry")
	require.NoDirExists(t, filepath.Join(o.Out, "bench", "publish"))
}

// TestRegistryHolds: what the registry does not have is seen.
func TestRegistryHolds(t *testing.T) {
	r, err := startRegistry(t.Context(), actingRegistry, filepath.Join(t.TempDir(), "r"))
	require.NoError(t, err)
	digest := "sha256:" + strings.Repeat("0", 64)
	require.NoError(t, r.holds(t.Context(), repository, nil))
	require.ErrorContains(t, r.holds(t.Context(), repository, []string{digest}), "answers 404 for "+digest)
	require.NoError(t, r.stop())
	require.Error(t, r.holds(t.Context(), repository, []string{digest}), "it is gone")
}

func TestRegistryThatDoesNotStart(t *testing.T) {
	_, err := startRegistry(t.Context(), func(string, string) (command, error) {
		return acting("fail", "the port is taken"), nil
	}, filepath.Join(t.TempDir(), "r"))
	require.ErrorContains(t, err, "starting a registry: it ended at once")
	require.ErrorContains(t, err, "the port is taken")
}

// TestInteropFetch: with the programs of others every ratio has a value.
func TestInteropFetch(t *testing.T) {
	interoptest.Require(t, "curl", "aria2c", "openssl")
	r, err := Fetch(t.Context(), options(t, "64 MB"))
	require.NoError(t, err)
	requireValues(t, r)
}

// TestInteropVerify: openssl takes the same sums.
func TestInteropVerify(t *testing.T) {
	interoptest.Require(t, "openssl")
	r, err := Verify(t.Context(), options(t, "64 MB"))
	require.NoError(t, err)
	requireValues(t, r)
}

// TestInteropPublish: with a registry and at least one other publisher.
func TestInteropPublish(t *testing.T) {
	interoptest.Require(t, "docker-registry", "skopeo", "openssl")
	r, err := Publish(t.Context(), options(t, "400 MB"))
	require.NoError(t, err)
	require.NotNil(t, ratioOf(t, r, cold, oursPublish).Value)
	require.NotNil(t, ratioOf(t, r, resumed, interrupted).Value, "a publication of this size is long enough to be cut")
	require.NotNil(t, ratioOf(t, r, resumed, killed).Value)
	require.NotNil(t, ratioOf(t, r, cold, bySkopeo).Value)
}

// TestInteropPull: every cut is pulled and has a ratio.
func TestInteropPull(t *testing.T) {
	interoptest.Require(t, "docker-registry", "containerd", "ctr", "podman", "runc")
	o := options(t, "48 MB")
	r, err := Pull(t.Context(), o)
	require.NoError(t, err)
	requireValues(t, r)
	for _, c := range []string{byContainerd, byPodman} {
		for _, x := range r.Cases[0].Contestants {
			require.Positive(t, requireMedian(t, r, c, x.Name).CPU())
		}
	}
	requireClean(t, o, "pull")
}

// requireValues: nothing is missing.
func requireValues(t *testing.T, r *Result) {
	t.Helper()
	for _, x := range r.Ratios {
		require.NotNil(t, x.Value, "%s: %s: %s", x.Case, x.What, x.Missing)
	}
}
