package bench

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// Text is the result as tables: floors, a table for each case, ratios, notes.
func (r *Result) Text() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "bench:%s of %s, medians of %s on %d CPUs (%s), %s/%s, %s, load before %.2f\n",
		r.Bench, humanize.Bytes(uint64(r.Size)), rounds(r.Runs), m.CPUs, m.CPU, m.OS, m.Arch, m.Go, m.Load)
	for _, p := range r.Programs {
		if p.Path == "" {
			fmt.Fprintf(&b, "missing: %s; install it with: %s\n", p.Name, p.Get)
		} else {
			fmt.Fprintf(&b, "%s: %s\n", p.Name, p.Version)
		}
	}
	table(&b, "floor\tseconds\tMB/s", r.floorRows())
	for _, c := range r.Cases {
		table(&b, c.Title+"\twall s\tCPU s\tpeak MB\tdisk read\tdisk written\tread\twritten\tserved\trequests\tserver CPU s", c.rows())
	}
	table(&b, "ratio\tvalue\taim\t", r.ratioRows())
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}

// table writes a headed table with columns divided by tabs; nothing if it has no rows.
func table(b *strings.Builder, head string, rows []string) {
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for _, row := range rows {
		fmt.Fprintln(w, row)
	}
	_ = w.Flush() // a strings.Builder takes everything
}

func (r *Result) floorRows() []string {
	var rows []string
	for _, f := range r.Floors {
		rows = append(rows, fmt.Sprintf("%s\t%.2f\t%.0f", f.Name, f.Seconds, f.BytesPerSecond/1e6))
	}
	return rows
}

func (c Case) rows() []string {
	var rows []string
	for _, x := range c.Contestants {
		if x.Median == nil {
			rows = append(rows, x.Name+"\tmissing: "+strings.Join(x.Missing, ", "))
			continue
		}
		s := x.Median
		rows = append(rows, fmt.Sprintf("%s\t%.2f\t%.2f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%.2f", x.Name, s.Seconds, s.CPU(), float64(s.PeakMemory)/1e6,
			amount(s.DiskRead), amount(s.DiskWritten), amount(s.CallsRead), amount(s.CallsWritten), amount(s.Transferred), number(s.Requests), s.ServerSeconds))
	}
	return rows
}

func amount(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func (r *Result) ratioRows() []string {
	var rows []string
	for _, x := range r.Ratios {
		value, verdict := "-", x.Missing
		if x.Value != nil {
			value = fmt.Sprintf("%.2f", *x.Value)
		}
		if x.Met != nil {
			verdict = map[bool]string{true: "met", false: "MISSED"}[*x.Met]
		}
		wanted := ""
		if x.Aim != nil {
			wanted = fmt.Sprintf("%s %.2f", x.Sense, *x.Aim)
		}
		rows = append(rows, fmt.Sprintf("%s: %s\t%s\t%s\t%s", x.Case, x.What, value, wanted, verdict))
	}
	return rows
}
