package modelset

import (
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/verify"
	"github.com/plimsoll-oci/plimsoll/verify/safetensors"
)

// indexSuffix ends the name of an index: "model" + indexSuffix lists the shards
// "model-00001-of-00004.safetensors" and so on.
const indexSuffix = ".safetensors.index.json"

var shardName = regexp.MustCompile(`^(.+)-\d{5}-of-\d{5}\.safetensors$`)

// shardIndex is an index file. TotalSize is a number in every published file; "" where it
// is absent.
type shardIndex struct {
	Metadata struct {
		TotalSize json.Number `json:"total_size"`
	} `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

// byShard inverts the weight map; tensor names are sorted.
func (i shardIndex) byShard() map[string][]string {
	shards := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(i.WeightMap)) {
		shards[i.WeightMap[name]] = append(shards[i.WeightMap[name]], name)
	}
	return shards
}

// checkContainers parses the header of every weight file.
func (c *checker) checkContainers() {
	for _, p := range c.paths {
		if !strings.HasSuffix(p, ".safetensors") {
			continue
		}
		if _, err := c.header(p); err != nil {
			c.failed("container", p, err)
		}
	}
}

// checkShards holds every index against its shards, and every shard against an index.
func (c *checker) checkShards() {
	for _, p := range c.paths {
		if strings.HasSuffix(p, indexSuffix) {
			c.checkShardIndex(p)
		}
		if m := shardName.FindStringSubmatch(path.Base(p)); m != nil {
			if index := path.Join(path.Dir(p), m[1]+indexSuffix); !c.has(index) {
				c.add(verify.Error, "shards", p, "%s is missing, a shard is of no use without it", index)
			}
		}
	}
}

func (c *checker) checkShardIndex(p string) {
	var index shardIndex
	if _, ok := c.document(p, &index); !ok {
		return
	}
	if len(index.WeightMap) == 0 {
		c.add(verify.Error, "shards", p, "weight_map is missing or empty")
		return
	}
	shards, whole := index.byShard(), true
	var total int64
	for _, name := range slices.Sorted(maps.Keys(shards)) {
		h := c.checkShard(p, name, shards[name])
		if h == nil {
			whole = false
			continue
		}
		total += h.DataBytes()
	}
	if whole {
		c.checkTotal(p, index.Metadata.TotalSize, total)
	}
	c.checkExtraShards(p, shards)
}

// checkShard compares the tensors that an index places in one shard with those that are
// there. It returns nil if the shard could not be looked at.
func (c *checker) checkShard(index, name string, tensors []string) *safetensors.Header {
	if !isFolderName(name) {
		c.add(verify.Error, "shards", index, "shard %q is no name of a file", name)
		return nil
	}
	p := path.Join(path.Dir(index), name)
	if !c.has(p) {
		c.add(verify.Error, "shards", p, "shard is missing, %s places %s in it", index, some(tensors))
		return nil
	}
	h, err := c.header(p)
	if err != nil {
		return nil // reported among the containers
	}
	var there []string
	for _, t := range h.Tensors {
		there = append(there, t.Name)
	}
	slices.Sort(there)
	if missing := without(tensors, there); len(missing) > 0 {
		c.add(verify.Error, "shards", p, "%s missing, %s places %s here", isAre(missing), index, some(missing))
	}
	if extra := without(there, tensors); len(extra) > 0 {
		c.add(verify.Error, "shards", p, "%s here, %s does not place %s here", isAre(extra), index, some(extra))
	}
	return h
}

// checkTotal compares the index's sum with the bytes of tensors in all shards.
func (c *checker) checkTotal(p string, stated json.Number, total int64) {
	if stated == "" {
		c.add(verify.Warning, "shards", p, "metadata.total_size is missing, the shards hold %d bytes", total)
		return
	}
	if n, err := stated.Int64(); err != nil || n != total {
		c.add(verify.Error, "shards", p, "metadata.total_size is %s, the shards hold %d bytes", stated, total)
	}
}

// checkExtraShards looks for weights beside an index that it does not know. A shard of the
// same name with another number is a leftover of another version; any other file may
// serve another tool.
func (c *checker) checkExtraShards(index string, shards map[string][]string) {
	base := strings.TrimSuffix(path.Base(index), indexSuffix)
	for _, p := range c.under(path.Dir(index), ".safetensors") {
		name := path.Base(p)
		if _, known := shards[name]; known {
			continue
		}
		if m := shardName.FindStringSubmatch(name); m != nil && m[1] == base {
			c.add(verify.Error, "shards", p, "extra shard: %s does not name it", index)
		} else if m == nil {
			c.add(verify.Warning, "shards", p, "%s does not name the file: nothing reads it", index)
		}
	}
}

// without lists what is in a but not in b; both are sorted.
func without(a, b []string) []string {
	var rest []string
	for _, s := range a {
		if _, ok := slices.BinarySearch(b, s); !ok {
			rest = append(rest, s)
		}
	}
	return rest
}
