package tokenizer

// Compose is what Decode gives back of a text.
var Compose = compose

// ClassName names a character's class.
func ClassName(r rune) string {
	return [...]string{other: "other", space: "space", letter: "letter", number: "number"}[classOf(r)]
}
