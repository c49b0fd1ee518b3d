package manifests

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// maxLockLine bounds one line of a lock.
const maxLockLine = 1 << 20

// Encode writes the lock as JSON Lines in a fixed order, so that two equal locks are equal
// files and a change is a readable diff.
func (l *Lock) Encode() []byte {
	var out bytes.Buffer
	write := func(v any) { out.Write(encodeLine(v)) }
	write(l.Header)
	for _, f := range l.Files {
		write(f)
	}
	for _, p := range l.Packages {
		write(p)
	}
	for _, line := range sorted(l.Layers, func(a, b LockLayer) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Path, b.Path), cmp.Compare(a.Part, b.Part))
	}) {
		write(line)
	}
	for _, line := range byFileAndPart(l.Unused) {
		write(line)
	}
	for _, line := range byPath(l.Tensors) {
		write(line)
	}
	return out.Bytes()
}

// byFileAndPart returns the shares in a fixed order.
func byFileAndPart(in []Unused) []Unused {
	return sorted(in, func(a, b Unused) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Path, b.Path), strings.Compare(a.Part, b.Part))
	})
}

func sorted[T any](in []T, by func(a, b T) int) []T {
	out := slices.Clone(in)
	slices.SortFunc(out, by)
	return out
}

// DecodeLock parses a lock. Lines that Encode would write differently, unknown kinds,
// malformed values and lines that contradict each other are errors of kind fault.Lock that
// name the line or the file.
func DecodeLock(data []byte) (*Lock, error) {
	l := &Lock{}
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, maxLockLine)
	n := 0
	for scanner.Scan() {
		n++
		if err := l.add(scanner.Bytes(), n == 1); err != nil {
			return nil, fault.Wrap(fault.Lock, "", fmt.Errorf("line %d: %w", n, err))
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fault.Wrap(fault.Lock, "", fmt.Errorf("line %d: %w", n+1, err))
	}
	if n == 0 {
		return nil, fault.Wrap(fault.Lock, "", errors.New("the lock is empty"))
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

// add parses one line into the lock.
func (l *Lock) add(line []byte, first bool) error {
	var probe struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(line, &probe); err != nil {
		return err
	}
	if first != (probe.Kind == kindHeader) {
		return fmt.Errorf("kind is %q: the header, kind %q, must be the first line and no other", probe.Kind, kindHeader)
	}
	switch probe.Kind {
	case kindHeader:
		return exact(line, &l.Header)
	case kindFile:
		return appendLine(line, &l.Files)
	case kindPackage:
		return appendLine(line, &l.Packages)
	case kindLayer:
		return appendLine(line, &l.Layers)
	case kindUnused:
		return appendLine(line, &l.Unused)
	case kindTensors:
		return appendLine(line, &l.Tensors)
	}
	return fmt.Errorf("kind is %q, which this plimsoll does not know", probe.Kind)
}

func appendLine[T any](line []byte, to *[]T) error {
	var v T
	if err := exact(line, &v); err != nil {
		return err
	}
	*to = append(*to, v)
	return nil
}

// exact unmarshals one line that must be what Encode writes for the value: JSON itself
// tolerates missing, repeated and differently spelled keys.
func exact(line []byte, v any) error {
	if err := strict(line, v); err != nil {
		return err
	}
	if !bytes.Equal(encodeLine(v), append(slices.Clone(line), '\n')) {
		return errors.New("it is not written as plimsoll writes it: a key is missing, there twice or out of order")
	}
	return nil
}

// encodeLine is one value as one line of JSON.
func encodeLine(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(fmt.Sprintf("encoding a lock line: %v", err)) // strings, numbers and booleans always encode
	}
	return out.Bytes()
}

// strict unmarshals one JSON value without unknown keys, and nothing behind it.
func strict(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the JSON value")
	}
	return nil
}

// LoadLock reads the lock at path. A missing file is an error that wraps fs.ErrNotExist;
// every error is of kind fault.Lock.
func LoadLock(path string) (*Lock, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Lock, "run the lock target once and commit the lock beside the manifest", fmt.Errorf("reading lock: %w", err))
	}
	if err != nil {
		return nil, fault.Wrap(fault.Lock, "", fmt.Errorf("reading lock: %w", err))
	}
	l, err := DecodeLock(data)
	if err != nil {
		return nil, fmt.Errorf("reading lock %s: %w", path, err)
	}
	return l, nil
}

// Save writes the lock to path in one step: a reader sees the old or the new one.
func (l *Lock) Save(path string) error {
	if err := WriteFile(path, l.Encode()); err != nil {
		return fmt.Errorf("writing lock: %w", err)
	}
	return nil
}

// LockPath is where the lock of the manifest at path lies: beside it, with the extension
// .lock instead of .yaml or .yml, or behind another name.
func LockPath(manifest string) string {
	ext := filepath.Ext(manifest)
	if ext != ".yaml" && ext != ".yml" {
		ext = ""
	}
	return strings.TrimSuffix(manifest, ext) + ".lock"
}
