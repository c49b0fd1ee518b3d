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
// take: cgroup v2's files, then v1's.
const memInfo = "/proc/meminfo"

var cgroups = []struct{ limit, used string }{
	{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
	{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
}

// freeMemory is how many bytes this process can still take without being killed for it.
func freeMemory() (int64, error) {
	f, err := os.Open(memInfo)
	if err != nil {
		return 0, fault.Wrap(fault.Resource, "", fmt.Errorf("asking for free memory: %w", err))
	}
	defer f.Close()
	free, err := available(f)
	if err != nil {
		return 0, fault.Wrap(fault.Resource, "", fmt.Errorf("asking for free memory: %s: %w", memInfo, err))
	}
	for _, group := range cgroups {
		limit, limited := number(group.limit)
		used, known := number(group.used)
		if limited && known {
			free = min(free, max(0, limit-used))
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

// number reads a file of one number. "max" is none.
func number(name string) (int64, bool) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}
