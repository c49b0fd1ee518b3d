package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

func TestOptions(t *testing.T) {
	d := standard{size: 2000, runs: 3, room: 1.5}
	out := t.TempDir()
	s, err := open("x", Options{Out: out}, d)
	require.NoError(t, err)
	require.Equal(t, int64(2000), s.size)
	require.Equal(t, 3, s.Runs)
	require.Equal(t, filepath.Join(out, "bench", "x"), s.dir)
	own, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, own, s.Program)
	require.True(t, filepath.IsAbs(s.Root))

	s.close()

	s, err = open("x", Options{Out: out, Size: "1.5 kB", Runs: 7}, d)
	require.NoError(t, err)
	defer s.close()
	require.Equal(t, int64(1500), s.result.Size)
	require.Equal(t, 7, s.result.Runs)
}

func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		kind fault.Kind
	}{
		{Options{Size: "much"}, fault.Usage},
		{Options{Size: "0"}, fault.Usage},
		{Options{Size: "1 GB", Runs: -1}, fault.Usage},
		{Options{Size: "900000 TB"}, fault.Resource},
	} {
		c.o.Out = t.TempDir()
		_, err := open("x", c.o, standard{size: 1, runs: 1, room: 2})
		require.Equal(t, c.kind, fault.KindOf(err), "%v: %v", c.o, err)
		if c.kind == fault.Resource {
			require.Contains(t, fault.HintOf(err), "-size")
		}
	}
}

// TestLeftoversGo: what a killed bench left is removed, the result of the last one stays.
func TestLeftoversGo(t *testing.T) {
	out := t.TempDir()
	left := filepath.Join(out, "bench", "x", "turn", "weights.bin")
	require.NoError(t, os.MkdirAll(filepath.Dir(left), 0o755))
	require.NoError(t, os.WriteFile(left, []byte("old"), 0o600))
	var said bytes.Buffer
	s, err := open("x", Options{Out: out, Stderr: &said}, standard{size: 1, runs: 1})
	require.NoError(t, err)
	require.NoFileExists(t, left)
	require.DirExists(t, s.dir)
	r, err := s.finish()
	require.NoError(t, err)
	s.close()
	require.NoDirExists(t, s.dir)
	data, err := os.ReadFile(filepath.Join(out, "bench", "x.json"))
	require.NoError(t, err)
	var back Result
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, r.Machine, back.Machine)
	require.Contains(t, said.String(), "x.json")
}

func TestProgramsAreFoundOrNamed(t *testing.T) {
	alone(t)
	s := newSession(t, 1, 1)
	dir := os.Getenv("PATH")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\necho curl 9.9 '('for  tests')' with many words\necho more\n"), 0o755))
	s.find(t.Context(), "curl", "aria2c")
	require.Equal(t, []Program{
		{Name: "curl", Path: filepath.Join(dir, "curl"), Version: "curl 9.9 (for tests) with", Get: "apt-get install curl"},
		{Name: "aria2c", Get: "apt-get install aria2"},
	}, s.result.Programs)
	require.Equal(t, []string{"aria2c"}, s.missing(contestant{needs: []string{"curl", "aria2c"}}))
}

// TestGoPrograms: go install puts programs where PATH need not lead.
func TestGoPrograms(t *testing.T) {
	alone(t)
	bin := filepath.Join(os.Getenv("PATH"), "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "crane"), []byte("#!/bin/sh\necho v1\n"), 0o755))
	p := lookFor(t.Context(), "crane")
	require.Equal(t, filepath.Join(bin, "crane"), p.Path)
	require.Equal(t, "v1", p.Version)
}

// TestEveryProgramSaysHowToGetIt: an absent one is named with the way to it.
func TestEveryProgramSaysHowToGetIt(t *testing.T) {
	for name, k := range known {
		require.NotEmpty(t, k.get, name)
		require.NotEmpty(t, k.version, name)
	}
}
