package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// registryProgram is the command that serves a registry at an address, with its storage in
// a folder.
type registryProgram func(dir, address string) (command, error)

// startup bounds how long a registry may take to answer.
const startup = 20 * time.Second

// registryConfig is the configuration of distribution, of major versions 2 and 3.
const registryConfig = `version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %q}, maintenance: {uploadpurging: {enabled: false}}}
http: {addr: %q, secret: none}
`

// installedRegistry finds Debian's docker-registry, or the registry of distribution.
func (s *session) installedRegistry(ctx context.Context) (registryProgram, error) {
	program := ""
	for _, name := range []string{"docker-registry", "registry"} {
		if program == "" {
			s.find(ctx, name)
			program = s.result.program(name)
		}
	}
	if program == "" {
		return nil, fault.Wrap(fault.Resource, "install one: "+known["docker-registry"].get, errors.New("benching publish: there is no registry to publish to"))
	}
	return func(dir, address string) (command, error) {
		config := filepath.Join(dir, "registry.yml")
		text := fmt.Sprintf(registryConfig, filepath.Join(dir, "data"), address)
		return command{program: program, args: []string{"serve", config}}, os.WriteFile(config, []byte(text), 0o600)
	}, nil
}

// registry is a running registry with a storage of its own.
type registry struct {
	host string
	p    *process
	done chan error
	cpu  float64
}

var _ server = (*registry)(nil)

// startRegistry starts a registry in a new folder and waits until it answers.
func startRegistry(ctx context.Context, program registryProgram, dir string) (*registry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{host: l.Addr().String(), done: make(chan error, 1)}
	c, err := program(dir, r.host)
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	if r.p, err = start(ctx, c); err != nil {
		return nil, err
	}
	go func() {
		_, err := r.p.wait()
		r.done <- err
	}()
	if err := r.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a registry: %w", err), r.stop())
	}
	return r, nil
}

// await asks until the registry answers.
func (r *registry) await(ctx context.Context) error {
	deadline := time.Now().Add(startup)
	for {
		status, err := r.head(ctx, "")
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case err := <-r.done:
			r.done <- err
			return errors.Join(errors.New("it ended at once"), err)
		case <-time.After(sampling):
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("it does not serve after %s: status %d", startup, status), err)
		}
	}
}

// head asks for a path below /v2/ and returns the status.
func (r *registry) head(ctx context.Context, path string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+r.host+"/v2/"+path, nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// holds reports the first of the digests that the registry does not have.
func (r *registry) holds(ctx context.Context, repository string, digests []string) error {
	for _, d := range digests {
		status, err := r.head(ctx, repository+"/blobs/"+d)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("checking what was published: the registry answers %d for %s", status, d)
		}
	}
	return nil
}

// carries reports an image under a tag whose layers hold fewer bytes than they must.
func (r *registry) carries(ctx context.Context, repository, tag string, least int64) error {
	ref, err := name.NewTag(r.host+"/"+repository+":"+tag, name.Insecure)
	if err != nil {
		return err
	}
	image, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("checking what was published: %w", err)
	}
	m, err := image.Manifest()
	if err != nil {
		return fmt.Errorf("checking what was published: %w", err)
	}
	var sum int64
	for _, l := range m.Layers {
		sum += l.Size
	}
	if sum < least {
		return fmt.Errorf("checking what was published: %s has %d bytes in layers, the model %d", ref, sum, least)
	}
	return nil
}

// begin implements server.
func (r *registry) begin() { r.cpu = cpuOf(r.p.cmd.Process.Pid) }

// end implements server.
func (r *registry) end(s *Sample) { s.ServerSeconds = cpuOf(r.p.cmd.Process.Pid) - r.cpu }

// stop ends the registry and waits for it. That it was killed is no error.
func (r *registry) stop() error {
	http.DefaultClient.CloseIdleConnections()
	err := r.p.kill()
	<-r.done
	return err
}
