package contents

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// maxTries is how often a broken stream is taken up again without a byte in between.
const maxTries = 5

// stream is a blob over a network. A connection that breaks is taken up where it was; that
// what arrives is still the same blob is for its digest to say.
type stream struct {
	ctx   context.Context
	get   func(from int64) (io.ReadCloser, error)
	body  io.ReadCloser
	size  int64 // of the blob, as the manifest says
	at    int64
	tries int
	pause backoff.BackOff
}

// Read yields bytes, across broken connections.
func (s *stream) Read(p []byte) (int, error) {
	for {
		n, err := s.body.Read(p)
		s.at += int64(n)
		if n > 0 {
			s.tries = 0
			return n, s.harmless(err)
		}
		if s.harmless(err) != nil || err == nil {
			return 0, err
		}
		if err := s.again(err); err != nil {
			return 0, err
		}
	}
}

// harmless returns nil for an error that a new connection can mend. The next read meets
// it again.
func (s *stream) harmless(err error) error {
	if err == io.EOF || s.ctx.Err() != nil || s.at >= s.size {
		return err
	}
	return nil
}

// again opens the blob where it broke, after a pause that grows.
func (s *stream) again(broken error) error {
	for {
		if s.tries++; s.tries > maxTries {
			return fault.Wrap(fault.Registry, "run the target again", broken)
		}
		if err := s.wait(); err != nil {
			return err
		}
		body, err := s.get(s.at)
		if err == nil {
			s.body.Close()
			s.body = body
			return nil
		}
		broken = errors.Join(broken, err)
	}
}

func (s *stream) wait() error {
	if s.pause == nil || s.tries == 1 {
		b := backoff.NewExponentialBackOff()
		b.InitialInterval = 100 * time.Millisecond
		s.pause = b
	}
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-time.After(s.pause.NextBackOff()):
		return nil
	}
}

// Close closes the connection.
func (s *stream) Close() error { return s.body.Close() }
