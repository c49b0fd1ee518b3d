package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// mergeRules are pairs of tokens in the order of ranks: in a file "left right" or, since
// tokenizers 0.20, ["left", "right"]. There are 150,000, so that they share one piece of memory.
type mergeRules struct {
	text string  // left and right of every rule, one behind the other
	ends []int32 // of left and of right, for each rule
}

func (m *mergeRules) len() int { return len(m.ends) / 2 }

// rule is the rule of a rank: its tokens, and the two joined.
func (m *mergeRules) rule(rank int) (left, right, joined string) {
	start, cut, end := int32(0), m.ends[2*rank], m.ends[2*rank+1]
	if rank > 0 {
		start = m.ends[2*rank-1]
	}
	return m.text[start:cut], m.text[cut:end], m.text[start:end]
}

// UnmarshalJSON takes valid JSON that is UTF-8. Where there is more to a rule than two tokens
// as they are written, encoding/json reads them all.
func (m *mergeRules) UnmarshalJSON(data []byte) error {
	w := walker{rest: data}
	if w.rules() {
		*m = mergeRules{string(w.text), w.ends}
		return nil
	}
	var rules []mergeRule
	if err := json.Unmarshal(data, &rules); err != nil {
		return err
	}
	var text strings.Builder
	*m = mergeRules{}
	for _, r := range rules {
		text.WriteString(r[0])
		m.ends = append(m.ends, int32(text.Len()))
		text.WriteString(r[1])
		m.ends = append(m.ends, int32(text.Len()))
	}
	m.text = text.String()
	return nil
}

// mergeRule is one rule.
type mergeRule [2]string

func (m *mergeRule) UnmarshalJSON(data []byte) error {
	var both []string
	if data[0] == '"' {
		var line string
		if err := json.Unmarshal(data, &line); err != nil {
			return err
		}
		both = strings.Split(line, " ")
	} else if err := json.Unmarshal(data, &both); err != nil {
		return err
	}
	if len(both) != 2 || both[0] == "" || both[1] == "" {
		return fmt.Errorf("merge is %.100q, a merge has two tokens", both)
	}
	*m = mergeRule(both)
	return nil
}

// walker reads rules of valid JSON. Its methods report whether what they met is what they read;
// otherwise what they have read is of no use.
type walker struct {
	rest []byte
	text []byte
	ends []int32
}

// rules reads an array of rules to its end.
func (w *walker) rules() bool {
	if !w.mark('[') {
		return false
	}
	for more := !w.mark(']'); more; more = w.mark(',') {
		if len(w.ends) == cap(w.ends) {
			w.ends, w.text = slices.Grow(w.ends, len(w.ends)+64), slices.Grow(w.text, len(w.text))
		}
		if !w.rule() {
			return false
		}
	}
	return true
}

// rule reads ["left", "right"] or "left right".
func (w *walker) rule() bool {
	if w.mark('[') {
		return w.token() && w.mark(',') && w.token() && w.mark(']')
	}
	return w.line()
}

// token reads a string that is one token.
func (w *walker) token() bool {
	before := len(w.text)
	if !w.mark('"') || !w.string() {
		return false
	}
	w.ends = append(w.ends, int32(len(w.text)))
	return len(w.text) > before
}

// line reads "left right".
func (w *walker) line() bool {
	start := len(w.text)
	if !w.mark('"') || !w.string() {
		return false
	}
	both := w.text[start:]
	cut := bytes.IndexByte(both, ' ')
	if cut <= 0 || cut == len(both)-1 || bytes.IndexByte(both[cut+1:], ' ') >= 0 {
		return false
	}
	w.text = slices.Delete(w.text, start+cut, start+cut+1)
	w.ends = append(w.ends, int32(start+cut), int32(len(w.text)))
	return true
}

// string reads a string to its end. Escapes are quotes and backslashes, which tokens have.
func (w *walker) string() bool {
	for i := 0; i < len(w.rest); i++ {
		c := w.rest[i]
		if c != '"' && c != '\\' {
			continue
		}
		w.text = append(w.text, w.rest[:i]...)
		if c == '"' {
			w.rest = w.rest[i+1:]
			return true
		}
		escaped := w.rest[i+1]
		if escaped != '"' && escaped != '\\' {
			return false
		}
		w.text, w.rest = append(w.text, escaped), w.rest[i+2:]
		i = -1
	}
	return false
}

// mark skips white space and one byte, if it comes next.
func (w *walker) mark(c byte) bool {
	i := 0
	for i < len(w.rest) && w.rest[i] <= ' ' {
		i++
	}
	if w.rest = w.rest[i:]; len(w.rest) == 0 || w.rest[0] != c {
		return false
	}
	w.rest = w.rest[1:]
	return true
}
