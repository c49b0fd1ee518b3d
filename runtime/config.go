package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/plimsoll-oci/plimsoll/manifests"
)

// configuration is the result of the config command.
type configuration struct {
	SchemaVersion int                    `json:"schemaVersion"`
	Settings      settings               `json:"settings"`
	Model         *manifests.ModelConfig `json:"model"`
}

// setupConfig prints what the program goes by: model.json, read and checked, and the
// settings with their origins. It looks at no model file.
func setupConfig(flags *flag.FlagSet) action {
	folder, asJSON := declareFolder(flags), jsonFlag(flags)
	return func(_ context.Context, p *program, _ []string) error {
		c, _, s, err := folder.load(p)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(configuration{SchemaVersion: 1, Settings: s, Model: c})
		}
		return p.print(configuration{Settings: s, Model: c}.text())
	}
}

func (c configuration) text() string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, "\t")) }
	row("model", c.Model.Title)
	row("name", c.Model.Name)
	row("variant", c.Model.Variant)
	row("config", c.Settings.Config.Value, "("+c.Settings.Config.From+")")
	row("models", c.Settings.Models.Value, "("+c.Settings.Models.From+")")
	row("devices", c.Settings.Devices.Value, "("+c.Settings.Devices.From+")")
	for _, s := range c.Model.Sources {
		row("source", s.Name, s.Repo+"@"+s.Commit, s.License)
	}
	for _, cp := range c.Model.Checkpoints {
		row("checkpoint", cp.Name, fmt.Sprintf("%s rank %d", cp.Precision, cp.Rank), fmt.Sprintf("%d steps", cp.Steps), cp.Path)
	}
	if s := c.Model.Serve; s != nil {
		row("priority", strings.Join(s.Priority, ", "))
		row("ranks", fmt.Sprintf("%v, default %d", s.SupportedRanks, s.DefaultRank))
		row("steps", fmt.Sprintf("default %d", s.DefaultSteps))
	}
	for _, f := range c.Model.Files {
		row("file", fileSize(f), f.Path)
	}
	table.Flush()
	return out.String()
}

// fileSize is "12654.44 MB", or "12654.44 MB in 2 parts".
func fileSize(f manifests.ModelFile) string {
	if len(f.Parts) > 0 {
		return fmt.Sprintf("%s in %d parts", megabytes(f.Size), len(f.Parts))
	}
	return megabytes(f.Size)
}

// megabytes is "12654.44 MB", in units of 10^6 bytes.
func megabytes(n int64) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }
