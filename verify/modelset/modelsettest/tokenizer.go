package modelsettest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// splitPattern is the published pre-tokenizer of Qwen2. Its `\s+(?!\S)` is beyond Go's
// regexp; see words.
const splitPattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// specials are the published added tokens in the order of their ids. Those from <tool_call>
// on are added but not special: a decoder that skips special tokens shows them.
var specials = []string{
	"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
	"<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
	"<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
	"<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
	"<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
}

// firstPlain is the index of <tool_call>.
const firstPlain = 14

// Specials lists the added tokens in the order of their ids, which begin at Text.Tokens.
func Specials() []string { return slices.Clone(specials) }

// ID is the id of an added token, -1 if there is none of that name.
func (t Text) ID(special string) int {
	at := slices.Index(specials, special)
	if at < 0 {
		return -1
	}
	return t.Tokens + at
}

// byteOrder lists the 256 bytes in the order of their tokens: printable Latin-1 first.
// byteRune maps a byte to the letter that stands for it in tokens: itself where it prints,
// else one from U+0100 on. Both are GPT-2's, as all byte-level tokenizers use them.
var byteOrder, byteRune = func() (order []byte, letters [256]rune) {
	prints := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	next := rune(0x100)
	for b := range 256 {
		if prints(b) {
			order, letters[b] = append(order, byte(b)), rune(b)
		}
	}
	for b := range 256 {
		if !prints(b) {
			order, letters[b] = append(order, byte(b)), next
			next++
		}
	}
	return order, letters
}()

// letters spells bytes as byte-level tokens do.
func letters(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(byteRune[s[i]])
	}
	return b.String()
}

// merge is one rule of the byte-pair encoding: left and right become one token.
type merge [2]string

// vocabulary is what a byte-pair encoding of that many tokens consists of: the tokens in
// the order of ids, and the merges in the order of ranks.
func vocabulary(count int) (tokens []string, merges []merge) {
	learned := training()
	merges = slices.Clone(learned[:min(len(learned), count-len(byteOrder))])
	for _, b := range byteOrder {
		tokens = append(tokens, letters(string([]byte{b})))
	}
	for _, m := range merges {
		tokens = append(tokens, m[0]+m[1])
	}
	return extend(tokens, merges, count)
}

// extend adds merges that the corpus does not teach, token by token with every byte, until
// there are count tokens. They rank behind all learned ones.
func extend(tokens []string, merges []merge, count int) ([]string, []merge) {
	known := make(map[string]bool, count)
	for _, t := range tokens {
		known[t] = true
	}
	for i := 0; len(tokens) < count; i++ {
		for _, b := range tokens[:len(byteOrder)] {
			if t := tokens[i] + b; len(tokens) < count && !known[t] {
				known[t] = true
				tokens, merges = append(tokens, t), append(merges, merge{tokens[i], b})
			}
		}
	}
	return tokens, merges
}

// goPattern is splitPattern without `\s+(?!\S)`. The two split a text alike that has no
// two white-space characters in a row, and the corpus has none.
var goPattern = regexp.MustCompile(strings.Replace(splitPattern, `|\s+(?!\S)`, "", 1))

// word is a piece of the corpus as symbols, and how often it counts.
type word struct {
	symbols []string
	count   int
}

// training learns every merge that the corpus can teach. The template's words count most,
// so that they become whole tokens first: 64 tokens of prefix are dropped from every
// prompt, which is right only if each of its words is one token, as in the real model.
var training = sync.OnceValue(func() []merge {
	counts := map[string]int{}
	for _, w := range goPattern.FindAllString(corpus, -1) {
		counts[letters(w)]++
	}
	for _, w := range goPattern.FindAllString(template, -1) {
		counts[letters(w)] += 1 << 20
	}
	var words []word
	for w, n := range counts {
		words = append(words, word{strings.Split(w, ""), n})
	}
	var merges []merge
	for {
		best, ok := commonest(words)
		if !ok {
			return merges
		}
		merges = append(merges, best)
		for i := range words {
			words[i].symbols = best.apply(words[i].symbols)
		}
	}
})

// commonest is the pair that occurs most often, the first in the alphabet among equals.
func commonest(words []word) (best merge, ok bool) {
	counts := map[merge]int{}
	for _, w := range words {
		for i := 1; i < len(w.symbols); i++ {
			counts[merge{w.symbols[i-1], w.symbols[i]}] += w.count
		}
	}
	most := 0
	for pair, n := range counts {
		if n > most || n == most && slices.Compare(pair[:], best[:]) < 0 {
			best, most = pair, n
		}
	}
	return best, most > 0
}

// apply merges every occurrence of the pair, from the left.
func (m merge) apply(symbols []string) []string {
	merged := symbols[:0]
	for i := 0; i < len(symbols); i++ {
		if i+1 < len(symbols) && symbols[i] == m[0] && symbols[i+1] == m[1] {
			merged = append(merged, m[0]+m[1])
			i++
			continue
		}
		merged = append(merged, symbols[i])
	}
	return merged
}

// tokenizers are the files of tokenizer/ and processor/ that describe the tokenizer. Only
// the processor has the single-file form.
func (p Params) tokenizers() map[string]File {
	tokens, merges := vocabulary(p.Text.Tokens)
	ids := make(map[string]int, len(tokens))
	for i, t := range tokens {
		ids[t] = i
	}
	shared := map[string]File{
		"added_tokens.json":       document(p.addedTokens()),
		"chat_template.jinja":     text(chatTemplate),
		"merges.txt":              text(mergesText(merges)),
		"special_tokens_map.json": document(specialTokensMap()),
		"vocab.json":              document(ids),
	}
	files := map[string]File{"processor/tokenizer.json": document(p.tokenizerJSON(ids, merges))}
	files["processor/tokenizer.json"] = File{Content: files["processor/tokenizer.json"].Content, LFS: true}
	for _, dir := range []string{"tokenizer", "processor"} {
		for name, f := range shared {
			files[dir+"/"+name] = f
		}
		files[dir+"/tokenizer_config.json"] = document(p.tokenizerConfig(dir))
	}
	return files
}

func mergesText(merges []merge) string {
	var b strings.Builder
	b.WriteString("#version: 0.2\n")
	for _, m := range merges {
		fmt.Fprintf(&b, "%s %s\n", m[0], m[1])
	}
	return b.String()
}

func (p Params) addedTokens() map[string]int {
	ids := make(map[string]int, len(specials))
	for i, s := range specials {
		ids[s] = p.Text.Tokens + i
	}
	return ids
}

// addedToken describes an added token as both configuration files do.
func addedToken(i int) object {
	return object{"content": specials[i], "lstrip": false, "normalized": false, "rstrip": false,
		"single_word": false, "special": i < firstPlain}
}

func specialTokensMap() object {
	plain := func(content string) object {
		return object{"content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false}
	}
	return object{
		"additional_special_tokens": specials[1:firstPlain],
		"eos_token":                 plain("<|im_end|>"),
		"pad_token":                 plain("<|endoftext|>"),
	}
}

func (p Params) tokenizerConfig(dir string) object {
	decoder := object{}
	for i := range specials {
		decoder[fmt.Sprint(p.Text.Tokens+i)] = addedToken(i)
	}
	config := object{
		"add_bos_token":                false,
		"add_prefix_space":             false,
		"added_tokens_decoder":         decoder,
		"additional_special_tokens":    specials[1:firstPlain],
		"bos_token":                    nil,
		"clean_up_tokenization_spaces": false,
		"eos_token":                    "<|im_end|>",
		"errors":                       "replace",
		"extra_special_tokens":         object{},
		"model_max_length":             131072,
		"pad_token":                    "<|endoftext|>",
		"split_special_tokens":         false,
		"tokenizer_class":              "Qwen2Tokenizer",
		"unk_token":                    nil,
	}
	if dir == "processor" {
		config["processor_class"] = "Qwen2VLProcessor"
	}
	return config
}

// tokenizerJSON is the single-file form of the tokenizers library.
func (p Params) tokenizerJSON(ids map[string]int, merges []merge) object {
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
	added := make([]object, len(specials))
	for i := range specials {
		added[i] = addedToken(i)
		added[i]["id"] = p.Text.Tokens + i
	}
	split := object{"type": "Split", "pattern": object{"Regex": splitPattern}, "behavior": "Isolated", "invert": false}
	return object{
		"version":        "1.0",
		"truncation":     nil,
		"padding":        nil,
		"added_tokens":   added,
		"normalizer":     object{"type": "NFC"},
		"pre_tokenizer":  object{"type": "Sequence", "pretokenizers": []object{split, byteLevel}},
		"post_processor": byteLevel,
		"decoder":        byteLevel,
		"model": object{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "",
			"end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
			"vocab": ids, "merges": merges,
		},
	}
}
