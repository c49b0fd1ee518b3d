package picture

import (
	"html/template"
	"strings"
)

// drawing writes a figure. Texts stand in two ways: as text, which html/template escapes
// for HTML and XML alike, and never inside of style or script.
var drawing = template.Must(template.New("svg").Funcs(template.FuncMap{"n": n1}).Parse(strings.ReplaceAll(`
<svg class="ships {{.Class}}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{n .Width}} {{n .Height}}"{{if .Style}} width="{{n .Width}}" height="{{n .Height}}"{{end}} role="img" aria-labelledby="{{.ID}}-title {{.ID}}-text">
<title id="{{.ID}}-title">{{.Title}}</title>
<desc id="{{.ID}}-text">{{.Text}}</desc>
{{- if .Style}}
<style>{{.Style}}</style>
<rect class="sky" width="{{n .Width}}" height="{{n .Height}}" rx="10"/>
{{- end}}
<defs>
{{- range .Hues}}
<pattern id="{{.ID}}" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="ground" width="7" height="7"/><rect class="{{.Hue}} stripe" width="2" height="7"/></pattern>
{{- end}}
</defs>
<rect class="sea" y="{{n .Water}}" width="{{n .Width}}" height="{{n $.Depth}}"/>
{{- range .Ships}}
<g class="ship">
<path class="hull" {{.Shell}}/>
<rect class="hold" {{template "box" .Hold}}/>
<rect class="topside" {{template "box" .Plating}}/>
<rect class="boot" {{template "box" .Boot}}/>
<rect class="wet" {{template "box" .Submerged}}/>
{{- range .Areas}}
<rect class="area {{.Class}}"{{if .Fill}} fill="{{.Fill}}"{{end}} {{template "box" .}}>{{if .Title}}<title>{{.Title}}</title>{{end}}</rect>
{{- end}}
{{- range .Ticks}}
<path class="tick" d="M{{n .X1}} {{n .Y}} H{{n .X2}}"/>
<text class="draught" x="{{n .Text.X}}" y="{{n .Text.Y}}" font-size="{{.Text.Size}}">{{.Text.Text}}</text>
{{- end}}
{{- with .Mark}}
<path class="mark" d="M{{n .X1}} {{n .Y}} H{{n .X2}}"/>
<circle class="mark" cx="{{n .X}}" cy="{{n .Y}}" r="{{n .R}}"/>
{{- end}}
</g>
{{- end}}
<path class="waterline" d="M0 {{n .Water}} H{{n .Width}}"/>
{{- range .Ships}}{{range .Texts}}
<text class="{{.Class}}" x="{{n .X}}" y="{{n .Y}}" font-size="{{.Size}}">{{.Text}}</text>
{{- end}}{{end}}
{{- range .Keys}}
<rect class="area {{.Class}}"{{if .Fill}} fill="{{.Fill}}"{{end}} {{template "box" .Sample}}/>
<text x="{{n .Text.X}}" y="{{n .Text.Y}}" font-size="{{.Text.Size}}">{{.Text.Text}}</text>
{{- end}}
</svg>
{{- define "box"}}x="{{n .X}}" y="{{n .Y}}" width="{{n .W}}" height="{{n .H}}"{{end}}`, "\n<svg", "<svg")))

// Depth is the height of the sea.
func (f *figure) Depth() float64 { return f.Height - f.Water }

func draw(f *figure) string {
	var b strings.Builder
	if err := drawing.Execute(&b, f); err != nil {
		panic("drawing a report: " + err.Error()) // a builder takes everything, and the template fits its type
	}
	return b.String()
}
