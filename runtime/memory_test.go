package main

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// TestFreeMemory: what the machine has, or less in a container that may take less; page cache
// is no memory that is gone.
func TestFreeMemory(t *testing.T) {
	const meminfo = "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:   16000000 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no container": {nil, 16000000 << 10},
		"no limit":     {map[string]string{"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "5\n"}, 16000000 << 10},
		"limit": {map[string]string{
			"sys/fs/cgroup/memory.max": "8000000000\n", "sys/fs/cgroup/memory.current": "7000000000\n",
		}, 1000000000},
		"weights in the page cache": {map[string]string{
			"sys/fs/cgroup/memory.max": "8000000000\n", "sys/fs/cgroup/memory.current": "7999000000\n",
			"sys/fs/cgroup/memory.stat": "anon 900000000\nfile 6500000000\ninactive_file 4000000000\nactive_file 2000000000\n",
		}, 6001000000},
		"over the limit": {map[string]string{"sys/fs/cgroup/memory.max": "8\n", "sys/fs/cgroup/memory.current": "9\n"}, 0},
		"version 1": {map[string]string{
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "8000000000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "6000000000\n",
			"sys/fs/cgroup/memory/memory.stat": "active_file 1\ntotal_inactive_file 3000000000\ntotal_active_file 1000000000\n",
		}, 6000000000},
		"more cache than use": {map[string]string{
			"sys/fs/cgroup/memory.max": "8000\n", "sys/fs/cgroup/memory.current": "10\n", "sys/fs/cgroup/memory.stat": "active_file 20\n",
		}, 8000},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{memInfo: {Data: []byte(meminfo)}}
			for file, text := range c.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			free, err := freeIn(root)
			require.NoError(t, err)
			require.Equal(t, c.want, free)
		})
	}
	_, err := freeIn(fstest.MapFS{})
	require.ErrorContains(t, err, memInfo)
	_, err = freeIn(fstest.MapFS{memInfo: {Data: []byte("MemFree: 1 kB\n")}})
	require.ErrorContains(t, err, "/proc/meminfo: it has no line MemAvailable")
	free, err := freeMemory()
	require.NoError(t, err)
	require.Positive(t, free)
}
