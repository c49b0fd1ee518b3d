package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// programVersion is the version of this program. It is a constant because the build
// stamps nothing into the binary: the same source gives the same bytes.
const programVersion = "0.1.0"

// versions is the result of the version command.
type versions struct {
	SchemaVersion int    `json:"schemaVersion"`
	Version       string `json:"version"`
	Module        string `json:"module"`
	// Go is the toolchain that compiled the program.
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// PackFormat is the version of the layer format, ModelConfig that of model.json.
	PackFormat  int `json:"packFormat"`
	ModelConfig int `json:"modelConfig"`
}

func readVersions() versions {
	v := versions{
		SchemaVersion: 1, Version: programVersion, Module: "unknown", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, PackFormat: pack.Version, ModelConfig: manifests.ModelConfigVersion,
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path != "" {
		v.Module = info.Main.Path
	}
	return v
}

// setupVersion prints what this program is.
func setupVersion(flags *flag.FlagSet) action {
	asJSON := jsonFlag(flags)
	return func(_ context.Context, p *program, _ []string) error {
		v := readVersions()
		if *asJSON {
			return p.printJSON(v)
		}
		return p.print(fmt.Sprintf("%s %s (%s, %s, %s)\npack format %d, model.json %d\n",
			programName, v.Version, v.Module, v.Go, v.Platform, v.PackFormat, v.ModelConfig))
	}
}
