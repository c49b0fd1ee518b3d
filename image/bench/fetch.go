package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests"
)

const (
	fetchRepo = "bench/weights"
	fetchFile = "weights.bin"
	// connectionRate is what each connection of the throttled case gets, in bytes a second.
	connectionRate = 20_000_000
	// connections is how many the throttled case allows for: aria2c -x16, and our default.
	connections = 16
)

// fetchManifest is a manifest of the one file that is served.
const fetchManifest = `apiVersion: plimsoll/v1
name: weights
title: One large file
runtime: none
sources:
  - name: weights
    title: Weights
    role: base
    repo: ` + fetchRepo + `
    revision: main
    license: Apache-2.0
    path: weights
    rules:
      - name: weights
        keep: ["**"]
        reason: all of it
`

// The contestants of Fetch.
const (
	oursLocked = "plimsoll, one sum"  // the lock knows the layers
	oursFirst  = "plimsoll, two sums" // the first fetch also takes the layer's digest
	byCurl     = "curl, openssl"
	bySync     = "curl, openssl, sync"
	byAria     = "aria2c -x16, openssl"
)

// fetchBench is one run of Fetch.
type fetchBench struct {
	*session
	hub    *loopbackHub
	sum    string
	first  []byte // the lock before the first fetch
	locked []byte // the lock that knows the layers
}

// Fetch downloads a file (4 GB, 3 rounds) from a loopback Hub until it is proven by its
// sha256, in three cases: as fast as it goes; with 20 MB/s for each connection; with 5 % of
// the connections reset halfway. curl, which has one connection, has no part in the last two.
//
// The aims: unlimited at most 0.80 of curl and openssl; throttled at most 0.90 of aria2c
// and openssl; cut at most 1.02 of the size downloaded; 1.00 of it written, nothing read.
func Fetch(ctx context.Context, o Options) (*Result, error) {
	s, err := open("fetch", o, standard{size: 4e9, runs: 3, room: 2.1})
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &fetchBench{session: s}
	defer b.stop()
	if err := b.prepareAll(ctx); err != nil {
		return nil, err
	}
	if err := b.cases(ctx); err != nil {
		return nil, err
	}
	b.judge()
	return s.finish()
}

// prepareAll makes the file, the Hub and the two locks, and touches everything once.
func (b *fetchBench) prepareAll(ctx context.Context) (err error) {
	b.find(ctx, "openssl", "curl", "aria2c", "sync")
	b.tell("generating %d bytes", b.size)
	if b.sum, err = generate(ctx, b.path(fetchFile), 1, b.size); err != nil {
		return err
	}
	content, err := hubtest.FileContent(b.path(fetchFile))
	if err != nil {
		return err
	}
	if b.hub, err = serve(fetchRepo, map[string]hubtest.File{fetchFile: {Content: content, LFS: true, SHA256: b.sum}}); err != nil {
		return err
	}
	if err := b.makeLocks(ctx, b.path("first")); err != nil {
		return err
	}
	b.tell("measuring the floors")
	return b.floors(true)
}

func (b *fetchBench) stop() {
	if b.hub != nil {
		_ = b.hub.Close()
	}
}

// makeLocks runs lock and fetch, and keeps the lock after each.
func (b *fetchBench) makeLocks(ctx context.Context, dir string) error {
	b.tell("locking and fetching once")
	defer os.RemoveAll(dir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(manifestIn(dir), []byte(fetchManifest), 0o644); err != nil {
		return err
	}
	for _, step := range []struct {
		verb []string
		lock *[]byte
	}{{[]string{"lock"}, &b.first}, {[]string{"fetch", "-yes=true"}, &b.locked}} {
		if err := b.prepare(ctx, b.ours(dir, step.verb...)); err != nil {
			return err
		}
		data, err := os.ReadFile(manifests.LockPath(manifestIn(dir)))
		if err != nil {
			return err
		}
		*step.lock = data
	}
	return nil
}

func manifestIn(dir string) string { return filepath.Join(dir, "weights.yaml") }

// ours is one of plimsoll's targets in a folder with manifest and lock.
func (b *fetchBench) ours(dir string, args ...string) command {
	return b.targets(dir, b.hub.URL(), append(args, "-model="+manifestIn(dir))...)
}

// cases runs the three situations.
func (b *fetchBench) cases(ctx context.Context) error {
	one, two := b.plimsoll(oursLocked, b.locked), b.plimsoll(oursFirst, b.first)
	curl, aria := b.curl(byCurl), b.aria()
	for _, c := range []struct {
		name, title string
		faults      func() []hubtest.Fault
		list        []contestant
	}{
		{"unlimited", "unlimited", nil, []contestant{one, two, curl, b.durable(), aria}},
		{"throttled", "20 MB/s for each connection", throttled(connectionRate), []contestant{one, aria}},
		{"cut", "5 % of connections reset halfway", cuts(b.size), []contestant{one, aria}},
	} {
		b.hub.faults = c.faults
		for i := range c.list {
			c.list[i].reads = []string{b.path(fetchFile)}
		}
		if err := b.contest(ctx, c.name, c.title, b.hub, c.list...); err != nil {
			return err
		}
	}
	return nil
}

// plimsoll is our target fetch, beginning with a lock.
func (b *fetchBench) plimsoll(name string, lock []byte) contestant {
	return contestant{
		name: name,
		ready: func(_ context.Context, dir string) error {
			if err := os.WriteFile(manifestIn(dir), []byte(fetchManifest), 0o644); err != nil {
				return err
			}
			return os.WriteFile(manifests.LockPath(manifestIn(dir)), lock, 0o644)
		},
		script: func(dir string) script { return script{{b.ours(dir, "fetch", "-yes=true")}} },
		check: func(dir string, _ outcome, first bool) error {
			return b.proven(blobPath(filepath.Join(dir, "hf"), fetchRepo, b.sum), first)
		},
	}
}

// proven looks at the file that our target says it has verified; once it reads it too.
func (b *fetchBench) proven(path string, read bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() != b.size {
		return fmt.Errorf("checking %s: its size is %d, %d were served", path, info.Size(), b.size)
	}
	if !read {
		return nil
	}
	got, err := sumOf(path)
	if err != nil || got == b.sum {
		return err
	}
	return fmt.Errorf("checking %s: its sha256 is %s, %s was served", path, got, b.sum)
}

// curl has one connection.
func (b *fetchBench) curl(name string) contestant {
	return b.others(name, "curl", func(dir string) []string {
		return []string{"--fail", "--silent", "--show-error", "--location", "--output", filepath.Join(dir, fetchFile), b.url()}
	})
}

// durable is curl with what our fetch does too: in the end the file is on the disk.
func (b *fetchBench) durable() contestant {
	x := b.curl(bySync)
	x.needs = append(x.needs, "sync")
	download := x.script
	x.script = func(dir string) script {
		return append(download(dir), []command{{program: b.result.program("sync"), args: []string{filepath.Join(dir, fetchFile)}}})
	}
	return x
}

// aria has 16. Space is reserved by fallocate, which costs it nothing.
func (b *fetchBench) aria() contestant {
	return b.others(byAria, "aria2c", func(dir string) []string {
		return []string{"--no-conf=true", "--quiet=true", "-x16", "-s16", "--file-allocation=falloc", "--dir=" + dir, "--out=" + fetchFile, b.url()}
	})
}

// others download by a program of others, then hash with openssl.
func (b *fetchBench) others(name, program string, args func(dir string) []string) contestant {
	return contestant{
		name: name, needs: []string{program, "openssl"},
		script: func(dir string) script {
			return script{{{program: b.result.program(program), args: args(dir)}}, {b.opensslSum(filepath.Join(dir, fetchFile))}}
		},
		check: func(_ string, out outcome, _ bool) error {
			got := strings.Join(sums(out.stdout[1]), " ")
			if got != b.sum {
				return fmt.Errorf("checking the download: its sha256 is %s, %s was served", got, b.sum)
			}
			return nil
		},
	}
}

func (b *fetchBench) url() string {
	return b.hub.URL() + "/" + fetchRepo + "/resolve/main/" + fetchFile
}

// judge enters the ratios.
func (b *fetchBench) judge() {
	r, size := b.result, float64(b.size)
	locked := entry{"unlimited", oursLocked}
	r.compare(locked, entry{"unlimited", byCurl}, "wall", wall, aim{AtMost, 0.80})
	r.compare(entry{"unlimited", oursFirst}, entry{"unlimited", byCurl}, "wall", wall, aim{})
	r.compare(locked, entry{"unlimited", bySync}, "wall", wall, aim{})
	r.compare(locked, entry{"unlimited", byAria}, "wall", wall, aim{})
	r.compare(locked, entry{"unlimited", byCurl}, "CPU", cpu, aim{})
	r.compare(entry{"throttled", oursLocked}, entry{"throttled", byAria}, "wall", wall, aim{AtMost, 0.90})
	// What comes from the Hub is read once and what is written is read back once, for the sum.
	downloaded := func(s Sample) float64 { return float64(s.CallsRead - b.size) }
	r.share(entry{"cut", oursLocked}, "downloaded / size", size, downloaded, aim{AtMost, 1.02})
	r.share(entry{"cut", oursLocked}, "served / size", size, transferred, aim{})
	for _, c := range r.Cases {
		r.share(entry{c.Name, oursLocked}, "disk written / size", size, diskWritten, aim{AtMost, 1})
		r.share(entry{c.Name, oursLocked}, "disk read / size", size, diskRead, aim{AtMost, 0})
	}
	b.gaps()
	r.Notes = append(r.Notes,
		"one sum: the lock knows the layers' digests; two sums: the first fetch of a file",
		"our file is on the disk when fetch ends, as with sync; the others leave theirs in the page cache",
		"served is what the Hub sent, with what lay in the kernel's buffers when a connection ended; downloaded is what fetch read of it")
}

// floorWire is the time that the connections of the throttled case take.
const floorWire = "16 connections of 20 MB/s"

// gaps enters how far we are from what cannot be beaten.
func (b *fetchBench) gaps() {
	r := b.result
	r.floor(floorWire, connections*connectionRate)
	for _, c := range r.Cases {
		names := []string{floorHash, floorDisk}
		if c.Name == "throttled" {
			names = append(names, floorWire)
		}
		f := r.highest(names...)
		r.share(entry{c.Name, oursLocked}, "wall / floor ("+f.Name+")", f.Seconds, wall, aim{})
	}
}
