package main

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// outcome is what a run of the program left.
type outcome struct {
	code           int
	stdout, stderr string
}

// runProgram runs a command line with the given environment and no other.
func runProgram(t *testing.T, env map[string]string, args ...string) outcome {
	t.Helper()
	return runContext(t.Context(), env, args...)
}

func runContext(ctx context.Context, env map[string]string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	code := run(ctx, args, lookup, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

const known = "hint: known commands: serve, edit, bench, verify, devices, config, version, help\n"

func TestBadCommandLines(t *testing.T) {
	cases := []struct {
		args []string
		want string
	}{
		{nil, "no command is given\n" + known},
		{[]string{"train"}, `unknown command "train"` + "\n" + known},
		{[]string{"edti", "-image", "x.png"}, `unknown command "edti"` + "\n" + known},
		{[]string{""}, `unknown command ""` + "\n" + known},
		{[]string{"-json"}, `unknown command "-json"` + "\n" + known},
		{[]string{"help", "train"}, `unknown command "train"` + "\n" + known},
		{[]string{"help", "verify", "config"}, "help takes one command\n" + known},
		{[]string{"devices", "-jsn"}, "reading the command line of devices: flag provided but not defined: -jsn\nhint: plimsoll-runtime help devices lists its flags\n"},
		{[]string{"version", "extra"}, "reading the command line of version: unexpected argument \"extra\"\nhint: plimsoll-runtime help version lists its flags\n"},
		{[]string{"verify", "-jobs=many"}, "reading the command line of verify: invalid value \"many\" for flag -jobs: parse error\nhint: plimsoll-runtime help verify lists its flags\n"},
		{[]string{"verify", "-jobs=-1"}, "reading the command line of verify: jobs is -1, below 0\nhint: plimsoll-runtime help verify lists its flags\n"},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			require.Equal(t, outcome{2, "", "plimsoll-runtime: " + c.want}, runProgram(t, nil, c.args...))
		})
	}
}

func TestHelp(t *testing.T) {
	help := runProgram(t, nil, "help")
	require.Zero(t, help.code)
	for _, c := range commands() {
		require.Contains(t, help.stdout, "\n  "+c.name+" ")
		require.Contains(t, help.stdout, c.summary)

		one := runProgram(t, nil, "help", c.name)
		require.Zero(t, one.code)
		require.Contains(t, one.stdout, "usage: plimsoll-runtime "+c.name)
		require.Equal(t, one, runProgram(t, nil, c.name, "-h"))
	}
	require.Contains(t, help.stdout, "exit codes: 0 success, 1 internal, 2 usage, 5 invalid, 6 resource, 130 canceled\n")
	require.Contains(t, runProgram(t, nil, "help", "verify").stdout, "-models DIR")
	require.NotContains(t, runProgram(t, nil, "help", "help").stdout, "-flag=value")
	for _, flag := range []string{"-h", "-help", "--help"} {
		require.Equal(t, help, runProgram(t, nil, flag))
	}
}

func TestVersion(t *testing.T) {
	text := runProgram(t, nil, "version")
	require.Zero(t, text.code)
	require.Contains(t, text.stdout, "plimsoll-runtime "+programVersion+" (github.com/plimsoll-oci/plimsoll, "+runtime.Version())

	asJSON := runProgram(t, nil, "version", "-json")
	require.Zero(t, asJSON.code)
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(asJSON.stdout), &v))
	require.Equal(t, map[string]any{
		"schemaVersion": 1.0, "version": programVersion, "module": "github.com/plimsoll-oci/plimsoll", "go": runtime.Version(),
		"platform": runtime.GOOS + "/" + runtime.GOARCH, "packFormat": 1.0, "modelConfig": 1.0,
	}, v)
}

func TestResultThatCannotBeWritten(t *testing.T) {
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"version"}, func(string) (string, bool) { return "", false }, fullDisk{}, &stderr)
	require.Equal(t, 6, code)
	require.Equal(t, "plimsoll-runtime: writing the result: no space\n", stderr.String())
}
