package flow

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/plimsoll-oci/plimsoll/image/report"
	"github.com/plimsoll-oci/plimsoll/image/report/markdown"
	"github.com/plimsoll-oci/plimsoll/image/report/page"
	"github.com/plimsoll-oci/plimsoll/image/report/picture"
	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// summaryVariable names the file that GitHub's runner shows on the page of a job. Steps add
// to it.
const summaryVariable = "GITHUB_STEP_SUMMARY"

// writeReport writes the files that the options ask for.
func (j *Job) writeReport(r *report.Report, o ReportOptions) error {
	forms := []struct {
		path   string
		render func(*report.Report) string
	}{
		{o.Markdown, markdown.Render}, {o.HTML, page.Render}, {o.SVG, picture.Standalone},
	}
	for _, f := range forms {
		if f.path == "" {
			continue
		}
		if err := writeDocument(j.Getenv, f.path, []byte(f.render(r))); err != nil {
			return err
		}
		j.note("report written to %s", f.path)
	}
	return nil
}

// writeDocument replaces a file, and makes its folder. But the file of the job's summary is
// added to: other steps write there too.
func writeDocument(getenv func(string) string, path string, data []byte) error {
	write := manifests.WriteFile
	if path == getenv(summaryVariable) {
		write = appendTo
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = write(path, data)
	}
	if err != nil {
		return fault.Wrap(fault.Resource, "", fmt.Errorf("writing report %s: %w", path, err))
	}
	return nil
}

// appendTo adds to a file, with an empty line before where there is text already.
func appendTo(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		data = append([]byte("\n"), data...)
	}
	_, writeErr := f.Write(data)
	return errors.Join(err, writeErr, f.Close())
}
