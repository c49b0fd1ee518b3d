package modelset

import (
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/plimsoll-oci/plimsoll/verify"
)

// tokenTable is what a tokenizer's files say about ids.
type tokenTable map[string]int64

// tokenIDs are the ids that the text encoder looks for.
type tokenIDs struct {
	VocabSize *int64 `json:"vocab_size"`
	Text      struct {
		VocabSize *int64 `json:"vocab_size"`
	} `json:"text_config"`
	Image *int64 `json:"image_token_id"`
	Video *int64 `json:"video_token_id"`
	Start *int64 `json:"vision_start_token_id"`
	End   *int64 `json:"vision_end_token_id"`
}

// checkTokens holds the tokenizers against the text encoder and each other.
func (c *checker) checkTokens() {
	if !slices.Contains(imagePipelines, c.index.class) {
		return
	}
	var ids tokenIDs
	config, known := c.config("text_encoder", &ids)
	var dirs []*tokenizerDir
	for _, name := range []string{"tokenizer", "processor"} {
		if !c.replaced(name) && c.index.components[name].class != "" {
			d := &tokenizerDir{name: name, checker: checker{set: c.set, broken: maps.Clone(c.broken)}}
			dirs = append(dirs, d)
		}
	}
	var group sync.WaitGroup
	for _, d := range dirs {
		group.Go(func() {
			if d.table = d.tokens(d.name); d.table != nil && known {
				d.checkIDs(d.name, d.table, ids, config)
			}
		})
	}
	group.Wait()
	for _, d := range dirs {
		c.found = append(c.found, d.found...)
		maps.Copy(c.broken, d.broken)
	}
	if len(dirs) == 2 && dirs[0].table != nil && dirs[1].table != nil {
		c.compareTables(dirs[0].table, dirs[1].table)
	}
}

// tokenizerDir is a folder with a tokenizer, which is looked at while others are.
type tokenizerDir struct {
	checker
	name  string
	table tokenTable // nil where it cannot be read
}

// tokens reads a folder's tokenizer, from its single file if there is one, else from its
// parts; nil if it has neither, which is a finding, or if they are broken.
func (c *checker) tokens(dir string) tokenTable {
	if c.has(dir + "/tokenizer.json") {
		return c.singleFile(dir + "/tokenizer.json")
	}
	table := tokenTable{}
	if _, ok := c.document(dir+"/vocab.json", &table); !ok {
		c.add(verify.Error, "tokens", dir, "neither tokenizer.json nor vocab.json can be read: text cannot become tokens")
		return nil
	}
	if !c.has(dir + "/merges.txt") {
		c.add(verify.Error, "tokens", dir, "%s/merges.txt is missing, %s/vocab.json is of no use without it", dir, dir)
	}
	var tokenizer struct {
		Added map[string]struct {
			Content string `json:"content"`
		} `json:"added_tokens_decoder"`
	}
	c.document(dir+"/tokenizer_config.json", &tokenizer)
	for id, token := range tokenizer.Added {
		if n, err := strconv.ParseInt(id, 10, 64); err == nil {
			table[token.Content] = n
		}
	}
	added := tokenTable{}
	c.document(dir+"/added_tokens.json", &added)
	maps.Copy(table, added)
	return table
}

// singleFile reads the form of the tokenizers library.
func (c *checker) singleFile(p string) tokenTable {
	var doc struct {
		Added []struct {
			ID      int64  `json:"id"`
			Content string `json:"content"`
		} `json:"added_tokens"`
		Model struct {
			Vocab tokenTable `json:"vocab"`
		} `json:"model"`
	}
	if _, ok := c.document(p, &doc); !ok {
		return nil
	}
	table := doc.Model.Vocab
	if table == nil {
		table = tokenTable{}
	}
	for _, t := range doc.Added {
		table[t.Content] = t.ID
	}
	return table
}

// promptTokens are the added tokens that every prompt contains and no configuration names.
var promptTokens = []string{"<|im_start|>", "<|im_end|>"}

// checkIDs holds one tokenizer against the embedding and the special ids.
func (c *checker) checkIDs(dir string, table tokenTable, ids tokenIDs, config string) {
	for _, s := range []struct {
		key, token string
		id         *int64
	}{
		{"image_token_id", "<|image_pad|>", ids.Image},
		{"video_token_id", "<|video_pad|>", ids.Video},
		{"vision_start_token_id", "<|vision_start|>", ids.Start},
		{"vision_end_token_id", "<|vision_end|>", ids.End},
	} {
		id, ok := table[s.token]
		switch {
		case !ok:
			c.add(verify.Error, "tokens", dir, "token %s is missing", s.token)
		case s.id == nil:
			c.add(verify.Error, "tokens", config, "%s is missing, token %s is %d in %s", s.key, s.token, id, dir)
		case *s.id != id:
			c.add(verify.Error, "tokens", dir, "token %s is %d, %s of %s is %d", s.token, id, s.key, config, *s.id)
		}
	}
	for _, token := range promptTokens {
		if _, ok := table[token]; !ok {
			c.add(verify.Error, "tokens", dir, "token %s is missing", token)
		}
	}
	c.checkRange(dir, table, first(ids.Text.VocabSize, ids.VocabSize), config)
}

// checkRange reports ids without a row in the embedding, and ids that two tokens share.
func (c *checker) checkRange(dir string, table tokenTable, rows *int64, config string) {
	if table.isDense(rows) {
		return // as every published one, without sorting
	}
	owner := make(map[int64]string, len(table))
	var outside, shared []string
	for _, token := range slices.Sorted(maps.Keys(table)) {
		id := table[token]
		if rows != nil && (id < 0 || id >= *rows) {
			outside = append(outside, token)
		}
		if _, taken := owner[id]; taken {
			shared = append(shared, token)
		}
		owner[id] = token
	}
	if len(outside) > 0 {
		c.add(verify.Error, "tokens", dir, "id of token %q is %d, vocab_size of %s is %d (%d such tokens)",
			outside[0], table[outside[0]], config, *rows, len(outside))
	}
	if len(shared) > 0 {
		c.add(verify.Error, "tokens", dir, "id %d of token %q belongs to another token, too (%d such tokens)",
			table[shared[0]], shared[0], len(shared))
	}
}

// isDense reports that every id has a row and no two tokens share one, where ids are so close
// together that a table tells it.
func (t tokenTable) isDense(rows *int64) bool {
	taken := make([]bool, 2*len(t))
	for _, id := range t {
		if id < 0 || id >= int64(len(taken)) || taken[id] || rows != nil && id >= *rows {
			return false
		}
		taken[id] = true
	}
	return true
}

// compareTables reports the first token that the two tokenizers understand differently.
func (c *checker) compareTables(tokenizer, processor tokenTable) {
	if len(tokenizer) != len(processor) {
		c.add(verify.Error, "tokens", "processor", "%d tokens, tokenizer has %d", len(processor), len(tokenizer))
		return
	}
	if maps.Equal(tokenizer, processor) {
		return
	}
	for _, token := range slices.Sorted(maps.Keys(tokenizer)) {
		if id, ok := processor[token]; !ok || id != tokenizer[token] {
			c.add(verify.Error, "tokens", "processor", "token %q differs from the one of tokenizer, which is %d", token, tokenizer[token])
			return
		}
	}
}
