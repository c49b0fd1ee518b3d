package hub

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

const (
	// maxRepo is the Hub's limit for a repository's name (huggingface_hub,
	// utils/_validators.py).
	maxRepo = 96
	// maxRevision is the limit that file systems, and so git, put on a branch's name.
	maxRevision = 255
)

// checkRepo accepts "owner/name" and the Hub's old plain "name".
func checkRepo(repo string) error {
	if !isRepo(repo) {
		return fault.Wrap(fault.Usage, "a repository is named owner/name", fmt.Errorf("reading a repository name: %q is not one", clip(repo)))
	}
	return nil
}

// isRepo reports whether the Hub would allow the name.
func isRepo(repo string) bool {
	owner, name, two := strings.Cut(repo, "/")
	return plainName(owner) && (!two || plainName(name)) && len(repo) <= maxRepo &&
		!strings.Contains(repo, "--") && !strings.Contains(repo, "..") && !strings.HasSuffix(repo, ".git")
}

// plainName reports whether s holds only letters, digits and inner - . _
func plainName(s string) bool {
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r) {
			return false
		}
	}
	return s != "" && strings.Trim(s, "-.") == s
}

// checkRevision accepts a branch, a tag or a commit. It becomes one escaped URL segment, so
// only what could leave that segment or hide in a terminal is refused.
func checkRevision(revision string) error {
	if revision == "" || revision == "." || revision == ".." || len(revision) > maxRevision || !printable(revision) {
		return fault.Wrap(fault.Usage, "a revision is a branch, a tag or a commit", fmt.Errorf("reading a revision: %q is not one", clip(revision)))
	}
	return nil
}

// isCommit reports whether s is a full git commit id.
func isCommit(s string) bool { return isHex(s, 40) }

// isHex reports whether s is exactly n lower-case hex digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// printable reports whether s is visible ASCII without spaces.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
