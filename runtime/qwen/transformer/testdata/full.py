"""Writes what PyTorch makes of a published-size checkpoint on a GPU, and how fast.

    go run ./verify/modelset/modelsettest/write -set=real \
        -checkpoint=svdq-int4_r128-qwen-image-edit-lightningv1.0-8steps.safetensors MODELS
    python3 full.py MODELS/nunchaku-qwen-image-edit/*.safetensors DIR
    PLIMSOLL_FULL=DIR go test -run TestFull -v ./runtime/qwen/transformer

Needs torch 2.11 or later, diffusers 0.42.1 with what it imports (transformers 5.17.0), numpy
and safetensors. Without a GPU, or with a small checkpoint, it runs as well: nothing is timed
then, and --cases=small leaves the large case out.

The packed weights are unpacked here, on the GPU and by the index formulas of the format, to the
dense ones that they stand for (see golden.py), and loaded into diffusers' own blocks twice, in
float32 without TF32, one block at a time, and in bfloat16, all of them: 41 GB.

The case small keeps, for each block, two streams in values of bfloat16 (those of the float32
chain, rounded) and what the block in float32 makes of them; the case large the prediction
alone. Of both it keeps how far PyTorch in bfloat16 is from that: ‖bf16 − f32‖/‖f32‖, of the
streams, and of what the block adds to them. All tensors of DIR/full.safetensors are F32:

    CASE.x [tokens, in_channels]   CASE.text [n, joint_attention_dim]   CASE.v [target, in_channels]
    small.block.B.{image,text}.{in,want} [n, width]

DIR/speed.json has the times of a forward, of a product and of a copy; with --compile also those
of a forward whose blocks torch.compile made, which takes it minutes.
"""

import argparse
import functools
import json
import pathlib
import statistics
import time

import diffusers
import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformerBlock
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

SEED = 20261126
SHIFT = 0.171875  # nunchaku's, before net.2
TIME = 0.69921875  # of a step, a number of bfloat16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# target and references in tokens, rows × columns, and tokens of text
CASES = {
    "small": ([(24, 32), (20, 28)], 77),
    "large": ([(64, 64), (64, 64)], 1406),  # 1024² with one reference
}


def at(*values):
    return [torch.arange(n, device=DEVICE) for n in values]


@functools.cache
def code_places(out, width):
    """Byte and shift of each 4-bit code of an SVDQ weight."""
    n, k = at(out, width)
    n, k = n[:, None], k[None, :]
    p, s, nl = n % 128 // 16, n % 16 // 8, n % 8
    h, kl, r = k % 64 // 32, k % 32 // 8, k % 8
    word = ((((n // 128 * (width // 64) + k // 64) * 8 + p) * 8 + nl) * 4 + kl) * 4 + 2 * s + h
    return 4 * word + r // 2, (4 * (k % 2)).to(torch.uint8)


@functools.cache
def unit_places(out, width):
    """Unit of 16 bits and shift of each 4-bit code of an AWQ weight."""
    n, k = at(out, width)
    n, k = n[:, None], k[None, :]
    return n // 4 * width + k // 64 * 64 + n % 4 * 16 + k % 64 // 32 * 8 + k % 8, 4 * (k % 32 // 8)


def place(n):
    """Where element n of a vector lies."""
    return n // 128 * 128 + n % 128 // 16 * 16 + n % 8 // 2 * 4 + n % 16 // 8 * 2 + n % 2


class Packed:
    """A packed checkpoint, whose tensors come to the device one by one."""

    def __init__(self, path):
        self.file = safe_open(path, framework="pt", device=DEVICE)
        self.config = json.loads(self.file.metadata()["config"])

    def raw(self, name):
        return self.file.get_tensor(name)

    def flat(self, name):
        return self.raw(name).float().reshape(-1)

    def bytes(self, name):
        return self.raw(name).contiguous().view(torch.uint8).reshape(-1)

    def vector(self, name):
        flat = self.flat(name)
        return flat[place(at(len(flat))[0])]

    def scales(self, name, out, groups):
        n, g = at(out, groups)
        n, g = n[:, None], g[None, :]
        return self.flat(name)[(n // 128 * groups + g) * 128 + place(n) % 128]

    def low(self, name, long, rank, up):
        """[long, rank] of proj_up, or of proj_down as it is stored."""
        c, r = at(long, rank)
        c, r = c[:, None], r[None, :]
        u, v = (c, r) if up else (r, c)
        tile = c // 16 * (rank // 16) + r // 16
        s, nl, h, kl, e = u % 16 // 8, u % 8, v % 16 // 8, v % 8 // 2, v % 2
        return self.flat(name)[(((tile * 8 + nl) * 4 + kl) * 2 + s) * 4 + 2 * h + e]

    def svdq(self, name, shifted=False):
        """The dense weight and bias of an SVDQ linear, in float32."""
        codes = self.bytes(name + ".qweight")
        out, half = self.raw(name + ".qweight").shape
        width, rank = 2 * half, self.raw(name + ".proj_up").shape[1]
        byte, shift = code_places(out, width)
        nibble = codes[byte] >> shift & 15
        w = nibble.float() - 16 * (nibble >= 8)
        w *= self.scales(name + ".wscales", out, width // 64).repeat_interleave(64, 1)
        w /= self.vector(name + ".smooth_factor")[None, :]
        bias = self.vector(name + ".bias")
        if shifted:
            bias = bias + SHIFT * w.double().sum(1).float()
        w += self.low(name + ".proj_up", out, rank, True) @ self.low(name + ".proj_down", width, rank, False).T
        return w, bias

    def awq(self, name):
        """The dense weight and bias of a modulation, part by part, without the scales' +1."""
        quarter, half = self.raw(name + ".qweight").shape
        out, width = 4 * quarter, 2 * half
        unit, shift = unit_places(out, width)
        units = self.raw(name + ".qweight").contiguous().view(torch.int16).reshape(-1).int()
        w = (units[unit] >> shift & 15).float()
        w *= self.raw(name + ".wscales").float().T.repeat_interleave(64, 1)
        w += self.raw(name + ".wzeros").float().T.repeat_interleave(64, 1)
        c, j = at(out // 6, 6)
        order = (6 * c[None, :] + j[:, None]).reshape(-1)
        bias = self.flat(name + ".bias")[order]
        for part in (1, 4):
            bias[part * len(c) : (part + 1) * len(c)] -= 1
        return w[order], bias

    def block(self, i):
        """The state dictionary of a dense block."""
        prefix, state = f"transformer_blocks.{i}.", {}

        def put(name, pair):
            state[name + ".weight"], state[name + ".bias"] = pair

        for fused, parts in {"attn.to_qkv": ("to_q", "to_k", "to_v"), "attn.add_qkv_proj": ("add_q_proj", "add_k_proj", "add_v_proj")}.items():
            w, b = self.svdq(prefix + fused)
            for part, pair in zip(parts, zip(w.chunk(3), b.chunk(3))):
                put("attn." + part, pair)
        for name in ("attn.to_out.0", "attn.to_add_out", "img_mlp.net.0.proj", "txt_mlp.net.0.proj"):
            put(name, self.svdq(prefix + name))
        for name in ("img_mlp.net.2", "txt_mlp.net.2"):
            put(name, self.svdq(prefix + name, shifted=True))
        for name in ("img_mod.1", "txt_mod.1"):
            put(name, self.awq(prefix + name))
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            state[f"attn.{name}.weight"] = self.raw(f"{prefix}attn.{name}.weight").float()
        return state

    def outside(self):
        """The state dictionary of what is around the blocks."""
        return {k: self.raw(k).float() for k in self.file.keys() if not k.startswith("transformer_blocks.")}


class Chain:
    """A case on its way through the blocks, in one format."""

    def __init__(self, net, x, text, pictures):
        like = net.img_in.weight
        self.net = net
        self.image = net.img_in(x[None].to(like.dtype))
        self.text = net.txt_in(net.txt_norm(text[None].to(like.dtype)))
        self.temb = net.time_text_embed(torch.tensor([TIME], device=DEVICE, dtype=like.dtype), self.image)
        shapes = [[(1, h, w) for h, w in pictures]]
        self.rope = net.pos_embed(shapes, max_txt_seq_len=len(text), device=self.image.device)
        self.target = pictures[0][0] * pictures[0][1]

    def through(self, block, text, image):
        return block(hidden_states=image, encoder_hidden_states=text, encoder_hidden_states_mask=None, temb=self.temb, image_rotary_emb=self.rope)

    def advance(self, block):
        self.text, self.image = self.through(block, self.text, self.image)

    def prediction(self):
        return self.net.proj_out(self.net.norm_out(self.image, self.temb))[0, : self.target]


def distance(got, want):
    got, want = got.double(), want.double()
    return ((got - want).norm() / want.norm()).item()


def judge(exact, rounded, blocks, keep, name):
    """Puts equal streams through both blocks, keeps them and returns the distances."""
    image, text = exact.image.bfloat16(), exact.text.bfloat16()
    f32, bf16 = blocks
    want = exact.through(f32, text.float(), image.float())
    got = rounded.through(bf16, text, image)
    out = {}
    for stream, i, w, g in (("text", text, want[0], got[0]), ("image", image, want[1], got[1])):
        keep[f"{name}.{stream}.in"], keep[f"{name}.{stream}.want"] = i[0].float().cpu(), w[0].cpu()
        out[stream] = [distance(g, w), distance(g - i.double(), w - i.double())]
    return out


def compute(packed, cases):
    """Runs the cases. Returns the bfloat16 model, the tensors to keep, and the distances."""
    config = {k: v for k, v in packed.config.items() if not k.startswith("_")}
    with torch.device(DEVICE):
        nets = [QwenImageTransformer2DModel(**config | {"num_layers": 0}).eval() for _ in range(2)]
        sizes = config["num_attention_heads"] * config["attention_head_dim"], config["num_attention_heads"], config["attention_head_dim"]
        f32 = QwenImageTransformerBlock(*sizes).eval()
    for net in nets:
        net.load_state_dict(packed.outside())
    exact, rounded = nets[0], nets[1].bfloat16()
    generator, keep, chains = torch.Generator().manual_seed(SEED), {}, {}
    for name, (pictures, rows) in cases.items():
        x = torch.randn(sum(h * w for h, w in pictures), config["in_channels"], generator=generator)
        text = torch.randn(rows, config["joint_attention_dim"], generator=generator) * 3
        keep[name + ".x"], keep[name + ".text"] = x.bfloat16().float(), text.bfloat16().float()
        inputs = keep[name + ".x"].to(DEVICE), keep[name + ".text"].to(DEVICE), pictures
        chains[name] = Chain(exact, *inputs), Chain(rounded, *inputs)
    distances = {name: {"blocks": []} for name in cases}
    for i in range(config["num_layers"]):
        f32.load_state_dict(packed.block(i))
        with torch.device(DEVICE):
            bf16 = QwenImageTransformerBlock(*sizes).bfloat16().eval()
        bf16.load_state_dict(f32.state_dict())
        rounded.transformer_blocks.append(bf16)
        for name, (a, b) in chains.items():
            if name == "small":
                distances[name]["blocks"].append(judge(a, b, (f32, bf16), keep, f"{name}.block.{i}"))
            a.advance(f32)
            b.advance(bf16)
    for name, (a, b) in chains.items():
        keep[name + ".v"] = a.prediction().cpu()
        distances[name]["v"] = distance(b.prediction().cpu(), keep[name + ".v"])
        distances[name]["norms"] = [a.image.norm().item(), a.text.norm().item()]
        again = forward(rounded, keep, name, cases[name][0])()[0, : a.target]
        distances[name]["forward"] = distance(again.cpu(), b.prediction().cpu())  # diffusers' own way through the blocks
    return rounded, keep, distances


def forward(net, keep, name, pictures):
    x, text = keep[name + ".x"][None].to(DEVICE).bfloat16(), keep[name + ".text"][None].to(DEVICE).bfloat16()
    t = torch.tensor([TIME], device=DEVICE)
    shapes = [[(1, h, w) for h, w in pictures]]
    return lambda: net(hidden_states=x, encoder_hidden_states=text, timestep=t, img_shapes=shapes, return_dict=False)[0]


def timed(f, runs=9):
    """Median, least and most milliseconds, by events."""
    for _ in range(2):
        f()
    times = []
    for _ in range(runs):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        f()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return [statistics.median(times), min(times), max(times)]


def speed(net, keep, cases, compiled):
    """Times of a forward of the large case, and the two ceilings."""
    out = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda, "diffusers": diffusers.__version__}
    torch.cuda.reset_peak_memory_stats()
    f = forward(net, keep, "large", cases["large"][0])
    out["forward, default attention, ms"] = timed(f)
    for name, backend in (("cuDNN", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)):
        with sdpa_kernel(backend):
            out[f"forward, {name} attention, ms"] = timed(f)
    out["peak bytes"] = torch.cuda.max_memory_allocated()
    if compiled:
        for block in net.transformer_blocks:
            block.compile(mode="max-autotune-no-cudagraphs")
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            began = time.time()
            f()
            torch.cuda.synchronize()
            out["compiling, s"] = round(time.time() - began, 1)
            out["forward, compiled blocks, cuDNN attention, ms"] = timed(f)
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    out["product of 8192, TFLOP/s"] = 2 * 8192**3 / timed(lambda: a @ b)[0] / 1e9
    big = torch.randn(1 << 28, device=DEVICE)
    to = torch.empty_like(big)
    out["copy, GB/s"] = 2 * 4 * (1 << 28) / timed(lambda: to.copy_(big))[0] / 1e6
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    cases = {name: CASES[name] for name in options.cases.split(",")}
    torch.backends.cuda.matmul.allow_tf32 = False
    began = time.time()
    with torch.inference_mode():
        net, keep, distances = compute(Packed(options.checkpoint), cases)
        print("computed in", round(time.time() - began, 1), "s")
        facts = dict(checkpoint=str(options.checkpoint.resolve()), time=TIME, distances=distances,
                     pictures={k: v[0] for k, v in cases.items()}, versions=dict(torch=torch.__version__, diffusers=diffusers.__version__))
        options.directory.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in keep.items()}, options.directory / "full.safetensors", {"full": json.dumps(facts)})
        print(json.dumps({k: {i: j for i, j in v.items() if i != "blocks"} for k, v in distances.items()}))
        if DEVICE == "cuda" and "large" in cases:
            figures = speed(net, keep, cases, options.compile)
            print(json.dumps(figures, indent=1))
            (options.directory / "speed.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
