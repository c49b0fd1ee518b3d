package flow_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/image/flow/magetest"
	"github.com/plimsoll-oci/plimsoll/image/push/registrytest"
	"github.com/plimsoll-oci/plimsoll/verify/interoptest"
)

// bigModel is a manifest of one large file, cut into parts.
const bigModel = `apiVersion: plimsoll/v1
name: big
title: Big
runtime: none
partSize: 1.5 GB
sources:
  - name: base
    title: Big
    role: base
    repo: owner/big
    revision: main
    license: Apache-2.0
    path: big
    rules:
      - name: weights
        keep: ["**"]
        reason: all of it
`

// maxResident bounds the resident memory of a target, in bytes, at whatever size of model.
const maxResident = 150_000_000

// TestInteropFlatMemory: 4 GB go through fetch, build and publish to a registry of others,
// each a process of its own, and none of them needs more than 150 MB.
func TestInteropFlatMemory(t *testing.T) {
	interoptest.Require(t, "docker-registry")
	const size = 4_000_000_000
	hub := hubtest.New()
	_, err := hub.Add(hubtest.Repo{Name: "owner/big", Files: map[string]hubtest.File{
		"weights.bin": {Content: hubtest.Noise(1, size), LFS: true},
	}})
	require.NoError(t, err)
	url, err := hub.Start()
	require.NoError(t, err)
	t.Cleanup(func() { hub.Close() })

	dir := t.TempDir()
	manifest := filepath.Join(dir, "big.yaml")
	require.NoError(t, os.WriteFile(manifest, []byte(bigModel), 0o644))
	magefile := magetest.Compile(t, root)
	host := registrytest.Start(t, registrytest.Options{}).Host
	for _, args := range [][]string{
		{"fetch", "-model=" + manifest, "-yes=true"}, {"build", "-model=" + manifest}, {"publish", "-model=" + manifest, "-target=" + host + "/big:1"},
	} {
		c := exec.Command(magefile, args...)
		c.Dir = root
		c.Env = append(os.Environ(), "HF_ENDPOINT="+url, "HF_HOME="+filepath.Join(dir, "hf"), "PLIMSOLL_OUT="+filepath.Join(dir, "out"), "CI=")
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		require.NoError(t, c.Start())
		resident := residence(c.Process.Pid)
		require.NoError(t, c.Wait(), "%s", &out)
		peak := resident()
		t.Logf("%s of %d bytes: at most %d bytes resident", args[0], int64(size), peak)
		require.Less(t, peak, int64(maxResident), args[0])
	}
}

// residence watches a running process; what it returns waits for nothing and says how much
// memory the process has held at most, in bytes. (ru_maxrss would not do: it begins with the
// peak of the process that forked, and counts children.)
func residence(pid int) func() int64 {
	var peak atomic.Int64
	var wait sync.WaitGroup
	done := make(chan struct{})
	wait.Go(func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			peak.Store(max(peak.Load(), highWater(pid)))
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	return func() int64 {
		close(done)
		wait.Wait()
		return peak.Load()
	}
}

// highWater is the most memory that a running process has held, in bytes; 0 if it has ended
// (proc(5), VmHWM).
func highWater(pid int) (kilobytes int64) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, line, _ := strings.Cut(string(data), "VmHWM:")
	_, _ = fmt.Sscan(line, &kilobytes)
	return kilobytes * 1024
}
