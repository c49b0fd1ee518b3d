package server

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// NewLog returns a log of one JSON object a line, on w and in the configuration's LogFile.
// Close the closer when nothing logs any more. An error is of kind fault.Resource and names
// the file.
func NewLog(c Config, w io.Writer) (*slog.Logger, io.Closer, error) {
	var closer io.Closer = io.NopCloser(nil)
	if c.LogFile != "" {
		f, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, nil, fault.Wrap(fault.Resource, "LOG_FILE names it; its folder must be there and writable", fmt.Errorf("opening the log: %w", err))
		}
		closer, w = f, io.MultiWriter(w, f)
	}
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.LogLevel}))
	if c.Environment != "" {
		log = log.With("environment", c.Environment)
	}
	return log, closer, nil
}
