package manifests

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Growth is how much an image may grow, as the manifest writes it: a percentage such as "2%"
// or "0.5 %", or a size such as "500 MB". "" is no limit, "0%" no growth at all.
type Growth string

// maxPercent bounds a percentage: ten times the size is no limit anybody means.
const maxPercent = 1000

// Allowed is the number of bytes that an image of the given size may grow by, rounded down.
// The arithmetic is exact. An error says what is wrong with the text.
func (g Growth) Allowed(published int64) (int64, error) {
	number, percent := strings.CutSuffix(string(g), "%")
	if !percent {
		size, err := ParseSize(string(g))
		if err != nil {
			return 0, fmt.Errorf("reading a growth: %q is neither a percentage such as 2%% nor a number of bytes such as 500 MB", string(g))
		}
		return int64(size), nil
	}
	match := sizeForm.FindStringSubmatch(strings.TrimSuffix(number, " "))
	if match == nil || match[2] != "" {
		return 0, fmt.Errorf("reading a growth: %q is not a percentage such as 2%%", string(g))
	}
	share, _ := new(big.Rat).SetString(match[1]) // the form admits numbers only
	if share.Cmp(big.NewRat(maxPercent, 1)) > 0 {
		return 0, fmt.Errorf("reading a growth: %q is more than %d%%", string(g), maxPercent)
	}
	share.Mul(share, new(big.Rat).SetFrac(big.NewInt(published), big.NewInt(100)))
	allowed := new(big.Int).Quo(share.Num(), share.Denom())
	if !allowed.IsInt64() {
		return 0, fmt.Errorf("reading a growth: %q of %d bytes is too much", string(g), published)
	}
	return allowed.Int64(), nil
}

// checkBudget checks what YAML cannot say; the form of a growth is read with the YAML.
func (m *Manifest) checkBudget() error {
	b := m.Budget
	switch {
	case b == nil:
		return nil
	case b.Image == nil && b.Outside == nil && b.Growth == "":
		return errors.New("budget limits nothing: image, outside or growth is needed")
	case b.Image != nil && *b.Image <= 0:
		return fmt.Errorf("budget.image is %d, want a number of bytes above 0", *b.Image)
	case b.Outside != nil && *b.Outside <= 0:
		return fmt.Errorf("budget.outside is %d, want a number of bytes above 0", *b.Outside)
	case b.Image != nil && b.Outside != nil && *b.Outside > *b.Image:
		return fmt.Errorf("budget.outside is %d, more than budget.image with %d", *b.Outside, *b.Image)
	}
	return nil
}
