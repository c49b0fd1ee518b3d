package manifests

import (
	"regexp"
	"strings"
)

// NoAssertion stands for a licence that is not known (SPDX 2.3, clause 7.13), which no
// licence expression may hold.
const NoAssertion = "NOASSERTION"

// licenceID is the form of a licence or of an exception in an expression.
var licenceID = regexp.MustCompile(`^[A-Za-z0-9.+-]+$`)

// LicenceExpression reports whether a text has the form of an SPDX licence expression (SPDX
// 2.3, annex D): identifiers, which are not looked up, between AND, OR and WITH, and brackets
// that match. ids counts the identifiers; more than one need brackets within another
// expression. NOASSERTION is none.
func LicenceExpression(text string) (ids int, ok bool) {
	p := licenceParser{words: strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text))}
	ok = p.expression() && len(p.words) == 0
	return p.ids, ok
}

// licenceParser reads an expression word by word.
type licenceParser struct {
	words []string
	ids   int
	depth int
}

// maxLicenceDepth is deeper than anybody's brackets.
const maxLicenceDepth = 100

// expression reads terms between AND and OR.
func (p *licenceParser) expression() bool {
	for p.term() {
		if !p.take("AND") && !p.take("OR") {
			return true
		}
	}
	return false
}

// term reads an expression in brackets, or a licence that may have an exception.
func (p *licenceParser) term() bool {
	if p.take("(") {
		p.depth++
		ok := p.depth <= maxLicenceDepth && p.expression() && p.take(")")
		p.depth--
		return ok
	}
	return p.id() && (!p.take("WITH") || p.id())
}

// id reads an identifier.
func (p *licenceParser) id() bool {
	if len(p.words) == 0 || !licenceID.MatchString(p.words[0]) {
		return false
	}
	switch p.words[0] {
	case "AND", "OR", "WITH", NoAssertion:
		return false
	}
	p.words = p.words[1:]
	p.ids++
	return true
}

// take reads a word, if it is the next one.
func (p *licenceParser) take(word string) bool {
	if len(p.words) == 0 || p.words[0] != word {
		return false
	}
	p.words = p.words[1:]
	return true
}
