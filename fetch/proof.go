package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// recordEvery is how many bytes a proof takes between two records, and so how many of them
// have to come once more after a kill.
const recordEvery = 64 << 20

// headKey is the key of the sum of a file's first bytes.
const headKey = "head"

// Proof takes all sums of a file in one pass over bytes that are not kept, and remembers
// how far it is: a next process goes on from the last record. It is for one goroutine, but
// for Layer and Sound.
type Proof struct {
	want    *want
	file    File
	head    []byte
	sums    *sums
	path    string
	journal *journal
	// layers are closed as soon as the digest of each layer is known, sound when err says
	// whether the file is what it must be.
	layers []chan struct{}
	known  []string
	sound  chan struct{}
	err    error
}

// streamName is the name that tells the journal of a proof from that of a download.
const streamName = "plimsoll stream journal"

// OpenProof begins the proof of a file, or goes on with the one that the journal at path is
// about; "" keeps none. head, which may be nil, are the first bytes that were read of the
// file before: they must be the same. Errors are of kinds fault.Invalid, for a file that
// cannot be, and fault.Resource.
func OpenProof(f File, head []byte, path string) (*Proof, error) {
	if f.SHA256 == "" {
		return nil, fault.Wrap(fault.Invalid, "", fmt.Errorf("proving %s: its sha256 is not known", f))
	}
	lanes, err := layerLanes(f)
	if err != nil {
		return nil, err
	}
	specs := append(fileLanes(f), laneSpec{key: headKey, make: sha256.New, to: int64(len(head))})
	p := &Proof{want: &want{first: f}, file: f, head: head, path: path, sums: newSums(append(specs, lanes...)), sound: make(chan struct{})}
	for range f.Layers {
		p.layers, p.known = append(p.layers, make(chan struct{})), append(p.known, "")
	}
	if path != "" {
		if err := p.resume(); err != nil {
			return nil, err
		}
	}
	p.announce()
	return p, nil
}

// resume opens the journal and takes up its last record.
func (p *Proof) resume() error {
	if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
		return disk(fmt.Errorf("opening journal: %w", err))
	}
	f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return disk(fmt.Errorf("opening journal: %w", err))
	}
	about := identity{Journal: streamName, Version: journalVersion, Etag: p.file.SHA256, Size: p.file.Size}
	last, valid, ok, err := readJournal(f, about)
	if err == nil && ok && p.sums.restore(last.Hashed, last.Sums) {
		p.journal, err = continueJournal(f, valid)
	} else if err == nil {
		p.journal, err = startJournal(f, about)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// Offset is how many bytes were taken.
func (p *Proof) Offset() int64 { return p.sums.offset() }

// Read takes the rest of the file from r and judges it. The error is r's, ctx's, one of kind
// fault.Resource where a record could not be written, or one of kind fault.Invalid that
// names both sums; after the latter the next proof begins at the first byte. However it
// ends, those who wait are told.
func (p *Proof) Read(ctx context.Context, r io.ReaderAt) error {
	p.err = p.read(ctx, r)
	if p.err == nil {
		p.err = p.check()
	}
	if fault.KindOf(p.err) == fault.Invalid {
		p.Forget()
	}
	close(p.sound)
	return p.err
}

func (p *Proof) read(ctx context.Context, r io.ReaderAt) error {
	buf := make([]byte, hashPiece)
	recorded := p.Offset()
	for at := p.Offset(); at < p.file.Size; at = p.Offset() {
		n, err := r.ReadAt(buf[:min(hashPiece, p.file.Size-at)], at)
		if n > 0 {
			err = nil
		}
		if err = errors.Join(err, context.Cause(ctx)); err != nil {
			return errors.Join(err, p.record())
		}
		p.sums.write(buf[:n])
		p.announce()
		if p.Offset()-recorded >= recordEvery {
			if err := p.record(); err != nil {
				return err
			}
			recorded = p.Offset()
		}
	}
	return nil
}

// announce closes the channels of layers whose bytes have passed.
func (p *Proof) announce() {
	for i, l := range p.file.Layers {
		if p.known[i] == "" && p.Offset() >= l.Offset+l.Length {
			p.known[i] = "sha256:" + p.sums.hex(layerKey(l))
			close(p.layers[i])
		}
	}
}

// record writes how far the proof is.
func (p *Proof) record() error {
	if p.journal == nil {
		return nil
	}
	at, states, err := p.sums.state()
	if err != nil || at == 0 {
		return err
	}
	return p.journal.append(newRecord(spans{{0, at}}, at, states))
}

// check compares the sums of the whole file, and of its head.
func (p *Proof) check() error {
	const hint = "the source no longer has the bytes that were locked, or something on the way changes them: lock again with -update to see what the source has now"
	if err := p.want.check(p.sums); err != nil {
		return fault.Wrap(fault.Invalid, hint, err)
	}
	if sum := sha256.Sum256(p.head); hex.EncodeToString(sum[:]) != p.sums.hex(headKey) {
		return fault.Wrap(fault.Invalid, hint, fmt.Errorf("verifying %s: its first %d bytes are not those that were read before", p.file, len(p.head)))
	}
	return nil
}

// Layer waits for the digest of a layer, by its index in File.Layers: until its bytes have
// passed and, for the last one, until the file is found sound. The error is Read's, or
// ctx's.
func (p *Proof) Layer(ctx context.Context, i int) (string, error) {
	if i == len(p.layers)-1 {
		if err := p.Sound(ctx); err != nil {
			return "", err
		}
		return p.known[i], nil
	}
	select {
	case <-p.layers[i]:
	case <-p.sound: // closed too where the layer was known before the end
		if !closed(p.layers[i]) {
			return "", p.err
		}
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	return p.known[i], nil
}

// Known is Layer without waiting; ok is false where it would wait, or fail.
func (p *Proof) Known(i int) (digest string, ok bool) {
	if i == len(p.layers)-1 {
		ok = closed(p.sound) && p.err == nil
	} else {
		ok = closed(p.layers[i])
	}
	if !ok {
		return "", false
	}
	return p.known[i], true
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Sound waits until Read has judged the file.
func (p *Proof) Sound(ctx context.Context) error {
	select {
	case <-p.sound:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Digests are those of File.Layers, once Read has ended without an error.
func (p *Proof) Digests() []string { return p.known }

// Forget removes the journal: the file is done, or has to be read from its start.
func (p *Proof) Forget() {
	p.Close()
	if p.path != "" {
		_ = os.Remove(p.path) // what stays is about this file alone, and costs nothing
	}
}

// Close lets go of the journal.
func (p *Proof) Close() {
	if p.journal != nil {
		_ = p.journal.file.Close() // every line was synced
		p.journal = nil
	}
}
