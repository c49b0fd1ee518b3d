package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/plimsoll-oci/plimsoll/runtime/models"
)

// verifyResult is the result of the verify command.
type verifyResult struct {
	SchemaVersion int `json:"schemaVersion"`
	// OK says that every file is right; the exit code is 0 only then.
	OK      bool   `json:"ok"`
	Model   string `json:"model"`
	Variant string `json:"variant"`
	// Bytes is the size of the files that are right.
	Bytes int64 `json:"bytes"`
	*models.Report
}

// setupVerify checks the models against model.json.
func setupVerify(flags *flag.FlagSet) action {
	folder, asJSON := declareFolder(flags), jsonFlag(flags)
	jobs := flags.Int("jobs", 0, "`N` files are checked at a time; 0 means one for each core")
	deep := flags.Bool("deep", false, "judge the values of weights too, in the same read")
	return func(ctx context.Context, p *program, _ []string) error {
		if *jobs < 0 {
			c, _ := find("verify")
			return flagError(c, fmt.Errorf("jobs is %d, below 0", *jobs))
		}
		c, dir, _, err := folder.load(p)
		if err != nil {
			return err
		}
		report, err := p.verifyModels(ctx, dir, models.Options{Jobs: *jobs, Deep: *deep})
		if err != nil {
			return err
		}
		if *asJSON {
			result := verifyResult{1, report.Err() == nil, c.Name, c.Variant, report.Bytes(), report}
			err = p.printJSON(result)
		} else {
			err = p.print(reportText(c, report))
		}
		if err != nil {
			return err
		}
		return report.Err()
	}
}

// verifyModels runs the checks beside a progress line.
func (p *program) verifyModels(ctx context.Context, folder *models.Folder, o models.Options) (*models.Report, error) {
	progress := startProgress(p.stderr, folder.Total())
	defer progress.stop()
	o.Progress = progress.add
	return folder.Verify(ctx, o)
}
