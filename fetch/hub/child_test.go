package hub_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// childEnv tells the test binary to list the sample repository and print what it got. Go
// reads proxies and roots of trust from the environment once per process, so they are
// tested in a process of their own.
const childEnv = "HUB_TEST_CHILD"

// child is the main function of that process.
func child() int {
	cfg, err := hub.FromEnv(os.Getenv)
	if err == nil {
		cfg.RetryTries = 1
		var c *hub.Client
		if c, err = hub.New(cfg); err == nil {
			defer c.Close()
			listing, listErr := c.List(context.Background(), repoName, "main")
			if err = listErr; err == nil {
				fmt.Println(len(listing.Files), "files")
				return 0
			}
		}
	}
	fmt.Println("error:", err, "hint:", fault.HintOf(err))
	return 1
}

// runChild runs the child in an environment of its own.
func runChild(t *testing.T, vars ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append([]string{childEnv + "=1", "HOME=" + t.TempDir()}, vars...)
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out)
}

func TestProxyVariables(t *testing.T) {
	h, _ := startHub(t, sampleRepo())
	seen := make(chan string, 10)
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.URL.Host
		h.Handler().ServeHTTP(w, r)
	})
	require.Equal(t, "6 files\n", runChild(t, "HF_ENDPOINT=http://hub.example", "HTTP_PROXY="+proxy))
	require.Equal(t, "hub.example", <-seen)
	out := runChild(t, "HF_ENDPOINT=http://hub.invalid", "HTTP_PROXY="+proxy, "NO_PROXY=hub.invalid")
	require.Contains(t, out, "hub.invalid")
	require.Empty(t, seen)
}

func TestCertificateVariable(t *testing.T) {
	h, _ := startHub(t, sampleRepo())
	server := httptest.NewUnstartedServer(h.Handler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	var roots bytes.Buffer
	require.NoError(t, pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, roots.Bytes(), 0o600))
	require.Equal(t, "6 files\n", runChild(t, "HF_ENDPOINT="+server.URL, "SSL_CERT_FILE="+file))

	out := runChild(t, "HF_ENDPOINT="+server.URL)
	require.Contains(t, out, "certificate signed by unknown authority")
	require.Contains(t, out, "hint: if a proxy re-signs TLS here, let SSL_CERT_FILE name its CA")
}

func TestTokenVariable(t *testing.T) {
	repo := sampleRepo()
	repo.Private = true
	h, _ := startHub(t, repo, hubtest.Token(secret))
	require.Contains(t, runChild(t, "HF_ENDPOINT="+h.URL()), "401")
	require.Equal(t, "6 files\n", runChild(t, "HF_ENDPOINT="+h.URL()+"/", "HF_TOKEN="+secret))
	out := runChild(t, "HF_ENDPOINT="+h.URL(), "HF_TOKEN=hf_wrong")
	require.Contains(t, out, "Invalid credentials")
	require.NotContains(t, out, "hf_wrong")
	out = runChild(t, "HF_ENDPOINT="+h.URL(), "HF_TOKEN="+secret, "HF_HUB_OFFLINE=1")
	require.Contains(t, out, "hint: unset HF_HUB_OFFLINE")
}
