package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
	"github.com/plimsoll-oci/plimsoll/verify"
)

// checkBeside begins the check of the files beside what else a start does with them, and returns
// what waits for its end. It also says that the files are the ones that lay there when it began,
// so that what was opened meanwhile is what was checked. A check that fails ends ctx by cancel.
func (s *starter) checkBeside(ctx context.Context, cancel func(), folder *models.Folder, c *manifests.ModelConfig) (wait func() error) {
	before := lookAt(folder, c)
	checked := make(chan error, 1)
	go func() {
		err := s.check(ctx, folder)
		checked <- err
		if err != nil {
			cancel()
		}
	}()
	return sync.OnceValue(func() error {
		if err := <-checked; err != nil {
			return err
		}
		return before.unchanged(folder, c)
	})
}

// check verifies the files.
func (s *starter) check(ctx context.Context, folder *models.Folder) error {
	report, err := s.program.verifyModels(ctx, folder, models.Options{Structure: *s.flags.verify == verifyStructure})
	if err != nil {
		return err
	}
	s.tell(ctx, append(report.Findings(), report.Warnings...))
	if err := report.Err(); err != nil {
		return err
	}
	proven := 0
	for _, f := range report.Files {
		if f.SHA256 != "" {
			proven++
		}
	}
	s.log.Info("verified", "how", *s.flags.verify, "files", len(report.Files), "withSum", proven, "bytes", report.Bytes())
	return nil
}

// tell logs findings: those of one code that say the same of many files in one line, as of a
// folder whose sums nobody knows.
func (s *starter) tell(ctx context.Context, all verify.Findings) {
	same := map[verify.Finding][]string{}
	var order []verify.Finding
	for _, f := range all {
		key := f
		key.Object = ""
		if same[key] == nil {
			order = append(order, key)
		}
		same[key] = append(same[key], f.Object)
	}
	for _, f := range order {
		objects := same[f]
		attrs := []any{"code", f.Code, "object", objects[0]}
		if len(objects) > 1 {
			attrs = append(attrs, "files", len(objects))
		}
		s.log.Log(ctx, level(f.Severity), f.Message, attrs...)
	}
}

func level(s verify.Severity) slog.Level {
	if s == verify.Error {
		return slog.LevelError
	}
	return slog.LevelWarn
}

// sight is the files of a model as they lie on the disk at one time, each in its pieces.
type sight map[string][]fs.FileInfo

// lookAt looks at the files. One that cannot be opened is left out: the check says why.
func lookAt(folder *models.Folder, c *manifests.ModelConfig) sight {
	seen := sight{}
	for _, f := range c.Files {
		content, _, err := folder.Open(f)
		if err != nil || content == nil {
			continue
		}
		for _, piece := range content.Files() {
			if info, err := piece.Stat(); err == nil {
				seen[f.Path] = append(seen[f.Path], info)
			}
		}
		content.Close()
	}
	return seen
}

// unchanged is an error where a file is another one now, or has another size or modification time.
// A file that was away meanwhile and came back is not noticed, nor one that somebody writes to with
// its times put back: a folder of models is there to be read.
func (s sight) unchanged(folder *models.Folder, c *manifests.ModelConfig) error {
	now := lookAt(folder, c)
	for _, f := range c.Files {
		if was, is := s[f.Path], now[f.Path]; !slices.EqualFunc(was, is, sameFile) {
			err := fmt.Errorf("verifying models in %s: %s changed or was replaced while it was checked: it was %s and is %s", folder.Dir(), f.Path, piecesText(was), piecesText(is))
			return fault.Wrap(fault.Invalid, "start again when nothing writes to the models' folder any more", err)
		}
	}
	return nil
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// piecesText tells what can be told apart of a file's pieces.
func piecesText(pieces []fs.FileInfo) string {
	if len(pieces) == 0 {
		return "missing"
	}
	var size int64
	var last time.Time
	for _, p := range pieces {
		size += p.Size()
		if p.ModTime().After(last) {
			last = p.ModTime()
		}
	}
	return fmt.Sprintf("%d bytes in %d pieces, last written at %s", size, len(pieces), last.Format(time.RFC3339Nano))
}

// remember has the folder's sums remembered.
func (s *starter) remember(folder *models.Folder) {
	memo, err := s.memo()
	if err != nil {
		s.log.Warn("sums are not remembered", "error", err.Error())
	}
	folder.Remember(memo)
}

// memo opens the memory of sums. A nil memo, which remembers nothing, is no failure.
func (s *starter) memo() (*verify.Memo, error) {
	dir := *s.flags.state
	if dir == "" {
		dir, _ = s.program.env(envState)
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(cache, "plimsoll")
	}
	return verify.OpenMemo(filepath.Join(dir, "verified.jsonl"))
}
