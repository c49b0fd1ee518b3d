package tokenizer_test

import (
	"math/rand/v2"
	"strings"
)

// pieces are what texts are made of: words of scripts, emoji sequences, runs of white space
// of all kinds, digits, contractions, added tokens whole and broken, marks, controls.
var pieces = [][]string{
	strings.Split("Make the sky a warm orange, HELLO world don't I'll WE'VE it'S he'D they'Re I'M 'tis rock'n'roll", " "),
	strings.Split("Größe naïve façade Ελληνικά русский עִבְרִית العَرَبِيَّة हिन्दी தமிழ் ไทย 日本語 カタカナ ｶﾞ 한국어 한글 中文字符 ꦗꦮ 𐐷𐑊 𝒜𝓫 ﬁ ſ 'ſ ʼn ß İ ı", " "),
	{"👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "🤦🏼‍♂️", "1️⃣", "\u200d", "\ufe0f"},
	{" ", "  ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "   \n  ", "\n\n\n", " \t \u00a0 ", "\u200b", "\ufeff"},
	{"0", "7", "2024", "3.14", "1,000", "٣", "四", "½", "Ⅷ", "²", "①", "𝟘"},
	{"'s", "'S", "'t", "'re", "'VE", "'m", "'LL", "'d", "'", "’s", "''s", "'l", "'r"},
	{"<|im_end|>", "<|im_start|>", "<|image_pad|>", "<|vision_start|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<|fim_pad|>", "<|im_end", "<|", "|>", "<<|im_end|>>", "<|im_end|><|im_end|>"},
	{"e\u0301", "\u0301", "a\u0323\u0307", "a\u0307\u0323", "\u1100\u1161\u11a8", "\u212b", "\u0344", "q\u0307\u0323", "\u0958", "\u2126", "\uac00\u11a8", strings.Repeat("\u0301\u0316", 20), "\u0915\u093c"},
	{"\x00", "\x01", "\x1b[0m", "\x7f", "\u0080", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "\U000e0041"},
	{"!", "...", "?!", "--", "://", "{}", "()[]", "\"", "`", "#", "$", "€", "_", "@", "\\n", "。", "！", "«", "→", "∑"},
}

// text is one of endless texts, the same for the same source.
func text(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(24) {
		switch r.IntN(16) {
		case 0: // any character
			c := rune(r.IntN(0x110000))
			if c < 0xd800 || c > 0xdfff {
				b.WriteRune(c)
			}
		case 1: // of the first scripts
			b.WriteRune(rune(r.IntN(0x3000)))
		default:
			kind := pieces[r.IntN(len(pieces))]
			b.WriteString(kind[r.IntN(len(kind))])
			if r.IntN(3) == 0 {
				b.WriteByte(' ')
			}
		}
	}
	return b.String()
}

// texts are the first n texts of a seed.
func texts(seed uint64, n int) []string {
	r := rand.New(rand.NewPCG(seed, 0))
	out := make([]string, n)
	for i := range out {
		out[i] = text(r)
	}
	return out
}
