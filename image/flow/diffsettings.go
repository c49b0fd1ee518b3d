package flow

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plimsoll-oci/plimsoll/image"
	"github.com/plimsoll-oci/plimsoll/image/report/diff"
)

// platformOf is "os/architecture", with the variant; "" where the config has none.
func platformOf(c *v1.ConfigFile) string {
	if c.OS == "" && c.Architecture == "" {
		return ""
	}
	return c.Platform().String()
}

// settings lists what a config says that changes how a container runs, sources first.
func settings(c *v1.ConfigFile) []diff.Setting {
	var sources, out []diff.Setting
	add := func(name, value string) {
		if value != "" {
			out = append(out, diff.Setting{Kind: diff.SettingConfig, Name: name, Value: value})
		}
	}
	add("platform", platformOf(c))
	add("user", c.Config.User)
	add("working directory", c.Config.WorkingDir)
	add("entrypoint", words(c.Config.Entrypoint))
	add("command", words(c.Config.Cmd))
	add("stop signal", c.Config.StopSignal)
	for _, port := range slices.Sorted(maps.Keys(c.Config.ExposedPorts)) {
		add("port "+port, "exposed")
	}
	for _, volume := range slices.Sorted(maps.Keys(c.Config.Volumes)) {
		add("volume "+volume, "declared")
	}
	for _, e := range c.Config.Env {
		name, value, _ := strings.Cut(e, "=")
		add("environment "+name, cmp.Or(value, "(empty)"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Config.Labels)) {
		if source, is := strings.CutPrefix(name, image.LabelSource); is {
			sources = append(sources, diff.Setting{Kind: diff.SettingSource, Name: source, Value: c.Config.Labels[name]})
		} else {
			add("label "+name, cmp.Or(c.Config.Labels[name], "(empty)"))
		}
	}
	return append(sources, out...)
}

// words shows where the words of a command begin and end; "" for none.
func words(of []string) string {
	if len(of) == 0 {
		return ""
	}
	text, err := json.Marshal(of)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(text)
}
