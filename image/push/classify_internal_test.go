package push

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/image/refusals"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// TestNextSteps: a refusal names the command that is next at this registry, in the words that
// registries refuse with, and says whether another try is worth it.
func TestNextSteps(t *testing.T) {
	const ecr = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/model:1"
	cases := []struct {
		ref, code, message string
		status             int
		final              bool
		hint               string
	}{
		{ecr, "NAME_UNKNOWN", "The repository with name 'team/model' does not exist in the registry with id '123456789012'", 404, true,
			"aws ecr create-repository --region eu-central-1 --repository-name team/model"},
		{ecr, "", "no basic auth credentials", 401, false, "aws ecr get-login-password --region eu-central-1 | docker login --username AWS --password-stdin 123456789012.dkr.ecr.eu-central-1.amazonaws.com"},
		{ecr, "TAG_INVALID", "The image tag '1' already exists in the 'team/model' repository and cannot be overwritten because the tag is immutable.", 400, true,
			"publish under a new tag, -target=123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/model:NEW"},
		{"public.ecr.aws/alias/model:1", "NAME_UNKNOWN", "not found", 404, true, "aws ecr-public create-repository --region us-east-1 --repository-name model"},
		{"europe-west3-docker.pkg.dev/proj/repo/model:1", "NAME_UNKNOWN", `Repository "repo" not found`, 404, true,
			"gcloud artifacts repositories create repo --project=proj --location=europe-west3 --repository-format=docker"},
		{"europe-west3-docker.pkg.dev/proj/repo/model:1", "DENIED", "cannot update tag. The repository has enabled tag immutability", 400, true, "new tag"},
		{"europe-west3-docker.pkg.dev/proj/repo/model:1", "UNAUTHORIZED", "", 401, false, "gcloud auth configure-docker europe-west3-docker.pkg.dev"},
		{"harbor.example/team/model:1", "DENIED", "adding 22.1 MiB of storage resource, which when updated to current usage of 99.0 MiB will exceed the configured upper limit of 100.0 MiB.", 403, true, "quota"},
		{"quay.io/team/model:1", "DENIED", "Quota has been exceeded on namespace", 403, true, "quota"},
		{"ghcr.io/team/model:1", "DENIED", "permission_denied: write_package", 403, false, "right to push"},
		{"ghcr.io/team/model:1", "UNAUTHORIZED", "unauthenticated", 401, false, "docker login ghcr.io"},
		{"registry.example/team/model:1", "TOOMANYREQUESTS", "Quota exceeded for quota metric 'Requests per minute'", 429, false, "wait"},
		{"registry.example/team/model:1", "UNKNOWN", "unknown error; write /data: no space left on device", 500, true, "disk is full"},
		{"registry.example/team/model:1", "UNKNOWN", "", 507, false, "disk is full"},
		{"registry.example/team/model:1", "UNKNOWN", "", 500, false, "run publish again"},
	}
	for _, c := range cases {
		ref, err := ParseTarget(c.ref)
		require.NoError(t, err)
		answer := &transport.Error{StatusCode: c.status, Errors: []transport.Diagnostic{{Code: transport.ErrorCode(c.code), Message: c.message}}}
		err = classify(ref, "publishing", answer)
		require.Equal(t, fault.Registry, fault.KindOf(err))
		require.Contains(t, fault.HintOf(err), c.hint, c.message)
		require.Equal(t, c.final, refusals.Final(answer), c.message)
		require.Equal(t, temporary(c.status) && !c.final, passing(answer), c.message)
		require.ErrorContains(t, err, c.message)
	}
	numbered := &transport.Error{StatusCode: 500, Errors: []transport.Diagnostic{{Code: "UNKNOWN", Detail: map[string]any{
		"DriverName": "filesystem", "Enclosed": map[string]any{"Op": "mkdir", "Path": "/data", "Err": 28.0}}}}}
	require.True(t, refusals.Final(numbered), "%v", numbered)
}

// TestNamesTellNothing: a repository may be called by the words that are looked for in an
// answer, and the answer's address and message hold its name.
func TestNamesTellNothing(t *testing.T) {
	ref, err := ParseTarget("registry.example/team/immutable-quota:1")
	require.NoError(t, err)
	request, err := http.NewRequest(http.MethodPatch, "https://registry.example/v2/team/immutable-quota/blobs/uploads/1", nil)
	require.NoError(t, err)
	failed := &transport.Error{StatusCode: http.StatusServiceUnavailable, Request: request}
	require.Contains(t, failed.Error(), "quota")
	require.False(t, refusals.Final(failed))
	require.True(t, passing(failed))
	require.Contains(t, fault.HintOf(classify(ref, "publishing", failed)), "the registry failed")
	absent := &transport.Error{StatusCode: http.StatusNotFound, Request: request, Errors: []transport.Diagnostic{
		{Code: transport.NameUnknownErrorCode, Message: "there is no team/immutable-quota"},
	}}
	require.Contains(t, fault.HintOf(classify(ref, "publishing", absent)), "create the repository first")
}

// TestNobodyThere: a registry that does not answer.
func TestNobodyThere(t *testing.T) {
	ref, err := ParseTarget("registry.example/team/model:1")
	require.NoError(t, err)
	mistaken := errors.New(`Get "https://registry.example/v2/": http: server gave HTTP response to HTTPS client`)
	require.Contains(t, fault.HintOf(classify(ref, "publishing", mistaken)), "plain http")
	_, err = http.Get("http://127.0.0.1:1/v2/")
	require.Equal(t, refusals.Address, fault.HintOf(classify(ref, "publishing", err)))
	require.Equal(t, refusals.Again, fault.HintOf(lost(ref, "publishing", err)), "it had answered")
}
