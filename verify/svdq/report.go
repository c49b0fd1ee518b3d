package svdq

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// maxListed bounds the findings of one code and the ranges of blocks in one finding: a
// hostile file must not flood a report.
const maxListed = 24

// hints are the ways out.
var hints = map[string]string{
	CodeMissing:    "the file is incomplete or of another kind: compare its sha256 with its publisher's",
	CodeUnexpected: "loaders are strict: they refuse tensors that the model does not have",
	CodeDType:      "loaders cast nothing: the file was made for another loader",
	CodeShape:      "the file mixes parts of different checkpoints, or was made for another loader",
}

// findings turns the groups into findings, those of one code together.
func (k *checker) findings() (out verify.Findings) {
	k.modulationFinding(&out)
	listed := map[string]int{}
	for _, g := range k.groups {
		listed[g.code]++
		if listed[g.code] > maxListed {
			continue
		}
		out.Add(g.severity, g.code, "", "%s", g.message(k.c.Blocks))
		out.Hint("%s", hints[g.code])
	}
	for _, code := range slices.Sorted(maps.Keys(listed)) {
		if more := listed[code] - maxListed; more > 0 {
			out.Add(verify.Error, code, "", "%d more findings of this kind", more)
		}
	}
	return out
}

// message words a group: "60 × img_mod.1.qweight missing", with the blocks where it is not
// all of them, or the whole name of a single tensor.
func (g *group) message(depth int) string {
	switch {
	case g.name == wholeBlock:
		return fmt.Sprintf("%s %s missing: none of its tensors is there", plural(len(g.blocks), "block"), ranges(g.blocks))
	case len(g.blocks) == 0:
		return shorten(g.name) + " " + g.detail
	case len(g.blocks) == 1 && depth > 1:
		return fmt.Sprintf("%s%d.%s %s", blockPrefix, g.blocks[0], shorten(g.name), g.detail)
	case len(g.blocks) == depth:
		return fmt.Sprintf("%d × %s %s", depth, shorten(g.name), g.detail)
	}
	return fmt.Sprintf("%d × %s %s (blocks %s)", len(g.blocks), shorten(g.name), g.detail, ranges(g.blocks))
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// shorten makes a foreign name fit for a message: printable and not too long.
func shorten(name string) string {
	const limit = 160
	cut := ""
	if len(name) > limit {
		name, cut = name[:limit], "…"
	}
	quoted := strconv.Quote(name)
	if quoted == `"`+name+`"` && name != "" && cut == "" {
		return name
	}
	return quoted + cut
}

// ranges writes ascending numbers as "0-3, 7".
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if len(parts) == maxListed {
			return strings.Join(parts, ", ") + ", …"
		}
		if j == i {
			parts = append(parts, strconv.Itoa(numbers[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// modulationFinding reports modulation layers of another kind in one sentence.
func (k *checker) modulationFinding(out *verify.Findings) {
	if len(k.otherMods) == 0 {
		return
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(k.otherMods)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", k.otherMods[kind], kind))
	}
	out.Add(verify.Error, CodeModulation, "", "of %d modulation layers (img_mod.1, txt_mod.1) %s; want AWQ, an I32 qweight with wzeros, in all",
		len(modulations)*k.c.Blocks, strings.Join(kinds, " and "))
	out.Hint("some third-party files are quantised like this and nunchaku's loaders refuse them: take one whose modulation is AWQ")
}
