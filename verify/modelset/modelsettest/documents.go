package modelsettest

import "fmt"

// template is the fixed prefix of every editing prompt, without its special tokens. The
// pipeline drops 64 tokens: it must encode to 64 with the 3 tokens around "system" and the
// 5 around "user".
const template = "system\n" +
	"Describe the key features of the input image (color, shape, size, texture, objects, background), " +
	"then explain how the user's text instruction should alter or modify the image. Generate a new image " +
	"that meets the user's requirements while maintaining consistency with the original input where appropriate." +
	"\nuser\nassistant\n"

// corpus is what the tokenizer learns from besides the template.
const corpus = `Make the sky a warm orange, as if the sun were about to set behind the hills.
Replace the red car in front of the house with a blue bicycle that leans against the fence.
Remove every person from the beach and keep the umbrellas, the towels and the footprints in the sand.
Turn this photograph into a watercolor painting with soft edges, pale colors and visible paper grain.
Add a small wooden table with a cup of coffee and an open book next to the window.
Change the season from summer to winter: snow on the roofs, bare trees, and long blue shadows.
Give the portrait a plain gray background and brighten the left side of the face a little.
Write the word "harbor" on the sign above the door in white letters with a thin black outline.
Zoom out so that the whole tower and the bridge over the river become visible.
The cat should look at the camera; keep its fur, its eyes and the pattern of the carpet unchanged.
Make her dress green and her shoes brown, but do not touch the jewelry or the hair.
Restore this old picture, remove the scratches and stains, and give it natural colors.
Rotate the chair so that we see it from behind, with the same light and the same floor.
Draw the building as a pencil sketch with clean lines on a white page and no people.
Put a lighthouse on the cliff, far away, half hidden in the morning fog over the sea.
Let it rain: wet street, reflections of the lamps, dark clouds, people with open umbrellas.
Swap the two flags, then move the boat closer to the shore and make the sail larger.
Blur everything except the dog, which runs toward us through high yellow grass.
Use the style of a poster from the thirties with flat shapes and only three colors.
Fill the empty wall with framed paintings of birds, flowers and mountains in different sizes.
Please sharpen the text on the label so that one can read the name, the date and the place.
Make the kitchen look modern: dark cabinets, a stone counter, a round lamp over the island.
Show the same garden at night with lanterns along the path and stars above the roof.
Replace the background by a quiet library with tall shelves and a ladder, keep the woman in front.
Crop the picture to a square around the child and the kite and straighten the horizon.
`

// chatTemplate renders a conversation in the ChatML form with images and videos.
const chatTemplate = `{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
`

// attributes tell git which files a Hub keeps in LFS.
const attributes = `*.safetensors filter=lfs diff=lfs merge=lfs -text
processor/tokenizer.json filter=lfs diff=lfs merge=lfs -text
`

// documents are the files for people and for git.
func (p Params) documents() map[string]File {
	return map[string]File{
		".gitattributes": text(attributes),
		"README.md": text(fmt.Sprintf(`---
license: apache-2.0
pipeline_tag: image-to-image
library_name: diffusers
---

# Synthetic Qwen-Image-Edit

This repository has the file names, tensor names and configuration keys of
Qwen/Qwen-Image-Edit. Its weights are generated from seed %d; they were never trained, and
the pictures that they make show nothing.

| component | dimensions |
|---|---|
| text encoder | %d layers, width %d |
| vision tower | %d blocks, width %d |
| transformer | %d blocks, width %d |
| VAE | base width %d |
`, p.Seed, p.Text.Layers, p.Text.Hidden, p.Vision.Depth, p.Vision.Hidden,
			p.Transformer.Layers, p.Transformer.Hidden(), p.VAE.Base)),
	}
}
