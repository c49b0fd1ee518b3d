"""Writes golden.safetensors: what transformers' Qwen2.5-VL makes of prompts and pictures.

    python3 -m venv venv && venv/bin/pip install \
        torch==2.12.0 transformers==5.17.0 numpy==2.4.6 safetensors
    go run ./verify/modelset/modelsettest/write DIR
    venv/bin/python golden.py DIR

DIR holds the generated model set of the golden vectors, whose weights the test makes again
from their seed. Patches are a function of their index (see pixels), so neither is stored.

Computed on the CPU with the parameters in float64 and eager attention. RMSNorm, softmax and
rotary angles are float32 in the library itself, which leaves errors of about 1e-6.

The metadata's "cases" lists the cases; each has, with its name as prefix:

    ids        I32 [L]          the prompt
    positions  I32 [3, L]       time, row and column of each token
    hidden     F32 [L-drop, H]  after the final norm
    vision.i   F32 [tokens, H]  picture i after the merger
    order.i    I32 [tokens]     the picture's tokens in the order of windows
    ends.i     I32 [windows]    where windows end, in patches

and the case "edit" also has block (the first picture's patches after the first block of the
vision tower, in the order of windows) and layer (all tokens after the first layer of the
language model).
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import get_vision_window_index

# Grids are in patches; text gives how many tokens stand before the first picture, between
# pictures and behind the last one, where drop is at most text[0].
CASES = [
    dict(name="edit", grids=[[1, 10, 14]], text=[6, 9], drop=6),
    dict(name="wide", grids=[[1, 18, 22]], text=[3, 1], drop=2),
    dict(name="plus", grids=[[1, 4, 6], [1, 14, 8]], text=[5, 3, 30], drop=5),
    dict(name="least", grids=[[1, 2, 2]], text=[1, 0], drop=0),
]


def pixels(count, seed):
    """count values from -2 to 2: a hash of the index (lowbias32), exact in float32."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(seed * 0x9E3779B9)).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) / np.float32(1 << 22) - np.float32(2)


def load(directory):
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float64, attn_implementation="eager", local_files_only=True
    ).eval()
    config = json.loads((directory / "config.json").read_text())
    text, vision = model.model.language_model, model.model.visual
    assert text.rotary_emb.mrope_section == config["rope_scaling"]["mrope_section"]
    assert text.config.rope_parameters["rope_theta"] == config["rope_theta"]
    assert text.config.layer_types == ["full_attention"] * config["num_hidden_layers"]
    assert vision.config.rope_parameters["rope_theta"] == 10000
    assert vision.config._attn_implementation == text.config._attn_implementation == "eager"
    assert vision.fullatt_block_indexes == config["vision_config"]["fullatt_block_indexes"]
    return model, config


def prompt(case, config, generator):
    """Token ids, and which of them are of a picture."""
    def words(count):
        return torch.randint(0, 600, (count,), generator=generator).tolist()

    ids = words(case["text"][0])
    for (_, h, w), behind in zip(case["grids"], case["text"][1:]):
        pads = [config["image_token_id"]] * (h * w // config["vision_config"]["spatial_merge_size"] ** 2)
        ids += [config["vision_start_token_id"], *pads, config["vision_end_token_id"], *words(behind)]
    ids = torch.tensor([ids])
    return ids, (ids == config["image_token_id"]).int()


def capture(module, into, key):
    return module.register_forward_hook(lambda m, args, out: into.__setitem__(key, out))


@torch.no_grad()
def run(model, config, case, generator):
    v = config["vision_config"]
    width = v["in_channels"] * v["temporal_patch_size"] * v["patch_size"] ** 2
    ids, kinds = prompt(case, config, generator)
    grids = torch.tensor(case["grids"])
    counts = [t * h * w for t, h, w in case["grids"]]
    patches = torch.cat([torch.from_numpy(pixels(n * width, i + 1)).view(n, width) for i, n in enumerate(counts)]).double()
    positions, _ = model.model.get_rope_index(ids, kinds, image_grid_thw=grids)
    assert case["name"] == "least" or not torch.equal(positions[1], positions[2])
    inner = {}
    hooks = [
        capture(model.model.language_model.layers[0], inner, "layer"),
        capture(model.model.visual.blocks[0], inner, "block"),
    ]
    out = model.model(
        input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds,
        pixel_values=patches, image_grid_thw=grids, output_hidden_states=True, use_cache=False,
    )
    for hook in hooks:
        hook.remove()
    # What diffusers reads, hidden_states[-1], is the output of the last norm.
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state)
    result = {
        "ids": ids[0].int(),
        "positions": positions[:, 0].int(),
        "hidden": out.hidden_states[-1][0, case["drop"]:].float(),
    }
    if case["name"] == "edit":
        result["layer"], result["block"] = inner["layer"][0].float(), inner["block"].float()
    for i, features in enumerate(model.model.get_image_features(patches, grids).pooler_output):
        order, ends = get_vision_window_index(grids[i:i + 1], v["spatial_merge_size"], v["window_size"], v["patch_size"])
        result[f"vision.{i}"] = features.float()
        result[f"order.{i}"], result[f"ends.{i}"] = order.int(), ends[1:].int()
    return result


def main(directory):
    model, config = load(pathlib.Path(directory) / "text_encoder")
    generator = torch.Generator().manual_seed(20261127)
    tensors = {}
    for case in CASES:
        for key, value in run(model, config, case, generator).items():
            tensors[f"{case['name']}.{key}"] = value.contiguous().clone()
    versions = dict(torch=torch.__version__, transformers=transformers.__version__)
    path = pathlib.Path(__file__).with_name("golden.safetensors")
    save_file(tensors, path, {"cases": json.dumps(CASES), **versions})
    path.chmod(0o644)


main(sys.argv[1])
