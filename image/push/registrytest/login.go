package registrytest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Login is a docker configuration with the credentials for one registry: they come from a
// helper program of its own, docker-credential-fake, or lie in the file.
type Login struct{ dir string }

// NewLogin writes a helper that answers with user and password, neither of which may hold
// a quote, and a configuration that names it for one registry. See Env.
func NewLogin(t testing.TB, host, user, password string) Login {
	t.Helper()
	l := Login{dir: t.TempDir()}
	program := fmt.Sprintf("#!/bin/sh\nread -r registry\necho \"$1 $registry\" >>'%s'\n"+
		"printf '{\"Username\":\"%%s\",\"Secret\":\"%%s\"}' '%s' '%s'\n", l.notes(), user, password)
	require.NoError(t, os.WriteFile(l.Helper(), []byte(program), 0o755))
	config := fmt.Sprintf(`{"credHelpers": {%q: "fake"}}`, host)
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "config.json"), []byte(config), 0o600))
	return l
}

// NewLoginFile writes the configuration that docker login writes where no helper is set up:
// user and password lie in it, for one registry. See Env.
func NewLoginFile(t testing.TB, host, user, password string) Login {
	t.Helper()
	l := Login{dir: t.TempDir()}
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, auth)
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "config.json"), []byte(config), 0o600))
	return l
}

// Env are the variables, as NAME=value, that make the configuration the only one to be
// found, and the helper one of the programs on PATH.
func (l Login) Env() []string {
	return []string{"DOCKER_CONFIG=" + l.dir, "HOME=" + l.dir, "REGISTRY_AUTH_FILE=", "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR=",
		"PATH=" + l.dir + string(os.PathListSeparator) + os.Getenv("PATH")}
}

// Helper is the path of the helper program.
func (l Login) Helper() string { return filepath.Join(l.dir, "docker-credential-fake") }

// Asked is what the helper was asked, in lines of "get HOST".
func (l Login) Asked(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(l.notes())
	require.NoError(t, err)
	return string(text)
}

func (l Login) notes() string { return filepath.Join(l.dir, "asked") }
