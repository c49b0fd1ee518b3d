package modelfiles

import (
	"encoding/binary"
	"io"

	"github.com/plimsoll-oci/plimsoll/verify/modelset"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// maxDocument bounds the documents that are kept whole; package modelset reads no larger
// ones. The largest published one, a tokenizer, has 11 MB.
const maxDocument = 64 << 20

// lengthField is the size of the number in front of a container's header.
const lengthField = 8

// keeper keeps the first bytes of what is written to it: the header of a container, or a
// whole document. Afterwards it is a section of the file of which only those bytes can be
// read.
type keeper struct {
	size      int64 // of the file
	container bool
	want      int64 // bytes to keep
	bytes     []byte
}

var _ modelset.Held = (*keeper)(nil)

// keepHeader keeps the header of a container of the given size.
func keepHeader(size int64) *keeper {
	return &keeper{size: size, container: true, want: min(size, lengthField)}
}

// keepDocument keeps all of a document, nothing of one that is too large.
func keepDocument(size int64) *keeper {
	k := &keeper{size: size, want: size}
	if size > maxDocument {
		k.want = 0
	}
	return k
}

// Write takes the bytes that are still wanted; it never fails.
func (k *keeper) Write(p []byte) (int, error) {
	n := len(p)
	for missing := k.missing(); missing > 0 && len(p) > 0; missing = k.missing() {
		m := min(missing, int64(len(p)))
		k.take(p[:m])
		p = p[m:]
	}
	return n, nil
}

// missing is how many bytes are still wanted.
func (k *keeper) missing() int64 { return k.want - int64(len(k.bytes)) }

// take appends. A header's length is learned as soon as it is there; one over the limit or
// beyond the file is not followed: the header is refused later.
func (k *keeper) take(p []byte) { k.took(copy(k.room(), p)) }

// room is where the missing bytes go.
func (k *keeper) room() []byte {
	if k.bytes == nil {
		k.bytes = make([]byte, 0, k.want)
	}
	return k.bytes[len(k.bytes):k.want]
}

// took counts n bytes that lie behind those that are kept, and learns the header's length.
func (k *keeper) took(n int) {
	k.bytes = k.bytes[:len(k.bytes)+n]
	if !k.container || len(k.bytes) != lengthField || k.want != lengthField {
		return
	}
	length := binary.LittleEndian.Uint64(k.bytes)
	if length <= safetensors.MaxHeader && int64(length) <= k.size-lengthField {
		k.want = lengthField + int64(length)
		k.bytes = append(make([]byte, 0, k.want), k.bytes...)
	}
}

// fill reads what is wanted from r and no more, to where it stays. An early end is no error:
// what is missing is found when it is read.
func (k *keeper) fill(r io.Reader) error {
	for k.missing() > 0 {
		n, err := io.ReadFull(r, k.room())
		k.took(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parse reads the header that was kept.
func (k *keeper) parse() (*safetensors.Header, error) { return safetensors.Read(k, k.size) }

// Size is the size of the file.
func (k *keeper) Size() int64 { return k.size }

// Bytes are those of a file that was kept whole.
func (k *keeper) Bytes() []byte {
	if int64(len(k.bytes)) != k.size {
		return nil
	}
	return k.bytes
}

// ReadAt reads from the bytes that were kept; behind them the file seems to end.
func (k *keeper) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(k.bytes)) {
		return 0, io.EOF
	}
	n := copy(p, k.bytes[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
