"""Writes golden.safetensors: diffusers' own predictions with the weights of a packed
checkpoint, in float64 on the CPU.

    go run ./verify/modelset/modelsettest/write DIR
    python3 -m venv venv && venv/bin/pip install \
        torch==2.12.0 diffusers==0.42.1 transformers==5.17.0 numpy==2.4.6 safetensors
    venv/bin/python golden.py DIR golden.safetensors

DIR/checkpoint.safetensors is unpacked here, by the index formulas of the format and with no
code of this repository, to the dense weights that it stands for:

    SVDQ   W = q·s/S + U·D        net.2's bias is b + 0.171875·Σ q·s/S: the shift undone
    AWQ    w = q·s + z            outputs of a channel side by side, scales' biases with +1

and loaded into QwenImageTransformer2DModel. The rotary tables are diffusers' own, in float32.
"""

import json
import sys

import diffusers
import numpy
import torch
from diffusers import QwenImageTransformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file

SEED = 20261126
SHIFT = 0.171875  # nunchaku's, before net.2

# target and references in tokens, rows × columns
PICTURES = {
    "one": [(6, 10), (4, 6)],  # one reference, height and width unlike
    "plus": [(5, 7), (4, 6), (9, 3)],  # two references, odd sides; the longest is a reference's
    "none": [(3, 5)],  # no reference
}
# picture, text rows, times, zero_cond_t
CASES = {
    "one": ("one", 13, [0.7, 0.02], False),
    "plus": ("plus", 7, [0.945], False),
    "none": ("none", 7, [1.0], False),
    "one.zero": ("one", 13, [0.7], True),
    "plus.zero": ("plus", 13, [0.3, 0.945], True),
}
BLOCKS_OF = "plus"  # the case whose hidden streams are kept after each block, of the last the target's


class Packed:
    """A packed checkpoint."""

    def __init__(self, path):
        with safe_open(path, framework="pt") as f:
            self.config = json.loads(f.metadata()["config"])
            self.tensors = {name: f.get_tensor(name) for name in f.keys()}

    def values(self, name):
        return self.tensors[name].double().numpy()

    def flat(self, name):
        return self.values(name).reshape(-1)

    def bytes(self, name):
        return self.tensors[name].contiguous().view(torch.uint8).numpy().reshape(-1)

    def vector(self, name):
        """A bias or smooth factor, permuted in blocks of 128."""
        flat = self.flat(name)
        return flat[place(numpy.arange(len(flat)))]

    def codes(self, name, out, width):
        n, k = numpy.arange(out)[:, None], numpy.arange(width)[None, :]
        p, s, nl = n % 128 // 16, n % 16 // 8, n % 8
        h, kl, r = k % 64 // 32, k % 32 // 8, k % 8
        word = ((((n // 128 * (width // 64) + k // 64) * 8 + p) * 8 + nl) * 4 + kl) * 4 + 2 * s + h
        nibble = self.bytes(name)[4 * word + r // 2] >> (4 * (r % 2)) & 15
        return nibble.astype(numpy.int64) - 16 * (nibble >= 8)

    def scales(self, name, out, width):
        n, g = numpy.arange(out)[:, None], numpy.arange(width)[None, :] // 64
        return self.flat(name)[(n // 128 * (width // 64) + g) * 128 + place(n) % 128]

    def low(self, name, long, rank, up):
        """[long, rank] of proj_up, or of proj_down as it is stored."""
        c, r = numpy.arange(long)[:, None], numpy.arange(rank)[None, :]
        u, v = (c, r) if up else (r, c)
        tile = c // 16 * (rank // 16) + r // 16
        s, nl, h, kl, e = u % 16 // 8, u % 8, v % 16 // 8, v % 8 // 2, v % 2
        return self.flat(name)[(((tile * 8 + nl) * 4 + kl) * 2 + s) * 4 + 2 * h + e]

    def svdq(self, at, shifted=False):
        """The dense weight and bias of an SVDQ linear."""
        out, width = self.tensors[at + ".qweight"].shape
        width *= 2
        rank = self.tensors[at + ".proj_up"].shape[1]
        quantised = self.codes(at + ".qweight", out, width) * self.scales(at + ".wscales", out, width)
        quantised /= self.vector(at + ".smooth_factor")[None, :]
        low = self.low(at + ".proj_up", out, rank, True) @ self.low(at + ".proj_down", width, rank, False).T
        bias = self.vector(at + ".bias")
        if shifted:
            bias = bias + SHIFT * quantised.sum(1)
        return quantised + low, bias

    def awq(self, at):
        """The dense weight and bias of a modulation, part by part, without the scales' +1."""
        quarter, half = self.tensors[at + ".qweight"].shape
        out, width = 4 * quarter, 2 * half
        n, k = numpy.arange(out)[:, None], numpy.arange(width)[None, :]
        unit = n // 4 * width + k // 64 * 64 + n % 4 * 16 + k % 64 // 32 * 8 + k % 8
        units = self.bytes(at + ".qweight").view("<u2")
        q = units[unit] >> (4 * (k % 32 // 8)) & 15
        w = q * self.values(at + ".wscales")[k // 64, n] + self.values(at + ".wzeros")[k // 64, n]
        channels = out // 6
        order = (6 * numpy.arange(channels)[None, :] + numpy.arange(6)[:, None]).reshape(-1)
        bias = self.values(at + ".bias")[order]
        for part in (1, 4):
            bias[part * channels : (part + 1) * channels] -= 1
        return w[order], bias


def place(n):
    """Where element n of a vector lies."""
    return n // 128 * 128 + n % 128 // 16 * 16 + n % 8 // 2 * 4 + n % 16 // 8 * 2 + n % 2


def dense(packed):
    """The state dictionary of the dense model."""
    state = {}

    def put(name, weight, bias):
        state[name + ".weight"], state[name + ".bias"] = torch.from_numpy(weight), torch.from_numpy(bias)

    for i in range(packed.config["num_layers"]):
        at = f"transformer_blocks.{i}."
        for fused, parts in {"attn.to_qkv": ("to_q", "to_k", "to_v"), "attn.add_qkv_proj": ("add_q_proj", "add_k_proj", "add_v_proj")}.items():
            weight, bias = packed.svdq(at + fused)
            for part, w, b in zip(parts, numpy.split(weight, 3), numpy.split(bias, 3)):
                put(at + "attn." + part, w.copy(), b.copy())
        for name in ("attn.to_out.0", "attn.to_add_out", "img_mlp.net.0.proj", "txt_mlp.net.0.proj"):
            put(at + name, *packed.svdq(at + name))
        for name in ("img_mlp.net.2", "txt_mlp.net.2"):
            put(at + name, *packed.svdq(at + name, shifted=True))
        for name in ("img_mod.1", "txt_mod.1"):
            put(at + name, *packed.awq(at + name))
    for name, tensor in packed.tensors.items():
        if not name.startswith("transformer_blocks.") or ".norm_" in name:
            state[name] = tensor.double()
    return state


def model(packed, zero):
    config = {k: v for k, v in packed.config.items() if not k.startswith("_")}
    out = QwenImageTransformer2DModel(**config | {"zero_cond_t": zero}).double().eval()
    out.load_state_dict(dense(packed))
    return out


def tokens(pictures):
    return [h * w for h, w in pictures]


def run(net, x, text, time, pictures, keep=None):
    """The prediction for the target's tokens; keep gets (text, image) after each block."""
    hooks = []
    if keep is not None:
        hooks = [b.register_forward_hook(lambda _m, _i, out: keep.append(out)) for b in net.transformer_blocks]
    with torch.no_grad():
        v = net(
            hidden_states=x[None].double(), encoder_hidden_states=text[None].double(),
            timestep=torch.tensor([time], dtype=torch.float32), img_shapes=[[(1, h, w) for h, w in pictures]], return_dict=False,
        )[0][0]
    for h in hooks:
        h.remove()
    return v[: pictures[0][0] * pictures[0][1]]


def rotary():
    """Rows of the rotary tables of the published axes: their angles' cosines and sines."""
    rope = QwenImageTransformer2DModel(num_layers=0).pos_embed
    positions = [0, 1, 2, 31, 63, 64, 1000, 4095]
    negative = [-1, -2, -32, -64, -4096]
    rows = torch.cat([rope.pos_freqs[positions], rope.neg_freqs[negative]])
    return torch.tensor(positions + negative).float(), rows.real.contiguous(), rows.imag.contiguous()


def main():
    directory, output = sys.argv[1:]
    packed = Packed(directory + "/checkpoint.safetensors")
    nets = {zero: model(packed, zero) for zero in (False, True)}
    generator = torch.Generator().manual_seed(SEED)
    golden = {}
    for name, pictures in PICTURES.items():
        golden[f"{name}.x"] = torch.randn(sum(tokens(pictures)), packed.config["in_channels"], generator=generator)
    for rows in (7, 13):
        golden[f"text.{rows}"] = torch.randn(rows, packed.config["joint_attention_dim"], generator=generator) * 3
    for name, (picture, rows, times, zero) in CASES.items():
        for i, time in enumerate(times):
            keep = [] if name == BLOCKS_OF else None
            v = run(nets[zero], golden[picture + ".x"], golden[f"text.{rows}"], time, PICTURES[picture], keep)
            golden[f"{name}.v.{i}"] = v
            for b, (text, image) in enumerate(keep or []):
                golden[f"{name}.block.{b}.text"], golden[f"{name}.block.{b}.image"] = text[0], image[0]
            if keep:
                last = f"{name}.block.{len(keep) - 1}."
                del golden[last + "text"]
                golden[last + "image"] = golden[last + "image"][: len(v)]
    golden["rotary.positions"], golden["rotary.cos"], golden["rotary.sin"] = rotary()
    pictures = {k: [list(p) for p in v] for k, v in PICTURES.items()}
    cases = {k: dict(picture=p, text=rows, times=times, zero=zero) for k, (p, rows, times, zero) in CASES.items()}
    versions = dict(torch=torch.__version__, diffusers=diffusers.__version__, numpy=numpy.__version__)
    facts = dict(versions=versions, seed=SEED, pictures=pictures, cases=cases)
    # one key: the order of several is left to chance
    save_file({k: v.float().contiguous() for k, v in golden.items()}, output, {"golden": json.dumps(facts)})


if __name__ == "__main__":
    main()
