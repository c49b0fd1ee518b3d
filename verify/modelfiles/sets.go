package modelfiles

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/modelset"
)

const (
	// index is the file that makes the files of a source a set.
	index = "model_index.json"
	// replaced is the component of a pipeline that a checkpoint stands for.
	replaced = "transformer"
)

// sets checks every base source that holds a pipeline.
func (v *verifier) sets() {
	for _, s := range v.config.Sources {
		if s.Role == manifests.RoleBase && v.lists(s, index) {
			v.report.Sets = append(v.report.Sets, v.checkSet(s))
		}
	}
}

// lists reports whether the description has that file of the source.
func (v *verifier) lists(s manifests.ModelSource, name string) bool {
	return slices.ContainsFunc(v.config.Files, func(f manifests.ModelFile) bool { return f.Path == s.Path+"/"+name })
}

// set is the files of a source as its repository names them.
func (v *verifier) set(s manifests.ModelSource) modelset.Map {
	set := modelset.Map{}
	for i, f := range v.config.Files {
		if f.Source == s.Name && v.kept[i] != nil {
			set[strings.TrimPrefix(f.Path, s.Path+"/")] = v.kept[i]
		}
	}
	return set
}

// checkSet checks one set, beside each of the checkpoints aboard.
func (v *verifier) checkSet(s manifests.ModelSource) SetReport {
	r := SetReport{Source: s.Name}
	for _, f := range v.report.Files {
		if _, isCheckpoint := v.claims[f.Path]; !f.OK && (f.Source == s.Name || isCheckpoint) {
			r.Skipped = "files of it, or a checkpoint, are wrong"
			return r
		}
	}
	set := v.set(s)
	for _, beside := range v.replacements() {
		for _, f := range modelset.Check(set, beside...) {
			f.Object = path.Join(s.Path, f.Object)
			if !slices.Contains(r.Findings, f) {
				r.Findings = append(r.Findings, f)
			}
		}
	}
	r.addSchedules(s, modelset.CheckSchedules(set, v.config.Checkpoints))
	r.OK = r.Findings.Worst() < verify.Error
	v.giveHints(r.Findings)
	return r
}

// addSchedules takes over findings about schedules, whose objects are files of the set or
// checkpoints, which the description names in full.
func (r *SetReport) addSchedules(s manifests.ModelSource, found verify.Findings) {
	for _, f := range found {
		if f.Code != modelset.CodeSchedule || f.Object == modelset.SchedulerConfig {
			f.Object = path.Join(s.Path, f.Object)
		}
		if !slices.Contains(r.Findings, f) {
			r.Findings = append(r.Findings, f)
		}
	}
}

// replacements lists what the set is checked beside: each distinct configuration of the
// checkpoints aboard, or nothing where there are none and the set has a transformer of its
// own.
func (v *verifier) replacements() [][]modelset.Replacement {
	var out [][]modelset.Replacement
	var seen [][]byte
	for i, f := range v.config.Files {
		config := v.configs[i]
		if _, ok := v.claims[f.Path]; !ok || slices.ContainsFunc(seen, func(b []byte) bool { return bytes.Equal(b, config) }) {
			continue
		}
		seen = append(seen, config)
		r := modelset.Replacement{Component: replaced}
		if len(config) > 0 {
			r.Config = config
		}
		out = append(out, []modelset.Replacement{r})
	}
	if out == nil {
		out = [][]modelset.Replacement{nil}
	}
	return out
}
