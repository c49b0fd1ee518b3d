package cache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// FromEnv returns the cache folder that huggingface_hub would use in this environment: the
// first that is set of HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE (its old name), $HF_HOME/hub,
// $XDG_CACHE_HOME/huggingface/hub and $HOME/.cache/huggingface/hub. A leading ~ and
// variables inside the values are expanded, as there; an empty value counts as not set.
// getenv is os.Getenv outside of tests. The error, of kind fault.Usage, says that not even
// HOME is set.
func FromEnv(getenv func(string) string) (string, error) {
	for _, from := range []struct{ variable, below string }{
		{"HF_HUB_CACHE", ""},
		{"HUGGINGFACE_HUB_CACHE", ""},
		{"HF_HOME", "hub"},
		{"XDG_CACHE_HOME", "huggingface/hub"},
		{"HOME", ".cache/huggingface/hub"},
	} {
		if value := getenv(from.variable); value != "" {
			return filepath.Join(expand(value, getenv), from.below), nil
		}
	}
	return "", fault.Wrap(fault.Usage, "set HF_HUB_CACHE to a folder", errors.New("finding the cache folder: none of HF_HUB_CACHE, HF_HOME and HOME is set"))
}

// expand replaces a leading ~ and $NAME or ${NAME}; an unknown name stays as it is, as
// Python's expandvars has it.
func expand(value string, getenv func(string) string) string {
	if home := getenv("HOME"); home != "" && (value == "~" || strings.HasPrefix(value, "~/")) {
		value = home + value[1:]
	}
	return os.Expand(value, func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return "$" + name
	})
}
