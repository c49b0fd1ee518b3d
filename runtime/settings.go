package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
)

// The environment variables that have an effect. MODEL_CACHE_DIR is the predecessor's
// name; CUDA_VISIBLE_DEVICES is read by the driver itself.
const (
	envModels  = "MODEL_CACHE_DIR"
	envDevices = "CUDA_VISIBLE_DEVICES"
)

// defaultConfig is where an image holds its model.json.
const defaultConfig = "/" + manifests.ModelConfigPath

// setting is a value and where it comes from, so that a surprise can be traced.
type setting struct {
	Value string `json:"value"`
	From  string `json:"from"`
}

// settings are the values in effect.
type settings struct {
	Config  setting `json:"config"`
	Models  setting `json:"modelsDir"`
	Devices setting `json:"visibleDevices"`
}

// folderFlags are the flags of commands that look at the models.
type folderFlags struct{ config, models *string }

func declareFolder(flags *flag.FlagSet) folderFlags {
	return folderFlags{
		config: flags.String("config", "", "`PATH` of model.json (default "+defaultConfig+")"),
		models: flags.String("models", "", "`DIR` of the model files (default $"+envModels+", else what model.json says)"),
	}
}

// load reads model.json and settles where the models are: the flag counts before the
// environment, and that before model.json.
func (f folderFlags) load(p *program) (*manifests.ModelConfig, *models.Folder, settings, error) {
	s := settings{Config: setting{defaultConfig, "default"}, Devices: p.devices()}
	if *f.config != "" {
		s.Config = setting{*f.config, "-config"}
	}
	c, err := readConfig(s.Config.Value)
	if err != nil {
		return nil, nil, s, err
	}
	s.Models = setting{c.ModelsDir, "model.json"}
	if dir, ok := p.env(envModels); ok && dir != "" {
		s.Models = setting{dir, envModels}
	}
	if *f.models != "" {
		s.Models = setting{*f.models, "-models"}
	}
	if s.Models.Value == "" {
		return nil, nil, s, fault.Wrap(fault.Invalid, "set -models or "+envModels, fmt.Errorf("loading %s: modelsDir is empty", s.Config.Value))
	}
	return c, models.New(s.Models.Value, c), s, nil
}

// devices says which GPUs the driver shows.
func (p *program) devices() setting {
	if v, ok := p.env(envDevices); ok {
		return setting{v, envDevices}
	}
	return setting{"all", "default"}
}

func readConfig(path string) (*manifests.ModelConfig, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		hint := "-config=PATH names it; an image has it at " + defaultConfig
		return nil, fault.Wrap(fault.Usage, hint, fmt.Errorf("loading model.json: %w", err))
	}
	if err != nil {
		return nil, fault.Wrap(fault.Resource, "", fmt.Errorf("loading model.json: %w", err))
	}
	c, err := manifests.DecodeModelConfig(data)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", path, err)
	}
	return c, nil
}
