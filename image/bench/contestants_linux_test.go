package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// everything is a session that believes to have all programs, each in /opt.
func everything(t *testing.T) *session {
	t.Helper()
	s := newSession(t, 1000, 1)
	for name := range known {
		s.result.Programs = append(s.result.Programs, Program{Name: name, Path: "/opt/" + name})
	}
	return s
}

// TestDownloads: what the others are asked to do, word for word.
func TestDownloads(t *testing.T) {
	b := &fetchBench{session: everything(t)}
	var err error
	b.hub, err = serve(fetchRepo, map[string]hubtest.File{fetchFile: {Content: hubtest.Noise(1, 10), LFS: true}})
	require.NoError(t, err)
	t.Cleanup(b.stop)
	url := b.hub.URL() + "/bench/weights/resolve/main/weights.bin"
	hash := "openssl dgst -sha256 -r /turn/weights.bin"
	for _, c := range []struct {
		x    contestant
		want []string
	}{
		{b.curl(byCurl), []string{"curl --fail --silent --show-error --location --output /turn/weights.bin " + url, hash}},
		{b.durable(), []string{"curl --fail --silent --show-error --location --output /turn/weights.bin " + url, hash, "sync /turn/weights.bin"}},
		{b.aria(), []string{"aria2c --no-conf=true --quiet=true -x16 -s16 --file-allocation=falloc --dir=/turn --out=weights.bin " + url, hash}},
		{b.plimsoll(oursLocked, nil), []string{"mage fetch -yes=true -model=/turn/weights.yaml"}},
	} {
		stages := c.x.script("/turn")
		require.Equal(t, c.want, stages.lines(), c.x.name)
		require.Len(t, stages, len(c.want), "one after the other")
		for _, p := range stages.programs() {
			require.True(t, filepath.IsAbs(p), p)
		}
	}
}

// TestPublications: the same layers, or the same files, to the same reference.
func TestPublications(t *testing.T) {
	b := &publishBench{session: everything(t), digests: []string{"sha256:aa", "sha256:bb"}, blobs: []string{"/hf/1", "/hf/2"}}
	b.model = &model{session: b.session, dir: "/model"}
	layout := b.path("layout")
	want := []string{
		"mage publish -target=host/repo:1 -model=/model/with-none.yaml",
		"crane push " + layout + " host/repo:1",
		"skopeo --insecure-policy copy --quiet --preserve-digests --dest-tls-verify=false oci:" + layout + " docker://host/repo:1",
		"oras push --plain-http --disable-path-validation host/repo:1 /hf/1 /hf/2",
		"oci-modelcar push --quiet --hf-repo " + modelRepo + " --registry host --target-repo repo --target-tag 1",
	}
	for i, p := range b.publishers() {
		require.Equal(t, want[i], p.command("host/repo:1").String())
	}
	require.Equal(t, []string{layout + "/blobs/sha256/aa", layout + "/blobs/sha256/bb"}, b.exported())
}

// TestOurEnvironment: nothing of the user's Hub reaches a measured target.
func TestOurEnvironment(t *testing.T) {
	t.Setenv("HF_TOKEN", "a-secret")
	t.Setenv("HF_HUB_CACHE", "/home/user/models")
	t.Setenv("CI", "true")
	t.Setenv(act, "1")
	s := newSession(t, 1, 1)
	s.Root, s.Program = ".", acting().program
	for name, want := range map[string]string{
		"HF_TOKEN": "", "HF_HUB_CACHE": "", "CI": "", "HF_ENDPOINT": "http://hub", "HF_HOME": "/dir/hf", "PLIMSOLL_OUT": "/dir/out",
		"NO_PROXY": "127.0.0.1,127.0.0.2,localhost",
	} {
		out := measured(t, s.targets("/dir", "http://hub", "env", name))
		require.Equal(t, []string{want}, out.stdout, name)
	}
}

func TestTargetHas(t *testing.T) {
	t.Setenv(act, "1")
	s := newSession(t, 1, 1)
	s.Root, s.Program = ".", acting().program
	for flag, want := range map[string]bool{"force": true, "deep": false} {
		has, err := s.targetHas(t.Context(), "verify", flag)
		require.NoError(t, err)
		require.Equal(t, want, has, flag)
	}
	s.Program = "/does/not/exist"
	_, err := s.targetHas(t.Context(), "verify", "force")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestVerificationsAreChecked: an exit code of 0 is not believed alone.
func TestVerificationsAreChecked(t *testing.T) {
	list, err := checkpointsOf(2, 1000)
	require.NoError(t, err)
	m := &model{session: everything(t), dir: "/model", list: list}
	ours := m.verifier(oursVerify, "-force=true")
	require.Equal(t, []string{"mage verify -force=true -model=/model/with-none.yaml"}, ours.script("").lines())
	both := list[0].file + " ok\n" + list[1].file + " ok\n"
	require.NoError(t, ours.check("", outcome{stdout: []string{both}}, true))
	require.ErrorContains(t, ours.check("", outcome{stdout: []string{list[0].file}}, true), list[1].file+" is not in it")

	theirs := m.openssl([]string{"/blobs/aa", "/blobs/bb"})
	require.Len(t, theirs.script(""), 1, "side by side")
	require.Equal(t, []string{"openssl dgst -sha256 -r /blobs/aa", "openssl dgst -sha256 -r /blobs/bb"}, theirs.script("").lines())
	require.NoError(t, theirs.check("", outcome{stdout: []string{"aa */blobs/aa\n", "bb */blobs/bb\n"}}, true))
	require.ErrorContains(t, theirs.check("", outcome{stdout: []string{"aa *x\n", "ab *x\n"}}, true), "checking /blobs/bb: openssl says ab")
}

// TestInstalledRegistry: Debian's, else the one of distribution, each with our settings.
func TestInstalledRegistry(t *testing.T) {
	for _, name := range []string{"registry", "docker-registry"} {
		alone(t)
		for _, there := range []string{name, "registry"} {
			require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("PATH"), there), []byte("#!/bin/sh\necho 1\n"), 0o755))
		}
		s := newSession(t, 1, 1)
		program, err := s.installedRegistry(t.Context())
		require.NoError(t, err)
		dir := t.TempDir()
		c, err := program(dir, "127.0.0.1:99")
		require.NoError(t, err)
		require.Equal(t, name+" serve "+filepath.Join(dir, "registry.yml"), c.String())
		config, err := os.ReadFile(filepath.Join(dir, "registry.yml"))
		require.NoError(t, err)
		require.Contains(t, string(config), `addr: "127.0.0.1:99"`)
		require.Contains(t, string(config), `rootdirectory: "`+dir+`/data"`)
	}
}

// cutting is a bench whose publication writes to a file instead.
func cutting(t *testing.T, script ...string) (*publishBench, *registry, publisher) {
	t.Helper()
	b := &publishBench{session: newSession(t, 4<<20, 1), again: map[string][]float64{}}
	r, err := startRegistry(t.Context(), actingRegistry, b.path("turn", "registry"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.stop() })
	p := publisher{name: oursPublish, command: func(string) command { return acting(script...) }}
	b.declare(resumed, "resumed", contestant{name: interrupted}, contestant{name: killed})
	return b, r, p
}

// TestCut: the first process ends on its way, the second is measured, what both sent over
// the size counts as sent twice.
func TestCut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	b, r, p := cutting(t, "pour", file, "4194304")
	for _, way := range []string{interrupted, killed} {
		require.NoError(t, b.cut(t.Context(), 0, r, p, way, b.path("turn")))
		require.Len(t, b.again[way], 1)
		require.GreaterOrEqual(t, b.again[way][0], cutAt, "this one begins anew")
		require.Less(t, b.again[way][0], 1.01)
		require.GreaterOrEqual(t, requireMedian(t, b.result, resumed, way).CallsWritten, int64(4<<20))
	}
}

// TestNothingToCut: what ends too soon is said, and is no measurement.
func TestNothingToCut(t *testing.T) {
	b, r, p := cutting(t, "say", "done")
	require.NoError(t, b.cut(t.Context(), 0, r, p, killed, b.path("turn")))
	require.Empty(t, b.again)
	require.Len(t, b.result.Notes, 1)
	require.Contains(t, b.result.Notes[0], killed+": the first publication was over too soon")
	_, missing := b.result.median(entry{resumed, killed})
	require.NotEmpty(t, missing)
}

// TestBothServersCount: CPU time of both, requests of the Hub.
func TestBothServersCount(t *testing.T) {
	a, h := &counting{}, &counting{}
	w := both{a, h}
	var s Sample
	w.begin()
	w.end(&s)
	require.Equal(t, []counting{{1, 1}, {1, 1}}, []counting{*a, *h})
	require.Equal(t, 1, s.Requests)
	require.InDelta(t, 0.5, s.ServerSeconds, 1e-9)
	nobody{}.begin()
	nobody{}.end(&s)
	require.Equal(t, 1, s.Requests)
}

func TestFreeSpace(t *testing.T) {
	n, err := freeSpace(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, n)
	_, err = freeSpace("/does/not/exist")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestOneBenchAtATime: a second one leaves the first one's files alone, and may run once it
// has ended.
func TestOneBenchAtATime(t *testing.T) {
	o := Options{Out: t.TempDir()}
	first, err := open("x", o, standard{size: 1, runs: 1})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(first.path("f"), nil, 0o600))
	for _, name := range []string{"x", "y"} {
		_, err = open(name, o, standard{size: 1, runs: 1})
		require.ErrorContains(t, err, "another bench is running in "+filepath.Join(o.Out, "bench"))
		require.Equal(t, fault.Usage, fault.KindOf(err))
		require.FileExists(t, first.path("f"))
	}
	first.close()
	second, err := open("x", o, standard{size: 1, runs: 1})
	require.NoError(t, err)
	require.NoFileExists(t, second.path("f"))
	second.close()
}
