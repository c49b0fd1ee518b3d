package push

import (
	"errors"
	"fmt"
	"io"
)

// proof is a source whose bytes are known without being hashed, such as an *image.View of an
// image.Proven file.
type proof interface {
	source
	// Unchanged returns nil where everything that was read before is what the layer's digest
	// says.
	Unchanged() error
	// WriteRange writes n bytes at an offset to w, past this process where w is a TCP
	// connection.
	WriteRange(w io.Writer, off, n int64) (int64, error)
}

// errUnproven says that a source is no longer what was proven.
var errUnproven = errors.New("sending a file that was proven")

// take makes a source the one to send. What it proves by itself is not hashed.
func (u *upload) take(s source) {
	u.source = s
	if p, ok := s.(proof); ok && p.Unchanged() == nil {
		u.proof = p
	}
}

// proven returns nil as long as the proof stands. Once it has fallen, the bytes are hashed.
func (u *upload) proven() error {
	if err := u.proof.Unchanged(); err != nil {
		u.proof = nil
		return fmt.Errorf("%w: %w", errUnproven, err)
	}
	return nil
}

// disprove hashes the whole source where a registry, against the proof, did not find the
// digest; the error says what the bytes are. If they are right after all, the registry has
// lost some, and what it gets next is hashed.
func (u *upload) disprove() error {
	u.proof, u.sums = nil, newSums()
	if err := u.sums.seek(u.source, u.size); err != nil {
		return err
	}
	return u.judge()
}
