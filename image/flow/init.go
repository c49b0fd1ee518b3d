package flow

// InitResult says what a fresh manifest decides.
type InitResult struct {
	SchemaVersion int    `json:"schemaVersion"`
	Repo          string `json:"repo"`
	Commit        string `json:"commit"`
	// Path is the manifest that was written.
	Path string `json:"path"`
	// Kept and Dropped count files and their bytes.
	Kept         int   `json:"keptFiles"`
	KeptBytes    int64 `json:"keptBytes"`
	Dropped      int   `json:"droppedFiles"`
	DroppedBytes int64 `json:"droppedBytes"`
}
