package hub_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
)

const (
	repoName = "owner/model"
	large    = "weights/model.safetensors"
	small    = "config.json"
	secret   = "hf_secretsecretsecret"
)

var (
	largeSize = int64(300_000)
	largeData = contentBytes(hubtest.Noise(7, largeSize))
	smallData = []byte(`{"model_type": "test"}`)
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// contentBytes reads a content whole.
func contentBytes(c hubtest.Content) []byte {
	data := make([]byte, c.Size())
	if _, err := c.ReadAt(data, 0); err != nil && err != io.EOF {
		panic(err)
	}
	return data
}

// sampleRepo has a large and a few small files.
func sampleRepo() hubtest.Repo {
	return hubtest.Repo{
		Name:    repoName,
		License: "apache-2.0",
		Files: map[string]hubtest.File{
			large:                 {Content: hubtest.Noise(7, largeSize), LFS: true},
			small:                 {Content: hubtest.Bytes(smallData)},
			"README.md":           {Content: hubtest.Bytes([]byte("# model\n"))},
			"empty":               {Content: hubtest.Bytes(nil)},
			"a b/ü#?%.json":       {Content: hubtest.Bytes([]byte("{}"))},
			"tokenizer/vocab.txt": {Content: hubtest.Bytes([]byte("x\ny\n"))},
		},
	}
}

// startHub runs a Hub with the sample repository until the test ends.
func startHub(t *testing.T, repo hubtest.Repo, opts ...hubtest.Option) (h *hubtest.Hub, commit string) {
	t.Helper()
	h = hubtest.New(opts...)
	commit, err := h.Add(repo)
	require.NoError(t, err)
	_, err = h.Start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h, commit
}

// connect returns a client that loses no time on waits.
func connect(t *testing.T, cfg hub.Config) *hub.Client {
	t.Helper()
	if cfg.RetryBase == 0 {
		cfg.RetryBase = time.Millisecond
	}
	c, err := hub.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// serve runs a handler of the test's own as endpoint.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// fetch opens a range and reads it to its end.
func fetch(c *hub.Client, commit, path string, offset, length int64) ([]byte, *hub.Body, error) {
	body, err := c.Open(context.Background(), repoName, commit, path, offset, length)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(body)
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	return data, body, err
}

// kinds lists what a Hub was asked for.
func kinds(h *hubtest.Hub) []hubtest.Kind {
	var out []hubtest.Kind
	for _, r := range h.Requests() {
		out = append(out, r.Kind)
	}
	return out
}

// discreet fails if an error shows a token or a signature.
func discreet(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	for _, word := range []string{secret, "X-Amz", "Signature", "hunter2"} {
		require.NotContains(t, err.Error(), word)
		require.NotContains(t, strings.ReplaceAll(text, "RawQuery:\"\"", ""), word)
	}
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
