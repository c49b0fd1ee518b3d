package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// FromEnv reads the variables that every Hub client obeys: HF_ENDPOINT, HF_TOKEN (else the
// file $HF_TOKEN_PATH, else $HF_HOME/token), HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_OFFLINE.
// Their meaning is that of huggingface_hub 1.x (constants.py, utils/_auth.py). Proxies and
// roots of trust are read by the transport. A token file that is not there is no error; one
// that cannot be read is.
func FromEnv(getenv func(string) string) (Config, error) {
	cfg := Config{
		Endpoint: strings.TrimRight(strings.TrimSpace(getenv("HF_ENDPOINT")), "/"),
		Offline:  truth(getenv("HF_HUB_OFFLINE")) || getenv("HF_HUB_OFFLINE") == "" && truth(getenv("TRANSFORMERS_OFFLINE")),
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = DefaultEndpoint
	}
	token, err := tokenFromEnv(getenv)
	if err != nil {
		return Config{}, err
	}
	cfg.Token = token
	return cfg, nil
}

// Home returns the directory that HF_HOME means: the variable, else huggingface below
// XDG_CACHE_HOME or ~/.cache; "" if none of them is set.
func Home(getenv func(string) string) string {
	if dir := getenv("HF_HOME"); dir != "" {
		return expand(dir, getenv)
	}
	if dir := getenv("XDG_CACHE_HOME"); dir != "" {
		return expand(filepath.Join(dir, "huggingface"), getenv)
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "huggingface")
	}
	return ""
}

// tokenFromEnv returns the first token that the environment names, "" for none.
func tokenFromEnv(getenv func(string) string) (string, error) {
	if truth(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return "", nil
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := cleanToken(getenv(name)); token != "" {
			return token, nil
		}
	}
	file := expand(getenv("HF_TOKEN_PATH"), getenv)
	if file == "" {
		home := Home(getenv)
		if home == "" {
			return "", nil
		}
		file = filepath.Join(home, "token")
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.Wrap(fault.Usage, "set HF_TOKEN, or let HF_TOKEN_PATH name a readable file",
			fmt.Errorf("reading the Hub token: %w", err))
	}
	return cleanToken(string(data)), nil
}

// cleanToken drops line breaks and the space around a token, as editors and secret stores
// add them.
func cleanToken(text string) string {
	return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(text))
}

// truth reads a flag as huggingface_hub does: 1, on, yes, true in any case.
func truth(text string) bool {
	switch strings.ToUpper(text) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// expand replaces variables and a leading ~ in a directory name.
func expand(dir string, getenv func(string) string) string {
	dir = os.Expand(dir, getenv)
	if dir == "~" || strings.HasPrefix(dir, "~/") {
		return filepath.Join(getenv("HOME"), strings.TrimPrefix(dir, "~"))
	}
	return dir
}
