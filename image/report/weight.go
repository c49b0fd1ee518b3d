package report

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// weightSection lists where the image's bytes lie.
func (r *Report) weightSection() Section {
	w := r.Image
	u := UnitFor(w.NodeBytes)
	out := Section{ID: "weight", Title: "Weight", Columns: []string{"Size", "Bytes"}}
	add := func(label string, n int64, notes ...string) {
		out.Lines = append(out.Lines, Line{Label: label, Cells: []string{u.Format(n), humanize.Comma(n)}, Notes: notes})
	}
	add("Model files", w.ModelBytes)
	add(titleOutside, w.OutsideBytes)
	add("Image", w.Bytes, fmt.Sprintf("%d layers, config and manifest", w.Layers))
	add("Image, unpacked", w.UnpackedBytes)
	add("In a registry", w.RegistryBytes)
	if s := r.Shared; s != nil {
		add("Shared", s.Bytes, fmt.Sprintf("%d layers that %s has too", s.Layers, s.With))
		add("Not shared", s.MissingBytes, "what goes over the wire to who has the other image")
	}
	add("New build, same weights", w.UpdateBytes, "what a node pulls that has the model's layers")
	add("On a node", w.NodeBytes, "containerd keeps each layer's blob beside its unpacked snapshot")
	return out
}

// pullSection lists the least times of pulls.
func (r *Report) pullSection() Section {
	out := Section{
		ID: "pull", Title: "Pull at least", Columns: []string{r.Scopes[0].Title, "Image", "Same weights"},
		Notes: []string{"8 x bytes / rate, a lower bound: requests, verification and unpacking come on top."},
	}
	if r.Shared != nil {
		out.Columns = append(out.Columns, "Not shared")
	}
	for _, p := range r.Pull {
		l := Line{Label: fmt.Sprintf("%d Gbit/s", p.BitsPerSecond/1e9), Cells: []string{
			duration(p.BeforeSeconds, r.Scopes[0].Total.Before), duration(p.Seconds, r.Image.RegistryBytes),
			duration(p.UpdateSeconds, r.Image.UpdateBytes),
		}}
		if p.SharedSeconds != nil {
			l.Cells = append(l.Cells, duration(*p.SharedSeconds, r.Shared.MissingBytes))
		}
		out.Lines = append(out.Lines, l)
	}
	return out
}

// limitsSection says which registries take the image.
func (r *Report) limitsSection() Section {
	largest := r.Limits[0].LargestLayer
	u := UnitFor(largest)
	out := Section{
		ID: "limits", Title: "Registries", Columns: []string{"Layer limit", "Headroom", "Layers", "Takes it"},
		Notes: []string{fmt.Sprintf("The largest of %d layers has %s, %s bytes.", r.Image.Layers, u.Format(largest), humanize.Comma(largest))},
	}
	for _, h := range r.Limits {
		l := Line{Label: h.Registry, Code: true, Cells: []string{"not published", "-", "-", "yes"}}
		if h.LeftBytes != nil {
			l.Cells[0], l.Cells[1] = UnitFor(h.LayerLimit).Format(h.LayerLimit), u.Format(*h.LeftBytes)
		}
		if h.LayersLimit > 0 {
			l.Cells[2] = fmt.Sprintf("%d of %d", r.Image.Layers, h.LayersLimit)
		}
		if !h.Fits {
			l.Mark, l.Cells[3] = MarkDropped, "no"
			l.Notes = []string{"too many layers: set a larger partSize in the manifest, or drop files by its rules"}
		}
		if h.PartSize > 0 {
			l.Notes = []string{fmt.Sprintf("needs partSize: %d in the manifest, or less", h.PartSize)}
		}
		out.Lines = append(out.Lines, l)
	}
	return out
}

// layersSection lists the image layer by layer.
func (r *Report) layersSection() Section {
	out := Section{ID: "layers", Title: "Layers, in bytes", Columns: []string{"Kind", "In a registry", "Unpacked"}}
	if r.Shared != nil {
		out.Columns = append(out.Columns, "Shared")
	}
	for _, v := range r.Layers {
		l := Line{Label: v.Path, Code: true, Cells: []string{v.Kind, humanize.Comma(v.Size), humanize.Comma(v.Unpacked)}}
		if r.Shared != nil {
			l.Cells = append(l.Cells, yes(v.Shared))
		}
		out.Lines = append(out.Lines, l)
	}
	return out
}

// yes words a fact for a table.
func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// identitySection shows that the tables agree: what went from before to after is what was
// saved without what was added.
func (r *Report) identitySection() Section {
	scopes := r.Scopes
	out := Section{ID: "identity", Title: "To the byte", Columns: []string{scopes[0].Title, scopes[1].Title}}
	if r.OneScope() {
		scopes, out.Columns = scopes[:1], out.Columns[:1]
	}
	add := func(label string, total bool, figure func(Scope) int64) {
		l := Line{Label: label, Total: total}
		for _, s := range scopes {
			l.Cells = append(l.Cells, humanize.Comma(figure(s)))
		}
		out.Lines = append(out.Lines, l)
	}
	add("Before", false, func(s Scope) int64 { return s.Total.Before })
	add("After", false, func(s Scope) int64 { return s.Total.After })
	add("Saved by reason", false, func(s Scope) int64 { return s.SavedBytes })
	add("Added", false, func(s Scope) int64 { return s.AddedBytes })
	add("Before - after", true, func(s Scope) int64 { return s.Total.Before - s.Total.After })
	add("Saved - added", false, func(s Scope) int64 { return s.SavedBytes - s.AddedBytes })
	return out
}
