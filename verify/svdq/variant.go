package svdq

import (
	"path"
	"slices"
	"strings"
)

// Edit2511 is the one variant of the family that a file shows by itself.
const Edit2511 = "edit-2511"

// Variant says which of the models with the same tensors a checkpoint is, as far as that
// can be told.
type Variant struct {
	// Name is Edit2511, or "" where it cannot be told from the file.
	Name string `json:"name"`
	// Evidence says by what it was told, or why it was not.
	Evidence string `json:"evidence"`
	// Claim is what the file's name says, such as "qwen-image-edit-lightningv1.0-8steps"; a
	// claim and no proof. "" where the name says nothing.
	Claim string `json:"claim,omitempty"`
}

// Variant tells base, Edit, 2509, 2511, Layered and Lightning files apart where that is
// possible: names, shapes and dtypes of all their tensors are equal, so nothing but a flag
// of the configuration does, and only the sum of the whole file, held against its
// publisher's, decides among the others. fileName may be a path with slashes; only its last
// element counts.
func (c Checkpoint) Variant(fileName string) Variant {
	v := Variant{Claim: variantClaim(fileName)}
	switch {
	case c.Family != QwenImage:
		v.Evidence = "variants of family " + c.Family + " are not known here"
	case c.Config.ZeroCondT:
		v.Name, v.Evidence = Edit2511, "the metadata's config sets zero_cond_t, as Edit-2511 alone does"
	default:
		v.Evidence = "cannot be told from the tensors: base, Edit, 2509 and Lightning files have the same"
	}
	return v
}

// variantClaim is the name without what is checked by itself: extension, method, precision
// and rank.
func variantClaim(fileName string) string {
	if fileName == "" {
		return ""
	}
	name := strings.ToLower(path.Base(fileName))
	name = strings.TrimSuffix(name, path.Ext(name))
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' })
	words = slices.DeleteFunc(words, func(w string) bool {
		_, isRank := rankWord(w)
		_, isPrecision := precisionOf[w]
		return isRank || isPrecision || w == "svdq"
	})
	return strings.Join(words, "-")
}
