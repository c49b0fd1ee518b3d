package hub_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// environment is a getenv over a map.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// homes has token files below home, xdg and hf.
func homes(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, token := range map[string]string{
		"home/.cache/huggingface/token": "hf_home\n",
		"xdg/huggingface/token":         "  hf_xdg\r\n",
		"hf/token":                      "hf_hf",
		"elsewhere":                     "hf_else",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(token), 0o600))
	}
	return root
}

func TestFromEnv(t *testing.T) {
	root := homes(t)
	cases := []struct {
		name            string
		vars            map[string]string
		endpoint, token string
		offline         bool
	}{
		{"nothing", map[string]string{}, hub.DefaultEndpoint, "", false},
		{"slashes", map[string]string{"HF_ENDPOINT": " https://hub.example/x// "}, "https://hub.example/x", "", false},
		{"empty endpoint", map[string]string{"HF_ENDPOINT": ""}, hub.DefaultEndpoint, "", false},
		{"token", map[string]string{"HF_TOKEN": " hf_a\n", "HF_HOME": root + "/hf"}, hub.DefaultEndpoint, "hf_a", false},
		{"old name", map[string]string{"HUGGING_FACE_HUB_TOKEN": "hf_b"}, hub.DefaultEndpoint, "hf_b", false},
		{"empty token", map[string]string{"HF_TOKEN": " ", "HF_HOME": root + "/hf"}, hub.DefaultEndpoint, "hf_hf", false},
		{"path", map[string]string{"HF_TOKEN_PATH": root + "/elsewhere", "HF_HOME": root + "/hf"}, hub.DefaultEndpoint, "hf_else", false},
		{"path is not there", map[string]string{"HF_TOKEN_PATH": root + "/gone", "HF_HOME": root + "/hf"}, hub.DefaultEndpoint, "", false},
		{"variable in HF_HOME", map[string]string{"HF_HOME": "$ROOT/hf", "ROOT": root}, hub.DefaultEndpoint, "hf_hf", false},
		{"tilde", map[string]string{"HF_HOME": "~/hf", "HOME": root}, hub.DefaultEndpoint, "hf_hf", false},
		{"XDG", map[string]string{"XDG_CACHE_HOME": root + "/xdg", "HOME": root + "/home"}, hub.DefaultEndpoint, "hf_xdg", false},
		{"HOME", map[string]string{"HOME": root + "/home"}, hub.DefaultEndpoint, "hf_home", false},
		{"not implicit", map[string]string{"HF_TOKEN": "hf_a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, hub.DefaultEndpoint, "", false},
		{"offline", map[string]string{"HF_HUB_OFFLINE": "True"}, hub.DefaultEndpoint, "", true},
		{"online", map[string]string{"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, hub.DefaultEndpoint, "", false},
		{"offline, other name", map[string]string{"TRANSFORMERS_OFFLINE": "yes"}, hub.DefaultEndpoint, "", true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := hub.FromEnv(environment(tc.vars))
			require.NoError(t, err)
			require.Equal(t, tc.endpoint, cfg.Endpoint)
			require.Equal(t, tc.token, cfg.Token)
			require.Equal(t, tc.offline, cfg.Offline)
		})
	}
}

func TestTokenFileThatCannotBeRead(t *testing.T) {
	_, err := hub.FromEnv(environment(map[string]string{"HF_TOKEN_PATH": t.TempDir()}))
	require.ErrorContains(t, err, "reading the Hub token")
	require.Equal(t, fault.Usage, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "HF_TOKEN")
}

func TestEndpoints(t *testing.T) {
	cases := []struct{ endpoint, want string }{
		{"", hub.DefaultEndpoint},
		{"http://127.0.0.1:80/", "http://127.0.0.1:80"},
		{"https://user:hunter2@proxy.example/api/hf/", "https://proxy.example/api/hf"},
		{"https://x.example/a%2Fb?q#f", "https://x.example/a%2Fb"},
	}
	for _, tc := range cases {
		c, err := hub.New(hub.Config{Endpoint: tc.endpoint})
		require.NoError(t, err)
		require.Equal(t, tc.want, c.Endpoint())
	}
	for _, bad := range []string{"hub.example", "ftp://hub.example", "https://", "://hunter2", "https://user:hunter2@:port:"} {
		_, err := hub.New(hub.Config{Endpoint: bad})
		require.Equal(t, fault.Usage, fault.KindOf(err), bad)
		discreet(t, err)
	}
	_, err := hub.New(hub.Config{Token: secret + " x"})
	discreet(t, err)
}

func TestSecretsAreNotPrinted(t *testing.T) {
	cfg := hub.Config{Endpoint: "https://user:hunter2@hub.example", Token: secret}
	c, err := hub.New(cfg)
	require.NoError(t, err)
	text := fmt.Sprintf("%v %+v %#v %s %v %+v %s", cfg, cfg, cfg, cfg, c, c, c)
	require.NotContains(t, text, secret)
	require.NotContains(t, text, "hunter2")
	require.Contains(t, text, "hub.example")
	require.Contains(t, fmt.Sprint(hub.Config{Endpoint: "nothing"}), "unreadable")
}
