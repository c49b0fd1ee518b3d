package manifests

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// Size is a number of bytes. In YAML it is a whole number, or text with a decimal or
// binary unit such as "9.5 GB" or "9 GiB".
type Size int64

// maxSize bounds sizes, so that sums of a few of them do not overflow.
const maxSize = 1 << 62

// sizeForm is a decimal number and a unit. Commas are refused: they mean thousands to some
// readers and a decimal point to others.
var sizeForm = regexp.MustCompile(`^([0-9]{1,20}(?:\.[0-9]{1,20})?) ?([A-Za-z]*)$`)

// units are the factors of units, in lower case: SI for kB, IEC for KiB.
var units = map[string]int64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// ParseSize reads a number of bytes such as "9.5 GB", "9 GiB" or "4096". The arithmetic is
// exact; what is not a whole number of bytes is an error.
func ParseSize(text string) (Size, error) {
	fail := fmt.Errorf("reading a size: %q is not a number of bytes such as 9.5 GB", text)
	match := sizeForm.FindStringSubmatch(text)
	if match == nil {
		return 0, fail
	}
	unit, known := units[strings.ToLower(match[2])]
	number, ok := new(big.Rat).SetString(match[1])
	if !known || !ok {
		return 0, fail
	}
	number.Mul(number, new(big.Rat).SetInt64(unit))
	if !number.IsInt() {
		return 0, fmt.Errorf("reading a size: %q is no whole number of bytes", text)
	}
	if number.Cmp(new(big.Rat).SetInt64(maxSize)) > 0 {
		return 0, fmt.Errorf("reading a size: %q is more than %d bytes", text, int64(maxSize))
	}
	return Size(number.Num().Int64()), nil
}

// UnmarshalYAML reads a number or a text with a unit.
func (s *Size) UnmarshalYAML(data []byte) (err error) {
	*s, err = ParseSize(strings.Trim(strings.TrimSpace(string(data)), `"'`))
	return err
}
