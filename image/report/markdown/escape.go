package markdown

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/report"
)

// escaped says how characters of prose are written. Those that HTML or a table would read
// are character references, which neither does; the rest takes a backslash. An empty
// comment after an at sign keeps GitHub from finding a mention in the finished text.
var escaped = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`, "$", `\$`, "#", `\#`, "!", `\!`,
	"@", "@<!-- -->",
)

// prose makes one line of text that says what it says and does nothing. It is for the
// inside of a line: what a block could begin with is not escaped.
func prose(text string) string { return escaped.Replace(report.Clean(text)) }

// code shows a name as it is. Plain names are in backticks, which read well in the source
// too; all others are in an element of HTML, with a character reference for everything
// that is neither letter nor digit of ASCII.
func code(text string) string {
	text = report.Clean(text)
	if text == "" {
		return "(empty)"
	}
	if strings.IndexFunc(text, special) < 0 {
		return "`" + text + "`"
	}
	var b strings.Builder
	for _, r := range text {
		if letter(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return "<code>" + b.String() + "</code>"
}

func letter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r >= 0x80
}

// special reports whether a letter needs more than backticks.
func special(r rune) bool { return !letter(r) && !strings.ContainsRune("._-/:+=,@* ()", r) }
