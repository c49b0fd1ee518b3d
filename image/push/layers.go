package push

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// source is the open bytes of a layer.
type source interface {
	io.ReaderAt
	io.Closer
}

// layer is a layer to publish. Its open may be called several times.
type layer struct {
	digest v1.Hash
	size   int64
	title  string
	// aside: it is no layer, and counts nowhere.
	aside bool
	open  func() (source, error)
}

// layersOf lists an image's layers.
func layersOf(img v1.Image) ([]layer, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(m.Layers) {
		return nil, fmt.Errorf("reading image: it has %d layers, its manifest %d", len(layers), len(m.Layers))
	}
	var out []layer
	for i, d := range m.Layers {
		out = append(out, layer{
			digest: d.Digest, size: d.Size, title: d.Annotations["org.opencontainers.image.title"],
			open: func() (source, error) { return openLayer(layers[i]) },
		})
	}
	return out, nil
}

// configOf is the image's config, a blob like the layers.
func configOf(img v1.Image) (layer, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return layer{}, err
	}
	digest, err := img.ConfigName()
	return layer{digest: digest, size: int64(len(raw)), title: "config", aside: true, open: func() (source, error) {
		return inMemory{bytes.NewReader(raw)}, nil
	}}, err
}

// inMemory is bytes in memory as a source.
type inMemory struct{ *bytes.Reader }

// Close does nothing.
func (inMemory) Close() error { return nil }

// openLayer opens a layer for reads at any offset: a view where it has one.
func openLayer(l v1.Layer) (source, error) {
	if l, ok := l.(interface{ View() (*image.View, error) }); ok {
		v, err := l.View()
		if errors.Is(err, image.ErrAbsent) {
			err = fault.Wrap(fault.Usage, "run the fetch target first: the registry does not have this layer yet", err)
		}
		if err != nil {
			return nil, err
		}
		return v, nil
	}
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	if s, ok := r.(source); ok {
		return s, nil
	}
	return &sequential{open: l.Compressed, reader: r}, nil
}

// sequential reads at any offset of what can only be read from its start: going back means
// opening it anew. It is safe for concurrent use.
type sequential struct {
	open   func() (io.ReadCloser, error)
	mu     sync.Mutex
	reader io.ReadCloser
	at     int64
}

// ReadAt implements io.ReaderAt.
func (s *sequential) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if off < s.at {
		r, err := s.open()
		if err != nil {
			return 0, err
		}
		s.reader.Close()
		s.reader, s.at = r, 0
	}
	skipped, err := io.CopyN(io.Discard, s.reader, off-s.at)
	s.at += skipped
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.reader, p)
	s.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Close closes the reader.
func (s *sequential) Close() error { return s.reader.Close() }
