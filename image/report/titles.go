package report

import "github.com/plimsoll-oci/plimsoll/manifests"

// categoryTitles names the categories of drops for people.
var categoryTitles = map[manifests.Category]string{
	manifests.BecausePrecision: "Wrong precision",
	manifests.BecauseRank:      "Wrong rank",
	manifests.BecauseSteps:     "Wrong number of steps",
	manifests.BecauseReplaced:  "Replaced by a file aboard",
	manifests.BecauseDuplicate: "Duplicate content",
	manifests.BecauseDocs:      "Documentation",
	manifests.BecauseVariant:   "Not in this variant",
}

// additionTitles names the kinds of additions for people.
var additionTitles = map[string]string{
	KindBase:       "Base libraries",
	KindRuntime:    "Runtime binary",
	KindConfig:     "Model configuration",
	AddedFormat:    "Tar around the model files",
	AddedManifests: "Image config and manifest",
	AddedFiles:     "Kept files that were not there before",
}

// additionKinds is the order of additions outside the model files.
var additionKinds = []string{KindBase, KindRuntime, KindConfig, AddedFormat, AddedManifests}

// Titles of rows and scopes.
const (
	titleOutside   = "Outside the model files"
	titleTotal     = "Total"
	titleSoftware  = "Software stack (estimated)"
	titleEstimated = "Total with estimates"
	titleNaive     = "Naive image"
	titlePublished = "All that is published"
)

// titleOf names a scope in a heading.
func titleOf(s ScopeName) string {
	if s == ScopeNaive {
		return "a naive image"
	}
	return "all that is published"
}
