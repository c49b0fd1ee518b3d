package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// Limits of names. Linux allows 255 bytes for one element; the rest is ours.
const (
	maxRepo    = 96 // the Hub's own limit for "owner/name"
	maxElement = 255
	maxPath    = 1024
)

// CheckRepo accepts "owner/name" and the Hub's few old names without an owner: letters,
// digits, '-', '_' and '.', no "--" or ".." (they would make two repositories share one
// folder), no '.' or '-' at an edge. The error has kind fault.Invalid.
func CheckRepo(repo string) error {
	why := ""
	switch owner, name, slash := strings.Cut(repo, "/"); {
	case len(repo) > maxRepo:
		why = fmt.Sprintf("it has %d bytes, more than %d", len(repo), maxRepo)
	case !repoWord(owner) || slash && !repoWord(name):
		why = "it is not OWNER/NAME of letters, digits, '-', '_' and '.'"
	case strings.Contains(repo, "--") || strings.Contains(repo, ".."):
		why = "it holds -- or .."
	default:
		return nil
	}
	return bad("repository", repo, why)
}

func repoWord(s string) bool {
	if s == "" || strings.ContainsRune("-.", rune(s[0])) || strings.ContainsRune("-.", rune(s[len(s)-1])) {
		return false
	}
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r) {
			return false
		}
	}
	return true
}

// repoFolder checks a repository's name and returns the name of its folder.
func repoFolder(repo string) (string, error) {
	if err := CheckRepo(repo); err != nil {
		return "", err
	}
	return "models--" + strings.ReplaceAll(repo, "/", "--"), nil
}

// folderRepo undoes repoFolder; ok is false for a folder that is not a model's.
func folderRepo(folder string) (repo string, ok bool) {
	name, ok := strings.CutPrefix(folder, "models--")
	repo = strings.Replace(name, "--", "/", 1)
	return repo, ok && CheckRepo(repo) == nil
}

// CheckCommit accepts a full commit id: 40 lower-case hex digits. The error has kind
// fault.Invalid.
func CheckCommit(commit string) error {
	if len(commit) != 40 || !isHex(commit) {
		return bad("commit", commit, "it is not 40 lower-case hex digits")
	}
	return nil
}

// CheckEtag accepts the names of blobs: a sha256 or a git blob id in lower-case hex. The
// error has kind fault.Invalid.
func CheckEtag(etag string) error {
	if len(etag) != 40 && len(etag) != 64 || !isHex(etag) {
		return bad("etag", etag, "it is neither 64 nor 40 lower-case hex digits")
	}
	return nil
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// CheckPath accepts a file's path inside a repository, or the name of a branch or tag:
// relative, with forward slashes, without empty, "." or ".." elements, NUL, other control
// characters or backslashes, in valid UTF-8, of elements that a file system takes. The
// error has kind fault.Invalid.
func CheckPath(name string) error {
	if why := pathFault(name); why != "" {
		return bad("path", name, why)
	}
	return nil
}

func pathFault(name string) string {
	switch {
	case strings.HasPrefix(name, "/"):
		return "it is absolute"
	case len(name) > maxPath:
		return fmt.Sprintf("it has %d bytes, more than %d", len(name), maxPath)
	case strings.ContainsRune(name, '\\'):
		return "it holds a backslash"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "it holds a control character"
	case !fs.ValidPath(name) || name == ".":
		return `it has an element that is empty, "." or ".."`
	}
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > maxElement {
			return fmt.Sprintf("an element of it has %d bytes, more than %d", len(element), maxElement)
		}
	}
	return ""
}

func bad(what, value, why string) error {
	return fault.Wrap(fault.Invalid, "", fmt.Errorf("refusing %s %q: %w", what, value, errors.New(why)))
}
