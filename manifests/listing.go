package manifests

// File is one file of an upstream repository at one commit, as a listing describes it.
type File struct {
	// Path is the file's path inside the repository, with forward slashes.
	Path string `json:"path"`
	// Size is the file's size in bytes.
	Size int64 `json:"size"`
	// SHA256 is the sha256 of the file's bytes as 64 lower-case hex digits. A Hub knows it
	// for LFS files only; "" where it is not known.
	SHA256 string `json:"sha256,omitempty"`
	// SHA1 is the git blob id, sha1("blob <size>\0" + bytes), as 40 lower-case hex digits.
	// It describes the bytes of small files only: for an LFS file it would name the
	// pointer, so it is "" there.
	SHA1 string `json:"sha1,omitempty"`
}

// Listing is the complete content of an upstream repository at one commit.
type Listing struct {
	// Repo is "owner/name", as the repository is called now: a renamed repository answers
	// with its new name.
	Repo string `json:"repo"`
	// Commit is the full commit id, 40 lower-case hex digits.
	Commit string `json:"commit"`
	// License is the licence that the repository declares, "" if it declares none.
	License string `json:"license,omitempty"`
	// Files holds every file, sorted by path.
	Files []File `json:"files"`
}
