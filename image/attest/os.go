package attest

import "strings"

// OS is the system that an image's base is of. The zero value is one that is not known.
type OS struct {
	// ID is the system's name, such as "debian", Version its version, such as "13".
	ID, Version string
}

// ParseOS reads /etc/os-release (os-release(5)). It is the zero value where ID or VERSION_ID
// is missing.
func ParseOS(text []byte) OS {
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	if values["ID"] == "" || values["VERSION_ID"] == "" {
		return OS{}
	}
	return OS{ID: values["ID"], Version: values["VERSION_ID"]}
}
