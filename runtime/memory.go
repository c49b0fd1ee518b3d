package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Activations may take three quarters of the memory that is free: the rest is for the page
// cache, in which the weights are.
const (
	arenaParts = 3
	arenaOf    = 4
)

// Where the system says how much memory there is, and how much of it this container may
// take: cgroup v2's files, then v1's. What a container uses has the page cache in it, the
// mapped weights among that, which the kernel takes back before it kills anybody.
const memInfo = "proc/meminfo"

var cgroups = []struct{ limit, used, details, active, inactive string }{
	{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat", "active_file", "inactive_file"},
	{
		"sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes",
		"sys/fs/cgroup/memory/memory.stat", "total_active_file", "total_inactive_file",
	},
}

// freeMemory is how many bytes this process can still take without being killed for it.
func freeMemory() (int64, error) {
	free, err := freeIn(os.DirFS("/"))
	if err != nil {
		return 0, fault.Wrap(fault.Resource, "", fmt.Errorf("asking for free memory: %w", err))
	}
	return free, nil
}

// freeIn is freeMemory of the system whose root is given.
func freeIn(root fs.FS) (int64, error) {
	f, err := root.Open(memInfo)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	free, err := available(f)
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", memInfo, err)
	}
	for _, group := range cgroups {
		limit, limited := number(root, group.limit)
		used, known := number(root, group.used)
		if limited && known {
			cache := detail(root, group.details, group.active) + detail(root, group.details, group.inactive)
			free = min(free, max(0, limit-max(0, used-cache)))
		}
	}
	return free, nil
}

// available reads the line MemAvailable of /proc/meminfo, which the kernel counts in KiB.
func available(r io.Reader) (int64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "MemAvailable:" && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.Join(errors.New("it has no line MemAvailable"), lines.Err())
}

// number reads a file of one number. "max" is none, and neither is a file that is not there.
func number(root fs.FS, name string) (int64, bool) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}

// detail reads a number from a file of lines "name number", 0 if it is not there.
func detail(root fs.FS, file, name string) int64 {
	data, err := fs.ReadFile(root, file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}
