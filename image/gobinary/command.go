package gobinary

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// passed are the variables of the caller that reach the go command: where to find
// programs, scratch space, proxies and certificates. None of them changes what is built.
var passed = []string{
	"PATH", "HOME", "TMPDIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "NETRC",
}

// asked are settings of the go command that say where modules and caches are, and whom to
// trust with them. They are asked for by go env, because a user may have set them in the
// environment or with go env -w; go.sum decides what a module is in the end.
var asked = []string{
	"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH",
}

// fixed are the settings that decide about code. An empty one is the toolchain's default:
// the go command takes it so because the user's env file is off.
var fixed = []string{
	"GOENV=off", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0", "GO111MODULE=on", "GOWORK=off",
	"GOFLAGS=", "GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=", "LC_ALL=C",
}

// toolchainLine is go.mod's toolchain directive (go.dev/ref/mod#go-mod-file-toolchain).
var toolchainLine = regexp.MustCompile(`(?m)^toolchain[ \t]+(go1[.][0-9A-Za-z.]+)[ \t]*(?://.*)?\r?$`)

// maxTail bounds the compiler's output in an error, in bytes.
const maxTail = 4 << 10

// command runs the go command on one module in an environment of our own.
type command struct {
	program   string
	dir       string
	toolchain string
	env       []string
}

// newCommand prepares the environment for a module.
func newCommand(ctx context.Context, dir string) (*command, error) {
	program, err := exec.LookPath("go")
	if err != nil {
		return nil, fault.Wrap(fault.Resource, "install Go from go.dev/dl", fmt.Errorf("looking for the go command: %w", err))
	}
	toolchain, err := readToolchain(dir)
	if err != nil {
		return nil, err
	}
	settings, err := ask(ctx, program)
	if err != nil {
		return nil, err
	}
	env := append(pass(), settings...)
	env = append(env, fixed...)
	return &command{program: program, dir: dir, toolchain: toolchain, env: append(env, "GOTOOLCHAIN="+toolchain)}, nil
}

// readToolchain returns the version in go.mod's toolchain line.
func readToolchain(dir string) (string, error) {
	file := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fault.Wrap(fault.Usage, "", fmt.Errorf("reading the toolchain version: %w", err))
	}
	m := toolchainLine.FindSubmatch(data)
	if m == nil {
		return "", fault.Wrap(fault.Usage, "add a toolchain line to go.mod", fmt.Errorf("reading the toolchain version: %s has no toolchain line", file))
	}
	return string(m[1]), nil
}

// pass returns the caller's variables that may pass.
func pass() []string {
	var out []string
	for _, name := range passed {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// ask returns the user's settings for finding modules. It runs outside of any module and
// without the variables that could make the go command fail or change itself.
func ask(ctx context.Context, program string) ([]string, error) {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(append(fixed, "GOTOOLCHAIN="), func(f string) bool {
			return strings.HasPrefix(f, name+"=") && name != "GOENV"
		})
	})
	c := command{program: program, dir: os.TempDir(), env: append(env, "GOWORK=off", "GOTOOLCHAIN=local")}
	out, err := c.run(ctx, append([]string{"env", "-json"}, asked...)...)
	if err != nil {
		return nil, err
	}
	var values map[string]string
	if err := json.Unmarshal(out, &values); err != nil {
		return nil, fmt.Errorf("reading the settings of the go command: %w", err)
	}
	var settings []string
	for _, name := range asked {
		if values[name] != "" {
			settings = append(settings, name+"="+values[name])
		}
	}
	return settings, nil
}

// run runs the go command to its end and returns its standard output. When ctx ends, go is
// interrupted and given time to stop its compilers and remove its work folder.
func (c *command) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("running go %s: %w", args[0], context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("running go %s: %w: %s", args[0], err, tail(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// tail returns the last lines of output that fit into maxTail.
func tail(output []byte) string {
	output = bytes.TrimSpace(output)
	if len(output) > maxTail {
		output = output[len(output)-maxTail:]
		if _, after, ok := bytes.Cut(output, []byte("\n")); ok {
			output = after
		}
	}
	if len(output) == 0 {
		return "it printed nothing"
	}
	return string(output)
}
