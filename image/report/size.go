package report

import (
	"fmt"
	"strconv"
)

// Unit is a decimal unit of bytes: storage is sold and registries set limits in powers of
// ten.
type Unit struct {
	name  string
	bytes int64
}

// units lists the units, largest first. A model is never told in TB: the seed of all these
// tables counts in GB.
var units = []Unit{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// UnitFor picks the unit of a table by its largest size, so that all its rows compare at a
// glance.
func UnitFor(sizes ...int64) Unit {
	largest := int64(0)
	for _, n := range sizes {
		largest = max(largest, n, -n)
	}
	for _, u := range units {
		if largest >= u.bytes {
			return u
		}
	}
	return units[len(units)-1]
}

// Format rounds half away from zero to two decimals; bytes have none. What is there but
// rounds to nothing is "<0.01", so that only nothing is 0.00.
func (u Unit) Format(n int64) string {
	if u.bytes == 1 {
		return fmt.Sprintf("%d %s", n, u.name)
	}
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	hundredths := (n*100 + u.bytes/2) / u.bytes
	if hundredths == 0 && n > 0 {
		return fmt.Sprintf("%s<0.01 %s", sign, u.name)
	}
	return fmt.Sprintf("%s%d.%02d %s", sign, hundredths/100, hundredths%100, u.name)
}

// some formats a size that belongs to a number of files: "-" for no file.
func (u Unit) some(files int, n int64) string {
	if files == 0 {
		return "-"
	}
	return u.Format(n)
}

// formatPercent shows one decimal, "-" where there is nothing to compare to.
func formatPercent(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", *p)
}

// Number is the size in the unit without the unit's name, and without decimals that are
// zero: for marks on a scale.
func (u Unit) Number(n int64) string {
	return strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', -1, 64)
}
