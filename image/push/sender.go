package push

import (
	"context"
	"fmt"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Blob is the bytes of one layer, for a Sender.
type Blob struct {
	// Digest is the layer's, "sha256:…"; "" where it is not known before the bytes have
	// passed.
	Digest string
	// Late waits for the digest where it is not known: the OCI distribution specification
	// wants it in the request that closes an upload, and not before. Its error ends the
	// upload, which is then not closed; one of kind fault.Invalid says that the bytes are
	// wrong, and what has arrived is thrown away.
	Late func(ctx context.Context) (digest string, err error)
	// Name is what the journal knows such an upload by: a digest, "sha256:…", of all that
	// decides the bytes.
	Name string
	// Title is the layer's, for errors; Size is its size in bytes.
	Title string
	Size  int64
	// Open opens the bytes; it is called when they are needed, and once.
	Open func() (Bytes, error)
}

// Bytes are the open bytes of a blob. They are read by one goroutine at a time, in order but
// for what has to be sent again.
type Bytes interface {
	io.ReaderAt
	io.Closer
}

// Sender brings single layers into the repository of one target, before there is an image to
// publish: for a caller to whom the bytes come once, and go by. It is safe for concurrent
// use.
type Sender struct {
	p *publication
}

// NewSender logs in. Errors are Publish's.
func NewSender(ctx context.Context, target Target, o Options) (*Sender, error) {
	p, err := newPublication(ctx, target, o)
	if err != nil {
		return nil, classify(target, "publishing", err)
	}
	return &Sender{p: p}, nil
}

// Has reports whether the repository holds a layer; where another of Options.MountFrom does,
// it is mounted first. Errors are Publish's.
func (s *Sender) Has(ctx context.Context, digest string, size int64) (bool, error) {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return false, fault.Wrap(fault.Invalid, "", fmt.Errorf("asking for layer %s: %w", digest, err))
	}
	there, err := s.p.present(ctx, layer{digest: hash, size: size})
	if err != nil {
		err = classify(s.p.target, "publishing", err)
	}
	return there, err
}

// Send brings a layer into the repository. One whose digest is known goes the way of
// Publish: nothing is done where it is there already, and its bytes are proven or hashed as
// they leave. One whose digest comes late is sent unhashed, by the same strategies, and closed
// with that digest, which the registry checks; a registry that wants the digest before the
// bytes gets them when Late has told it. Errors are Publish's.
func (s *Sender) Send(ctx context.Context, b Blob) error {
	err := s.send(ctx, b)
	if err != nil {
		err = classify(s.p.target, "publishing", fmt.Errorf("layer %s: %w", b.Title, err))
	}
	return err
}

func (s *Sender) send(ctx context.Context, b Blob) error {
	open := func() (source, error) { return b.Open() }
	if b.Digest == "" {
		return s.p.sendLate(ctx, b, open)
	}
	hash, err := v1.NewHash(b.Digest)
	if err != nil {
		return fault.Wrap(fault.Invalid, "", err)
	}
	return s.p.send(ctx, layer{digest: hash, size: b.Size, title: b.Title, open: open})
}

// Add adds what was sent to the result of the publication that the layers belong to.
func (s *Sender) Add(r *Result) {
	r.Sent += int(s.p.sent.Load())
	r.Mounted += int(s.p.mounted.Load())
	r.Resumed += int(s.p.resumed.Load())
	r.SentBytes += s.p.bytes.Load()
}

// present asks for a layer, and mounts it where another repository has it.
func (p *publication) present(ctx context.Context, l layer) (there bool, err error) {
	err = retry(ctx, p.opts.Pause, func() (err error) {
		there, err = p.client.has(ctx, p.target.ref.Context(), l.digest)
		return err
	})
	if there || err != nil {
		return there, err
	}
	u := p.upload(l)
	there, err = p.mount(ctx, u)
	if !there && u.location != "" { // the registry opened an upload instead
		u.abandon(ctx)
	}
	return there, err
}

// sendLate sends a layer whose digest comes late.
func (p *publication) sendLate(ctx context.Context, b Blob, open func() (source, error)) error {
	source, err := open()
	if err != nil {
		return err
	}
	defer source.Close()
	u := p.upload(layer{size: b.Size})
	u.source, u.late, u.name = source, b.Late, b.Name
	err = u.run(ctx)
	if fault.KindOf(err) == fault.Invalid {
		u.abandon(ctx)
	}
	p.count(u)
	return err
}

// resolve waits for a digest that comes late.
func (u *upload) resolve(ctx context.Context) error {
	if u.late == nil || u.digest != (v1.Hash{}) {
		return nil
	}
	text, err := u.late(ctx)
	if err == nil {
		u.digest, err = v1.NewHash(text)
	}
	if err != nil {
		return &sourceError{err}
	}
	return nil
}

// abandon cancels the open upload, so that nobody goes on with it. A registry that cannot
// do that purges it in time.
func (u *upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if u.location != "" {
		_, _ = u.client.do(ctx, http.MethodDelete, u.location, nil, nil, http.StatusNoContent, http.StatusAccepted, http.StatusOK)
	}
	_ = u.finish() // a line that is lost costs a question
}
