package push_test

import (
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/push"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// names asks a registry what a reference names.
func names(t *testing.T, ref string) string {
	t.Helper()
	r, err := name.ParseReference(ref)
	require.NoError(t, err)
	head, err := remote.Head(r)
	require.NoError(t, err)
	return head.Digest.String()
}

// refusals are answers of a proxy before a registry that no other try heals. JSON is what
// clouds answer, word for word where it is known.
var refusals = []struct {
	name, directives string
	want, hint       string
}{
	{"403", "location ~ /blobs/uploads/ { return 403; }", "403 Forbidden", "right to push"},
	{"404, no repository", `location ~ /blobs/uploads/ { return 404 '{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name team/model does not exist in the registry"}]}'; }`,
		"team/model does not exist", "create the repository first: team/model at 127.0.0.1:"},
	{"403, quota", `location ~ /blobs/uploads/ { return 403 '{"errors":[{"code":"DENIED","message":"adding 6 MiB of storage resource will exceed the configured upper limit of 5 MiB"}]}'; }`,
		"upper limit of 5 MiB", "quota is used up"},
	{"400, immutable", `location ~ /manifests/ { if ($request_method = PUT) { return 400 '{"errors":[{"code":"TAG_INVALID","message":"The image tag 1 already exists and cannot be overwritten because the tag is immutable."}]}'; } proxy_pass REGISTRY; }`,
		"tag is immutable", "publish under a new tag"},
	{"413", "client_max_body_size 100k;", "413 Request Entity Too Large", "smaller partSize"},
	{"429, for an hour", "location ~ /blobs/uploads/ { add_header Retry-After 3600 always; return 429; }", "429 Too Many Requests", "wait, then run publish again"},
	{"500", "location ~ /blobs/uploads/ { return 500; }", "500 Internal Server Error", "the registry failed: run publish again"},
	{"503", "location ~ /blobs/ { return 503; }", "503 Service Unavailable", "the registry failed: run publish again"},
}

// TestInteropRefusals: nginx before a real registry refuses. The error names the reference,
// what was refused and the way out; the tag names what it named; and when the cause is gone
// the next run does the job. A refusal that is final is tried once.
func TestInteropRefusals(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	r := registrytest.Start(t, registrytest.Options{})
	ref := r.Host + "/team/model:1"
	old, err := push.Publish(t.Context(), testImage(t, []byte("old"), false), target(t, ref), quick())
	require.NoError(t, err)
	for i, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			front := registrytest.StartNginx(t, r, c.directives)
			img := testImage(t, append([]byte{byte(i)}, weights...), false)
			_, err := push.Publish(t.Context(), img, target(t, front+"/team/model:1"), quick())
			require.Equal(t, fault.Registry, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, front+"/team/model:1")
			require.Contains(t, fault.HintOf(err), c.hint)
			require.NotRegexp(t, "_state=[^R]|<html", err.Error())
			require.Equal(t, old.Digest, names(t, ref), "the tag names the old image")
			list := push.Probe(t.Context(), target(t, front+"/team/model:1"), quick())
			if last := list[len(list)-1]; last.Err != nil {
				require.Contains(t, fault.HintOf(last.Err), c.hint, "doctor says the same")
			}
			next, err := push.Publish(t.Context(), img, target(t, r.Host+"/team/model:next"), quick())
			require.NoError(t, err)
			require.Equal(t, next.Digest, names(t, r.Host+"/team/model:next"))
		})
	}
}

// TestInteropBusy: a registry behind limits on requests, connections or sizes gets the whole
// image, in as many tries as it takes.
func TestInteropBusy(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	for name, directives := range map[string]string{
		"429": "limit_req zone=requests burst=2 nodelay; limit_req_status 429; add_header Retry-After 1 always;",
		"503": "limit_conn connections 2;",
		"413": "client_max_body_size 1m;",
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{})
			front := registrytest.StartNginx(t, r, directives)
			n := newNoise(6 << 20)
			first, err := push.Publish(t.Context(), n.image(t), target(t, front+"/m:1"), push.Options{})
			require.NoError(t, err)
			again, err := push.Publish(t.Context(), n.image(t), target(t, r.Host+"/m:1"), quick())
			require.NoError(t, err)
			require.Zero(t, again.SentBytes)
			require.Equal(t, first.Digest, again.Digest)
		})
	}
}

// TestInteropRegistryAway: nginx answers 502 while the registry is away.
func TestInteropRegistryAway(t *testing.T) {
	interoptest.Require(t, "docker-registry", "nginx")
	r := registrytest.Start(t, registrytest.Options{})
	front := registrytest.StartNginx(t, r, "")
	r.Stop()
	_, err := push.Publish(t.Context(), testImage(t, weights, false), target(t, front+"/m:1"), quick())
	require.Equal(t, fault.Registry, fault.KindOf(err))
	require.ErrorContains(t, err, "502 Bad Gateway")
	require.Contains(t, fault.HintOf(err), "run publish again")
}

// TestInteropFullDisk: a registry whose disk is full says so, in one try; the tag names the
// old image, and with room the next run goes on.
func TestInteropFullDisk(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	disk := t.TempDir()
	require.NoError(t, syscall.Mount("plimsoll", disk, "tmpfs", 0, "size=8m"), "mounting a small disk needs root")
	r := registrytest.Start(t, registrytest.Options{Data: filepath.Join(disk, "data")})
	t.Cleanup(func() {
		r.Stop()
		require.NoError(t, syscall.Unmount(disk, 0))
	})
	ref := r.Host + "/m:1"
	old, err := push.Publish(t.Context(), testImage(t, []byte("old"), false), target(t, ref), quick())
	require.NoError(t, err)
	n, o := newNoise(16<<20), push.Options{Journal: openJournal(t, filepath.Join(t.TempDir(), "uploads.jsonl"))}
	_, err = push.Publish(t.Context(), n.image(t), target(t, ref), o)
	requireFull(t, err)
	_, err = push.Publish(t.Context(), n.image(t), target(t, ref), o)
	requireFull(t, err)
	require.Equal(t, old.Digest, names(t, ref))

	require.NoError(t, syscall.Mount("plimsoll", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	_, err = push.Publish(t.Context(), n.image(t), target(t, ref), o)
	require.NoError(t, err)
	require.NotEqual(t, old.Digest, names(t, ref))
}

func requireFull(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, fault.Registry, fault.KindOf(err), "%v", err)
	require.Contains(t, fault.HintOf(err), "the registry's disk is full", "%v", err)
}

// TestInteropDistrusted: a certificate that is unknown, another host's or expired is told
// apart, and nothing is sent.
func TestInteropDistrusted(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	cases := []struct {
		name       string
		o          registrytest.Options
		trusted    bool
		want, hint string
	}{
		{"unknown", registrytest.Options{TLS: true}, false, "unknown authority", "set SSL_CERT_FILE"},
		{"elsewhere", registrytest.Options{TLS: true, Elsewhere: true}, true, "127.0.0.1", "the certificate is for another name than 127.0.0.1"},
		{"expired", registrytest.Options{TLS: true, Expired: true}, true, "expired", "has to be renewed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, o := registrytest.Start(t, c.o), quick()
			if c.trusted {
				o.Transport = trusting(t, r.CA)
			}
			err := publishTo(t, target(t, r.Host+"/m:1"), o)
			require.Equal(t, fault.Registry, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.want)
			require.Contains(t, fault.HintOf(err), c.hint)
			list := push.Probe(t.Context(), target(t, r.Host+"/m:1"), o)
			require.Equal(t, "-reachable", checks(list))
			require.Contains(t, fault.HintOf(list[0].Err), c.hint)
			r.Stop()
			require.Zero(t, r.Requests(http.MethodPost))
		})
	}
}

// TestInteropNobody: a port where nobody listens, and a name that nobody has.
func TestInteropNobody(t *testing.T) {
	interoptest.Require(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := l.Addr().String()
	require.NoError(t, l.Close())
	for _, host := range []string{gone, "registry.invalid"} {
		err := publishTo(t, target(t, host+"/m:1"), quick())
		require.Equal(t, fault.Registry, fault.KindOf(err))
		require.ErrorContains(t, err, host)
		require.Contains(t, fault.HintOf(err), "is the registry's address right")
	}
}
