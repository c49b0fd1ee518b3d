package bench

import (
	"context"
	"go/build"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is a program of others that a bench compares with.
type Program struct {
	Name string `json:"name"`
	// Path is where it was found, "" if it is missing.
	Path string `json:"path,omitempty"`
	// Version is how its own description of itself begins.
	Version string `json:"version,omitempty"`
	// Get is the command that installs it on Debian or with Go.
	Get string `json:"get"`
}

// known says, for each program, how to ask for its version and how to get it.
var known = map[string]struct {
	version []string
	get     string
}{
	"openssl":         {[]string{"version"}, "apt-get install openssl"},
	"curl":            {[]string{"--version"}, "apt-get install curl"},
	"aria2c":          {[]string{"--version"}, "apt-get install aria2"},
	"skopeo":          {[]string{"--version"}, "apt-get install skopeo"},
	"crane":           {[]string{"version"}, "go install github.com/google/go-containerregistry/cmd/crane@v0.22.1"},
	"oras":            {[]string{"version"}, "go install oras.land/oras/cmd/oras@v1.3.6"},
	"oci-modelcar":    {[]string{"--version"}, "pip install oci-modelcar==1.3.0"},
	"sync":            {[]string{"--version"}, "apt-get install coreutils"},
	"docker-registry": {[]string{"--version"}, "apt-get install docker-registry"},
	"containerd":      {[]string{"--version"}, "apt-get install containerd"},
	"ctr":             {[]string{"--version"}, "apt-get install containerd"},
	"podman":          {[]string{"--version"}, "apt-get install podman"},
	"runc":            {[]string{"--version"}, "apt-get install runc"},
	"registry":        {[]string{"--version"}, "go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2"},
}

// find looks for programs and enters what it sees into the result.
func (s *session) find(ctx context.Context, names ...string) {
	for _, name := range names {
		p := lookFor(ctx, name)
		s.result.Programs = append(s.result.Programs, p)
		if p.Path == "" {
			s.tell("%s is missing: %s", name, p.Get)
		}
	}
}

// lookFor looks on PATH, then where go install puts programs.
func lookFor(ctx context.Context, name string) Program {
	p := Program{Name: name, Get: known[name].get}
	for _, at := range []string{name, filepath.Join(build.Default.GOPATH, "bin", name)} {
		path, err := exec.LookPath(at)
		if err != nil {
			continue
		}
		p.Path = path
		said, _ := exec.CommandContext(ctx, path, known[name].version...).Output()
		first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		words := strings.Fields(first)
		p.Version = strings.Join(words[:min(len(words), 5)], " ")
		return p
	}
	return p
}

// program is the path of a program, "" if it is missing.
func (r *Result) program(name string) string {
	for _, p := range r.Programs {
		if p.Name == name {
			return p.Path
		}
	}
	return ""
}
