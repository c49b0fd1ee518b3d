package server_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/runtime/server"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// TestInteropSchemathesis: a tester that reads openapi.json and makes requests of it, right
// and wrong ones, finds no server error and no answer that the document does not have.
func TestInteropSchemathesis(t *testing.T) {
	interoptest.Require(t, "python3")
	for name, change := range map[string]func(*server.Config){
		"default":      nil,
		"model-config": func(c *server.Config) { c.ModelConfig = true },
		"key":          func(c *server.Config) { c.APIKey = "s3cret" },
		"compat": func(c *server.Config) {
			c.Compat, c.ModelConfig, c.Origins = true, true, []string{"*"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDouble()
			s := start(t, d, change)
			c := schemathesis(t, s.url)
			if name == "compat" { // numbers may be text there
				c.Args = append(c.Args, "--exclude-checks=positive_data_acceptance,negative_data_rejection")
			}
			out, err := c.CombinedOutput()
			t.Logf("%s", out)
			require.NoError(t, err)
			require.Positive(t, d.count(), "edits were asked for")
		})
	}
}

// TestInteropSchemathesisFinds: the tester does find what is wrong: a service whose edits
// fail, and which so answers 500.
func TestInteropSchemathesisFinds(t *testing.T) {
	interoptest.Require(t, "python3")
	d := newDouble()
	d.set(nil, "broken")
	out, err := schemathesis(t, start(t, d, nil).url).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.Contains(t, string(out), "Server error")
}

// TestInteropDocs: a browser renders the page under its own policy: every route and schema.
func TestInteropDocs(t *testing.T) {
	interoptest.Require(t, "chromium")
	s := start(t, newDouble(), nil)
	dom := interoptest.Run(t, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=5000", "--dump-dom", s.url+"/docs")
	require.Contains(t, dom, "plimsoll 1.2.3")
	for _, text := range []string{"/edit-image", "/batch-edit-image", "/model-config", "schema-ImageEditRequest", "num_inference_steps", "GPU_MEMORY_ERROR"} {
		require.Contains(t, dom, text)
	}
}

// schemathesis prepares a run on the service at url. What a random text is as an image no
// schema can say, so that a request of the right shape may be refused.
func schemathesis(t *testing.T, url string) *exec.Cmd {
	t.Helper()
	c := interoptest.ScriptWith(t, interoptest.Schemathesis, "from schemathesis.cli import schemathesis; schemathesis()", []string{
		"run", url + "/openapi.json", "--checks=all", "--exclude-checks=positive_data_acceptance", "--max-examples=30", "--seed=1",
		"--header=Authorization: Bearer s3cret", "--no-color",
	}, "NO_PROXY=*")
	c.Dir = t.TempDir()
	return c
}
