package picture

import "fmt"

// Outside is the class in Style of what is no model file.
const Outside = "outside"

// hues is the number of colours for sources.
const hues = 6

// Hue is the class in Style of the source in a row of a scope; sources beyond the palette
// begin it again.
func Hue(row int) string { return fmt.Sprintf("hue%d", row%hues) }

// Style is the style sheet of the pictures, for light and dark surroundings and for paper.
// Text on kept cargo has a contrast of 4.5 and more to one.
const Style = `.ships{--sky:#fff;--ink:#16222c;--soft:#4d5c69;--sea:#d9eaf3;--line:#1c6a95;--hull:#243341;--top:#2f4152;--boot:#96382a;--hold:#f3f0e9;--edge:#fff;--ground:#e8ebee;--goes:#27323c;font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
.ships .sky{fill:var(--sky)}
.ships .sea{fill:var(--sea)}
.ships .hull{fill:var(--hull)}
.ships .hold{fill:var(--hold)}
.ships .topside{fill:var(--top)}
.ships .boot{fill:var(--boot)}
.ships .wet{fill:var(--line);opacity:.28}
.ships .area{stroke:var(--edge);stroke-width:.6;stroke-opacity:.55}
.ships .thin,.ships .plate{stroke:none}
.ships .edge{fill:none;stroke:var(--edge);stroke-width:2;stroke-opacity:1}
.ships .hue0{fill:#0e6a6f}
.ships .hue1{fill:#35518f}
.ships .hue2{fill:#74478a}
.ships .hue3{fill:#7f5312}
.ships .hue4{fill:#4c6420}
.ships .hue5{fill:#8a3d5b}
.ships .outside{fill:#a4560c}
.ships .stripe{opacity:.3}
.ships .ground{fill:var(--ground)}
.ships .tick{stroke:#fff;stroke-width:1.5;fill:none}
.ships .draught{fill:#fff}
.ships .mark{stroke:#fff;stroke-width:2.6;fill:none}
.ships .waterline{stroke:var(--line);stroke-width:1.6;fill:none}
.ships text{fill:var(--ink)}
.ships .draught{fill:#fff}
.ships .when{fill:var(--soft);font-weight:600}
.ships .total{font-weight:750;letter-spacing:-.01em}
.ships .saved{font-weight:700;text-anchor:middle}
.ships .share{fill:var(--soft);text-anchor:middle}
.ships .cargo{fill:#fff}
.ships .name{font-weight:650}
.ships .goes{fill:var(--goes)}
.ships .struck{text-decoration:line-through;text-decoration-thickness:1.4px}
@media (prefers-color-scheme:dark){.ships{--sky:#12181e;--ink:#eef3f7;--soft:#a9b7c3;--sea:#16303f;--line:#5fb2de;--hull:#0c1116;--top:#33475a;--boot:#8d3629;--hold:#1e262d;--edge:#12181e;--ground:#2a323a;--goes:#e3e9ee}.ships .hull{stroke:#4a5a68;stroke-width:1}.ships .stripe{opacity:.6}}
@media print{.ships{--sky:#fff;--ink:#16222c;--soft:#4d5c69;--sea:#d9eaf3;--line:#1c6a95;--hull:#243341;--hold:#f3f0e9;--edge:#fff;--ground:#e8ebee;--goes:#27323c;print-color-adjust:exact;-webkit-print-color-adjust:exact}}`
