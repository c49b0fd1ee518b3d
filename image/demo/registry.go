package demo

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// localRegistry is a registry in this process, on a loopback port. Blobs lie on disk and
// survive it; manifests do not.
type localRegistry struct {
	server *http.Server
	host   string
	done   chan error
}

func startRegistry(dir string) (*localRegistry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)), registry.Logger(log.New(io.Discard, "", 0)))
	r := &localRegistry{
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
		host:   l.Addr().String(),
		done:   make(chan error, 1),
	}
	go func() { r.done <- r.server.Serve(l) }()
	return r, nil
}

// reference is where the demo publishes to.
func (r *localRegistry) reference() string { return r.host + "/demo/qwen-image-edit:latest" }

// close stops the server and waits for it.
func (r *localRegistry) close() error {
	err := r.server.Close()
	if served := <-r.done; !errors.Is(served, http.ErrServerClosed) {
		return errors.Join(err, served)
	}
	return err
}
