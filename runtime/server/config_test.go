package server_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/server"
)

func environment(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestFromEnv(t *testing.T) {
	c, err := server.FromEnv(environment(map[string]string{"API_PORT": "", "LOG_FILE": " "}))
	require.NoError(t, err)
	require.Equal(t, server.Default(), c)
	require.Equal(t, "0.0.0.0:8000", c.Address())

	c, err = server.FromEnv(environment(map[string]string{
		"API_HOST": "::1", "API_PORT": "81", "LOG_LEVEL": "warning", "LOG_FILE": "/x", "ENVIRONMENT": "production",
		"PLIMSOLL_MODEL_CONFIG": "1", "PLIMSOLL_HUB_DOWNLOAD": "true", "PLIMSOLL_ALLOW_PRIVATE_URLS": "1", "PLIMSOLL_API_KEY": "k",
		"PLIMSOLL_CORS_ORIGINS": "https://a.example, http://b:81", "PLIMSOLL_QUEUE": "0", "PLIMSOLL_MAX_BODY_BYTES": "2048",
		"PLIMSOLL_MAX_PROMPT_CHARS": "9", "PLIMSOLL_MAX_BATCH": "2", "PLIMSOLL_GRACE": "1m",
		"PLIMSOLL_MAX_IMAGE_BYTES": "1024", "PLIMSOLL_MAX_IMAGE_SIDE": "7", "PLIMSOLL_MAX_IMAGE_PIXELS": "49",
	}))
	require.NoError(t, err)
	want := server.Default()
	want.Host, want.Port, want.LogLevel, want.LogFile, want.Environment = "::1", 81, slog.LevelWarn, "/x", "production"
	want.ModelConfig, want.HubDownload, want.PrivateURLs, want.APIKey = true, true, true, "k"
	want.Origins, want.Queue, want.BodyBytes, want.PromptChars, want.Batch, want.Grace = []string{"https://a.example", "http://b:81"}, 0, 2048, 9, 2, time.Minute
	want.Picture.Bytes, want.Picture.Side, want.Picture.Pixels = 1024, 7, 49
	require.Equal(t, want, c)
	require.Equal(t, "[::1]:81", c.Address())
}

// TestCompatEnv: the predecessor's ways come together.
func TestCompatEnv(t *testing.T) {
	c, err := server.FromEnv(environment(map[string]string{"PLIMSOLL_COMPAT": "1"}))
	require.NoError(t, err)
	require.True(t, c.Compat && c.ModelConfig && c.HubDownload)
	require.Equal(t, []string{"*"}, c.Origins)
	c, err = server.FromEnv(environment(map[string]string{"PLIMSOLL_COMPAT": "1", "PLIMSOLL_CORS_ORIGINS": "https://a.example"}))
	require.NoError(t, err)
	require.Equal(t, []string{"https://a.example"}, c.Origins)
}

func TestFromEnvRefuses(t *testing.T) {
	for name, values := range map[string][]string{
		"API_PORT": {"x", "-1", "65536", "80.0"}, "LOG_LEVEL": {"LOUD"}, "PLIMSOLL_COMPAT": {"yes"}, "PLIMSOLL_QUEUE": {"-1", "1001"},
		"PLIMSOLL_GRACE": {"5", "-1s"}, "PLIMSOLL_CORS_ORIGINS": {"example.org", "https://a.example/x", "https://a.example,", "null"},
		"PLIMSOLL_API_KEY": {"two words", "ключ"}, "PLIMSOLL_MAX_BODY_BYTES": {"1"},
	} {
		for _, v := range values {
			_, err := server.FromEnv(environment(map[string]string{name: v}))
			require.ErrorContains(t, err, "reading "+name+": ")
			require.Equal(t, fault.Usage, fault.KindOf(err))
			if name == "PLIMSOLL_API_KEY" {
				require.NotContains(t, err.Error(), v)
			} else {
				require.ErrorContains(t, err, v)
			}
		}
	}
}

func TestNewLog(t *testing.T) {
	c := server.Default()
	c.LogFile, c.Environment, c.LogLevel = filepath.Join(t.TempDir(), "a.log"), "production", slog.LevelWarn
	var out bytes.Buffer
	log, closer, err := server.NewLog(c, &out)
	require.NoError(t, err)
	log.Info("no")
	log.Warn("yes", "n", 1)
	require.NoError(t, closer.Close())
	data, err := os.ReadFile(c.LogFile)
	require.NoError(t, err)
	require.Equal(t, out.String(), string(data))
	require.Regexp(t, `^\{"time":"[^"]+","level":"WARN","msg":"yes","environment":"production","n":1\}\n$`, out.String())

	c.LogFile = filepath.Join(t.TempDir(), "no", "a.log")
	_, _, err = server.NewLog(c, &out)
	require.ErrorContains(t, err, c.LogFile)
	require.Equal(t, fault.Resource, fault.KindOf(err))
	c.LogFile = ""
	_, closer, err = server.NewLog(c, &out)
	require.NoError(t, err)
	require.NoError(t, closer.Close())
}
