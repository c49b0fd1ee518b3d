"""Checks the kernels on a GPU against float64, and times them beside PyTorch.

    python3 kernels.py ../ptx [check|time] [family...]

Written for PyTorch 2.11 (CUDA 13.0) on an H100; needs PyTorch and the driver alone. Inputs
are normal with heavy tails: channels of very different size, a few rows a hundred times the
others. Outputs are NaN before a kernel runs and lie between guards. Exits with 1 if a check
fails. An error is ‖out − reference‖ / ‖reference‖; bf16 rounding alone is 1.7e-3.
"""

import math
import os
import sys
import traceback

import torch
import torch.nn.functional as F

import packing
from driver import LOCAL_SIZE, REGISTERS, Module, TensorMap, milliseconds

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
SILU, GELU_ERF, GELU_TANH, OUT_F32, RESIDUAL_F32 = 1, 2, 3, 8, 16
GUARD = 4096
BOUND = {BF16: 2.8e-3, F32: 2e-5}

directory = sys.argv[1]
failures = []


class Modules:
    """Modules by their family's name, loaded when first used."""

    def __getattr__(self, name):
        family, _, arch = name.partition("__")
        module = Module(os.path.join(directory, f"{family}.{arch or 'sm_80'}.ptx"))
        setattr(self, name, module)
        return module


kernels = Modules()


def ceil(a, b):
    return -(-a // b)


def heavy(*shape, dtype=BF16):
    x = torch.randn(*shape, device="cuda")
    x *= torch.exp(0.7 * torch.randn(shape[-1], device="cuda"))
    rows = x.view(-1, shape[-1])
    rows[torch.randint(len(rows), (1 + len(rows) // 500,), device="cuda")] *= 100
    return x.to(dtype)


def normal(*shape, dtype=BF16, std=1.0):
    return (torch.randn(*shape, device="cuda") * std).to(dtype)


class Poisoned:
    """An output that is NaN, between guards."""

    def __init__(self, *shape, dtype=BF16, initial=None):
        self.size = math.prod(shape)
        self.all = torch.full((self.size + 2 * GUARD,), float("nan"), dtype=dtype, device="cuda")
        self.out = self.all[GUARD : GUARD + self.size].view(*shape)
        if initial is not None:
            self.out.copy_(initial)

    def check(self, name, reference, bound=None):
        torch.cuda.synchronize()
        kept = bool(self.all[:GUARD].isnan().all() and self.all[GUARD + self.size :].isnan().all())
        report(name, distance(self.out, reference), bound or BOUND[self.all.dtype], kept)


def distance(out, reference):
    """‖out − reference‖ / ‖reference‖, where values below a thousandth count as that."""
    return ((out.double() - reference).norm() / (reference.norm() + 1e-3 * reference.numel() ** 0.5)).item()


def report(name, error, bound, kept=True):
    good = error <= bound and kept  # NaN is not good
    print(f"{'ok  ' if good else 'FAIL'} {name}: {error:.2e}{'' if kept else ', guard overwritten'}", flush=True)
    if not good:
        failures.append(name)


def show(name, ms, work, unit, *others):
    """A line of the table: work in units of 1e12 a second, and times of others beside it."""
    beside = "".join(f", {label} {t:.3f} ms ({work / t / 1e9:.0f})" for label, t in others)
    print(f"time {name}: {ms:.4f} ms, {work / ms / 1e9:.1f} {unit}{beside}", flush=True)


# ---- gemm ----

TILES = {"128x256": (128, 256, 256, 98304), "128x128": (128, 128, 128, 65536), "64x64": (64, 64, 128, 40960)}


def gemm(tile, out, a, b, bias=None, residual=None, gate=None, rest=None, until=0, flags=0):
    bm, bn, block, shared = TILES[tile]
    m, n, k = a.shape[0], b.shape[0], a.shape[1]
    if out.dtype == F32:
        flags |= OUT_F32
    if residual is not None and residual.dtype == F32:
        flags |= RESIDUAL_F32
    kernel = getattr(kernels.gemm, "gemm_bf16_" + tile)
    kernel(ceil(m, bm) * ceil(n, bn), block, shared, out, a, b, bias, residual, gate, rest, m, n, k, until, flags)


def activate(y, flags):
    return {0: lambda y: y, SILU: F.silu, GELU_ERF: F.gelu, GELU_TANH: lambda y: F.gelu(y, approximate="tanh")}[flags](y)


def check_gemm():
    for tile in TILES:
        for m, n, k in [(1, 64, 8), (1, 1, 8), (300, 264, 40), (129, 257, 72), (67, 3, 64), (513, 520, 1032)]:
            a, b = heavy(m, k), normal(n, k, std=k**-0.5)
            y = a.double() @ b.double().T
            out = Poisoned(m, n, dtype=F32)
            gemm(tile, out.out, a, b)
            out.check(f"gemm {tile} {m}x{n}x{k} float32", y)
            bias, gate, rest = normal(n, dtype=F32), normal(n, dtype=F32), normal(n, dtype=F32)
            for flags in [0, SILU, GELU_ERF, GELU_TANH]:
                out = Poisoned(m, n, dtype=F32)
                gemm(tile, out.out, a, b, bias, flags=flags)
                out.check(f"gemm {tile} {m}x{n}x{k} bias, activation {flags}", activate(y + bias.double(), flags))
            for dtype in [BF16, F32] if m * n > 1 else [F32]:  # one value's rounding is no average
                residual, until = heavy(m, n, dtype=dtype), m // 3
                rows = torch.arange(m, device="cuda")[:, None] < until
                reference = residual.double() + torch.where(rows, gate, rest).double() * (y + bias.double())
                out = Poisoned(m, n, dtype=dtype, initial=residual)
                gemm(tile, out.out, a, b, bias, out.out, gate, rest, until)
                out.check(f"gemm {tile} {m}x{n}x{k} gated onto itself, {dtype}", reference)
    a, b, bias = heavy(8576, 3072), normal(3072, 3072, std=0.02), normal(3072, dtype=F32)
    out = Poisoned(8576, 3072)
    gemm("128x256", out.out, a, b, bias)
    out.check("gemm 128x256 8576x3072x3072 bf16", a.double() @ b.double().T + bias.double())


def time_gemm():
    for m, n, k in [(8576, 3072, 3072), (8576, 9216, 3072), (8576, 12288, 3072), (8576, 3072, 12288), (9598, 12288, 3072), (1406, 12288, 3072), (1406, 3584, 18944)]:
        a, b, bias = normal(m, k), normal(n, k, std=0.02), normal(n, dtype=F32)
        out, flop = torch.empty(m, n, dtype=BF16, device="cuda"), 2 * m * n * k
        other = milliseconds([lambda: torch.mm(a, b.T, out=out)] * 10)
        for tile in TILES:
            ms = milliseconds([lambda: gemm(tile, out, a, b, bias)] * 10)
            show(f"gemm {tile} {m}x{n}x{k}", ms, flop, "TFLOP/s", ("torch", other))


# ---- conv ----

CONV_TILES = {"128x96": (128, 96, 57344), "128x32": (128, 32, 51200)}


def conv(tile, out, x, weight, bias, residual, h, w, oh, ow, kh, kw, stride, top, left, upsample, flags=0):
    bm, bn, shared = CONV_TILES[tile]
    outs = out.shape[1]
    flags |= (OUT_F32 if out.dtype == F32 else 0) | (RESIDUAL_F32 if residual is not None and residual.dtype == F32 else 0)
    kernel = getattr(kernels.conv, "conv_bf16_" + tile)
    kernel(ceil(oh * ow, bm) * ceil(outs, bn), 128, shared, out, x, weight, bias, residual, h, w, x.shape[1], oh, ow, outs, kh, kw, stride, top, left, upsample, flags)


def conv_weights(weight, padded, first, count):
    """weight [outs, ins, taps]"""
    outs, ins, taps = weight.shape
    out = Poisoned(outs, count, padded)
    kernels.conv.conv_weights(512, 256, 0, out.out, weight, weight.dtype == BF16, outs, ins, padded, taps, first, count)
    return out


def check_conv():
    for dtype in [BF16, F32]:
        weight = normal(37, 5, 27, dtype=dtype)
        expected = torch.zeros(37, 9, 8, device="cuda", dtype=F64)
        expected[:, :, :5] = weight[:, :, 18:].transpose(1, 2).to(BF16)
        conv_weights(weight, 8, 18, 9).check(f"conv_weights from {dtype}", expected, 1e-12)
    cases = [
        # in, outs, h, w, kernel, stride, (top, left, bottom, right), upsample
        (8, 3, 17, 23, 3, 1, (1, 1, 1, 1), 0),
        (16, 96, 19, 9, 3, 1, (1, 1, 1, 1), 0),
        (96, 200, 21, 13, 3, 1, (1, 1, 1, 1), 0),
        (96, 96, 21, 14, 3, 2, (0, 0, 1, 1), 0),
        (192, 96, 10, 7, 3, 1, (1, 1, 1, 1), 1),
        (40, 32, 30, 11, 1, 1, (0, 0, 0, 0), 0),
        (24, 50, 12, 25, 3, 2, (1, 1, 1, 1), 0),
    ]
    for tile in CONV_TILES:
        for ins, outs, h, w, size, stride, (top, left, bottom, right), upsample in cases:
            x, weight, bias = heavy(h * w, ins), normal(outs, ins, size, size, std=(ins * size * size) ** -0.5), normal(outs, dtype=F32)
            picture = x.double().T.reshape(1, ins, h, w)
            if upsample:
                picture = F.interpolate(picture, scale_factor=2, mode="nearest")
            y = F.conv2d(F.pad(picture, (left, right, top, bottom)), weight.double(), bias.double(), stride)
            oh, ow = y.shape[2:]
            y = y[0].reshape(outs, oh * ow).T
            packed = conv_weights(weight.reshape(outs, ins, size * size), ins, 0, size * size).out
            geometry = (h, w, oh, ow, size, size, stride, top, left, upsample)
            name = f"conv {tile} {ins}->{outs} {h}x{w} kernel {size} stride {stride} upsample {upsample}"
            out = Poisoned(oh * ow, outs, dtype=F32)
            conv(tile, out.out, x, packed, bias, None, *geometry)
            out.check(name + " float32", y)
            residual = heavy(oh * ow, outs)
            out = Poisoned(oh * ow, outs, initial=residual)
            conv(tile, out.out, x, packed, bias, out.out, *geometry)
            out.check(name + " onto itself", y + residual.double())


def time_conv():
    for ins, outs, h, w, size, stride, upsample in [(96, 96, 1024, 1024, 3, 1, 0), (192, 192, 512, 512, 3, 1, 0), (384, 384, 256, 256, 3, 1, 0),
                                                    (192, 96, 512, 512, 3, 1, 1), (96, 96, 1024, 1024, 3, 2, 0), (8, 96, 1024, 1024, 3, 1, 0),
                                                    (96, 3, 1024, 1024, 3, 1, 0)]:
        x, weight, bias = normal(h * w, ins), normal(outs, ins, size, size, std=0.03), normal(outs, dtype=F32)
        packed = conv_weights(weight.reshape(outs, ins, size * size), ins, 0, size * size).out
        oh, ow = (h << upsample) // stride, (w << upsample) // stride
        out = torch.empty(oh * ow, outs, dtype=BF16, device="cuda")
        picture, filters, b16 = x.view(1, h, w, ins).permute(0, 3, 1, 2), weight.contiguous(memory_format=torch.channels_last), bias.to(BF16)

        def other():
            p = F.interpolate(picture, scale_factor=2, mode="nearest") if upsample else picture
            return F.conv2d(p, filters, b16, stride, 1)

        torch.backends.cudnn.benchmark = True
        other()
        beside = milliseconds([other] * 5)
        tile = "128x32" if outs <= 32 else "128x96"
        ms = milliseconds([lambda: conv(tile, out, x, packed, bias, None, h, w, oh, ow, size, size, stride, 1, 1, upsample)] * 5)
        show(f"conv {tile} {ins}->{outs} from {h}x{w} stride {stride} upsample {upsample}", ms, 2 * oh * ow * outs * ins * size * size, "TFLOP/s", ("torch", beside))


# ---- attention ----

def attention_shared(d, short):
    pitch = d * 2 if d % 64 == 0 else d * 2 + 16
    return ((64 if short else 128) + 128) * pitch


def attention(out, q, k, v, d, heads, kv_heads, scale, causal=False, tiles=None, short=False):
    n, m, rows = q.shape[0], k.shape[0], 64 if short else 128
    kernel = getattr(kernels.attention, f"attention_bf16_{d}" + ("_short" if short else ""))
    blocks = ceil(n, rows) if tiles is None else len(tiles)
    kernel((blocks, heads), 128, attention_shared(d, short), out, q, k, v, tiles, n, m, heads, kv_heads, scale, causal)


def tiles_of(windows, rows):
    tiles, start = [], 0
    for end in windows:
        tiles += [(at, min(at + rows, end), start, end) for at in range(start, end, rows)]
        start = end
    return torch.tensor(tiles, dtype=torch.int32, device="cuda")


def attention_reference(q, k, v, d, heads, kv_heads, scale, causal, windows, only=None):
    """In float64, head by head; only names the heads wanted."""
    n, m = q.shape[0], k.shape[0]
    hidden = torch.zeros(n, m, dtype=torch.bool, device="cuda")
    if causal:
        hidden |= torch.arange(m, device="cuda")[None, :] > torch.arange(n, device="cuda")[:, None]
    if windows:
        number = torch.bucketize(torch.arange(n, device="cuda"), torch.tensor(windows, device="cuda"), right=True)
        hidden |= number[:, None] != number[None, :]
    out = []
    for h in only or range(heads):
        kv = h * kv_heads // heads
        qh, kh, vh = q[:, h * d : h * d + d].double(), k[:, kv * d : kv * d + d].double(), v[:, kv * d : kv * d + d].double()
        s = (qh @ kh.T * scale).masked_fill_(hidden, float("-inf"))
        out.append(torch.softmax(s, 1) @ vh)
    return torch.cat(out, 1)


def check_attention():
    for d in [64, 80, 128]:
        for short in [False, True]:
            for n, m, heads, kv_heads, causal, windows in [
                (1, 1, 1, 1, False, None),
                (300, 211, 3, 3, False, None),
                (333, 333, 6, 2, True, None),
                (515, 515, 4, 4, False, [64, 100, 164, 165, 420, 515]),
                (131, 131, 2, 1, True, [40, 131]),
            ]:
                q, k, v = heavy(n, heads * d), normal(m, kv_heads * d, std=0.5), heavy(m, kv_heads * d)
                tiles = tiles_of(windows, 64 if short else 128) if windows else None
                out = Poisoned(n, heads * d)
                attention(out.out, q, k, v, d, heads, kv_heads, d**-0.5, causal, tiles, short)
                reference = attention_reference(q, k, v, d, heads, kv_heads, d**-0.5, causal, windows)
                out.check(f"attention {d}{' short' if short else ''} n {n} m {m} heads {heads}/{kv_heads}{' causal' if causal else ''} {windows or ''}", reference, 4e-3)
    q, k, v = normal(9598, 24 * 128), normal(9598, 24 * 128), normal(9598, 24 * 128)
    out = Poisoned(9598, 24 * 128)
    attention(out.out, q, k, v, 128, 24, 24, 128**-0.5)
    only = [0, 11, 23]
    reference = attention_reference(q, k, v, 128, 24, 24, 128**-0.5, False, None, only)
    got = torch.cat([out.out[:, h * 128 : h * 128 + 128] for h in only], 1)
    report("attention 128 n 9598 heads 24", distance(got, reference), 4e-3)


def time_attention():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for d, n, heads, kv_heads, causal, window, short in [
        (128, 9598, 24, 24, False, None, False),
        (128, 8492, 24, 24, False, None, False),
        (128, 1400, 28, 4, True, None, False),
        (128, 1400, 28, 4, True, None, True),
        (80, 5476, 16, 16, False, None, False),
        (80, 5476, 16, 16, False, 64, True),
    ]:
        q, k, v = normal(n, heads * d), normal(n, kv_heads * d), normal(n, kv_heads * d)
        out = torch.empty_like(q)
        windows = list(range(window, n, window)) + [n] if window else None
        tiles = tiles_of(windows, 64 if short else 128) if windows else None
        ms = milliseconds([lambda: attention(out, q, k, v, d, heads, kv_heads, d**-0.5, causal, tiles, short)] * 5)
        others = []
        if not window:
            split = lambda x: x.view(1, n, -1, d).transpose(1, 2).repeat_interleave(heads * d // x.shape[1], 1)
            parts = [split(x) for x in (q, k, v)]
            for label, backend in [("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)]:
                try:
                    with sdpa_kernel(backend):
                        others.append((label, milliseconds([lambda: F.scaled_dot_product_attention(*parts, is_causal=causal)] * 5)))
                except RuntimeError as e:
                    print(f"     {label}: {str(e)[:80]}")
        work = 4 * n * (window or n) * heads * d * (0.5 if causal else 1)
        show(f"attention {d}{' short' if short else ''} n {n} heads {heads}/{kv_heads}{' causal' if causal else ''}{f' windows of {window}' if window else ''}", ms, work, "TFLOP/s", *others)


# ---- Hopper ----


def gemm_maps(a, b):
    return TensorMap(a, 128), TensorMap(b, 256)


def gemm_hopper(out, a, b, bias=None, residual=None, gate=None, rest=None, until=0, flags=0, maps=None):
    m, n, k = a.shape[0], b.shape[0], a.shape[1]
    flags |= (OUT_F32 if out.dtype == F32 else 0) | (RESIDUAL_F32 if residual is not None and residual.dtype == F32 else 0)
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    grid = min(ceil(m, 128) * ceil(n, 256), processors)
    kernels.gemm__sm_90a.gemm_bf16_hopper(grid, 384, 218112, *(maps or gemm_maps(a, b)), out, bias, residual, gate, rest, m, n, k, until, flags)


def check_gemm_hopper():
    for m, n, k in [(1, 64, 8), (300, 264, 40), (129, 257, 72), (67, 3, 64), (513, 520, 1032), (3000, 3080, 520), (8192, 3072, 3072)]:
        name = f"gemm_hopper {m}x{n}x{k}"
        a, b = heavy(m, k), normal(n, k, std=k**-0.5)
        y = a.double() @ b.double().T
        out = Poisoned(m, n, dtype=F32)
        gemm_hopper(out.out, a, b)
        out.check(f"{name} float32", y)
        out = Poisoned(m, n)
        gemm_hopper(out.out, a, b)
        out.check(f"{name} bf16", y)
        bias, gate, rest = normal(n, dtype=F32), normal(n, dtype=F32), normal(n, dtype=F32)
        for flags in [0, SILU, GELU_ERF, GELU_TANH]:
            out = Poisoned(m, n, dtype=F32)
            gemm_hopper(out.out, a, b, bias, flags=flags)
            out.check(f"{name} bias, activation {flags}", activate(y + bias.double(), flags))
        for dtype in [BF16, F32]:
            residual, until = heavy(m, n, dtype=dtype), m // 3
            rows = torch.arange(m, device="cuda")[:, None] < until
            reference = residual.double() + torch.where(rows, gate, rest).double() * (y + bias.double())
            out = Poisoned(m, n, initial=residual, dtype=dtype)
            gemm_hopper(out.out, a, b, bias, out.out, gate, rest, until)
            out.check(f"{name} gated onto itself, {dtype}", reference)


def quantised(x, factor=None, gelu=0):
    rows, k = x.shape
    q, scale = torch.full((rows, k), -128, dtype=torch.int8, device="cuda"), torch.empty(rows, dtype=F32, device="cuda")
    kernels.quantise.quantise_rows(rows, 256, 0, q, scale, x, factor, rows, k, gelu)
    return q, scale


def gemm_s8(out, a, a_scale, b, b_scale, bias=None, residual=None, gate=None, rest=None, until=0, flags=0, maps=None):
    m, n, k = a.shape[0], b.shape[0], a.shape[1]
    flags |= (OUT_F32 if out.dtype == F32 else 0) | (RESIDUAL_F32 if residual is not None and residual.dtype == F32 else 0)
    grid = min(ceil(m, 128) * ceil(n, 256), torch.cuda.get_device_properties(0).multi_processor_count)
    kernels.gemm__sm_90a.gemm_s8_hopper(grid, 384, 218112, *(maps or gemm_maps(a.view(BF16), b.view(BF16))), a_scale, b_scale, out, bias, residual, gate, rest, m, n, k, until, flags)


def check_quantise():
    for rows, k in [(1, 8), (70, 1000), (300, 12288), (9, 18944)]:
        x, factor = heavy(rows, k), torch.exp(torch.randn(k, device="cuda"))
        x[rows // 2] = 0
        for f, gelu in [(None, 0), (factor, 0), (factor, 1)]:
            q, scale = quantised(x, f, gelu)
            y = (F.gelu(x.double(), approximate="tanh") if gelu else x.double()) * (1 if f is None else f.double())
            off = (q.double() * scale.double()[:, None] - y).abs().max(1).values / (scale.double() + 1e-30)
            report(f"quantise_rows {rows}x{k} gelu {gelu}: distance in steps", off.max().item(), 0.501)
            report(f"quantise_rows {rows}x{k} gelu {gelu}: scale", distance(scale, y.abs().max(1).values / 127), 1e-6)


def check_s8_hopper():
    for m, n, k in [(1, 64, 16), (300, 264, 48), (129, 257, 80), (67, 3, 128), (513, 520, 1040), (3000, 3080, 528), (8192, 3072, 3072)]:
        a, b = [torch.randint(-127, 128, shape, device="cuda", dtype=torch.int8) for shape in [(m, k), (n, k)]]
        a_scale, b_scale = torch.rand(m, device="cuda") * 0.01, torch.rand(n, device="cuda") * 0.01
        y = a.double() @ b.double().T * a_scale.double()[:, None] * b_scale.double()
        bias, gate, rest, residual, until = normal(n, dtype=F32), normal(n, dtype=F32), normal(n, dtype=F32), heavy(m, n), m // 3
        out = Poisoned(m, n)
        gemm_s8(out.out, a, a_scale, b, b_scale, bias)
        out.check(f"gemm_s8_hopper {m}x{n}x{k} bf16", y + bias.double())
        out = Poisoned(m, n, dtype=F32)
        gemm_s8(out.out, a, a_scale, b, b_scale, bias)
        out.check(f"gemm_s8_hopper {m}x{n}x{k}", y + bias.double(), 1e-6)
        rows = torch.arange(m, device="cuda")[:, None] < until
        out = Poisoned(m, n, initial=residual)
        gemm_s8(out.out, a, a_scale, b, b_scale, bias, out.out, gate, rest, until)
        out.check(f"gemm_s8_hopper {m}x{n}x{k} gated onto itself", residual.double() + torch.where(rows, gate, rest).double() * (y + bias.double()))
    # What eight bits cost, with smoothing, where channels differ much and some rows are large.
    for outlier in [1, 10, 100]:
        m, n, k = 2048, 3072, 3072
        channels = torch.exp(0.7 * torch.randn(k, device="cuda"))
        x = torch.randn(m, k, device="cuda") * channels
        x[:, torch.randint(k, (8,), device="cuda")] *= outlier
        x, w = x.to(BF16), normal(n, k, std=k**-0.5)
        smooth = (x.float().abs().amax(0) ** 0.5).clamp(min=1e-3)
        y, out = x.double() @ w.double().T, torch.empty(m, n, dtype=BF16, device="cuda")
        gemm_s8(out, *quantised(x, 1 / smooth), *quantised(w, smooth))
        print(f"     8 bits, outlier channels of {outlier}: {distance(out, y):.2e}")


def time_gemm_hopper():
    for m, n, k in [(8192, 3072, 3072), (8192, 9216, 3072), (8192, 12288, 3072), (8192, 3072, 12288), (1406, 3072, 3072), (1406, 12288, 3072), (1406, 3072, 12288), (1406, 3584, 18944)]:
        a, b, bias = normal(m, k), normal(n, k, std=0.02), normal(n, dtype=F32)
        out, flop = torch.empty(m, n, dtype=BF16, device="cuda"), 2 * m * n * k
        other = milliseconds([lambda: torch.mm(a, b.T, out=out)] * 10)
        maps, name = gemm_maps(a, b), f"gemm_hopper {m}x{n}x{k}"
        time = lambda *arguments, **more: milliseconds([lambda: gemm_hopper(out, a, b, bias, *arguments, maps=maps, **more)] * 10)
        show(name, time(), flop, "TFLOP/s", ("torch", other), ("GELU", time(flags=GELU_TANH)), ("gated onto itself", time(out, bias, bias)))
        (qa, sa), (qb, sb) = quantised(a), quantised(b)
        maps = gemm_maps(qa.view(BF16), qb.view(BF16))
        show(f"gemm_s8_hopper {m}x{n}x{k}", milliseconds([lambda: gemm_s8(out, qa, sa, qb, sb, bias, maps=maps)] * 10), flop, "TOP/s",
             ("quantise_rows", milliseconds([lambda: kernels.quantise.quantise_rows(m, 256, 0, qa, sa, a, None, m, k, 0)] * 10)),
             ("with GELU", milliseconds([lambda: kernels.quantise.quantise_rows(m, 256, 0, qa, sa, a, None, m, k, 1)] * 10)))


def attention_hopper(out, q, k, v, heads, kv_heads, scale, maps=None):
    maps = maps or [TensorMap(x, 128) for x in (q, k, v)]
    kernel = kernels.attention__sm_90a.attention_bf16_128_hopper
    kernel((ceil(q.shape[0], 128), heads), 384, 164864, *maps, out, q.shape[0], k.shape[0], heads, kv_heads, scale)


def check_attention_hopper():
    for n, m, heads, kv_heads in [(1, 1, 1, 1), (300, 211, 3, 3), (515, 515, 4, 2), (130, 1030, 2, 1), (1000, 128, 2, 2), (64, 256, 1, 1)]:
        q, k, v = heavy(n, heads * 128), normal(m, kv_heads * 128, std=0.5), heavy(m, kv_heads * 128)
        out = Poisoned(n, heads * 128)
        attention_hopper(out.out, q, k, v, heads, kv_heads, 128**-0.5)
        out.check(f"attention_hopper n {n} m {m} heads {heads}/{kv_heads}", attention_reference(q, k, v, 128, heads, kv_heads, 128**-0.5, False, None), 4e-3)
    q, k, v = normal(9598, 24 * 128), normal(9598, 24 * 128), normal(9598, 24 * 128)
    out = Poisoned(9598, 24 * 128)
    attention_hopper(out.out, q, k, v, 24, 24, 128**-0.5)
    only = [0, 11, 23]
    reference = attention_reference(q, k, v, 128, 24, 24, 128**-0.5, False, None, only)
    report("attention_hopper n 9598 heads 24", distance(torch.cat([out.out[:, h * 128 : h * 128 + 128] for h in only], 1), reference), 4e-3)


def time_attention_hopper():
    for n in [9598, 8492]:
        q, k, v = normal(n, 24 * 128), normal(n, 24 * 128), normal(n, 24 * 128)
        out, maps = torch.empty_like(q), [TensorMap(x, 128) for x in (q, k, v)]
        ms = milliseconds([lambda: attention_hopper(out, q, k, v, 24, 24, 128**-0.5, maps)] * 5)
        show(f"attention_hopper n {n} heads 24", ms, 4 * n * n * 24 * 128, "TFLOP/s")


# ---- weights ----

def svdq(n, k, r):
    """A linear, as the file has it and as a matrix without and with its branch."""
    q = torch.randint(-8, 8, (n, k), device="cuda")
    scales, smooth = (torch.rand(n, k // 64, device="cuda") * 0.02 + 0.001).to(BF16), torch.exp(0.7 * torch.randn(k, device="cuda")).to(BF16)
    up, down = normal(n, r, std=0.1), normal(k, r, std=0.05)
    main = q.double() * scales.double().repeat_interleave(64, 1) / smooth.double()
    return dict(
        qweight=packing.pack_codes(q, packing.nibble_of), wscales=packing.pack_scales(scales), smooth=packing.pack_vector(smooth),
        proj_up=packing.pack_rank(up, False), proj_down=packing.pack_rank(down, True), up=up, down=down, inverse=1 / smooth.float(), main=main,
        whole=main + up.double() @ down.double().T,
    )


def svdq_weights(out, s, n, k, r, y):
    kernels.weights.svdq_weights((n // 128, y), 128, 256 * (2 * r + 16), out, s["qweight"], s["wscales"], s["inverse"], s["up"], s["down"], n, k, r)


def check_weights():
    packing.check_golden()
    for n, k, r, y in [(128, 64, 16, 1), (256, 192, 32, 2), (384, 1024, 128, 3), (3072, 3072, 128, 16)]:
        s = svdq(n, k, r)
        out = Poisoned(n, k)
        svdq_weights(out.out, s, n, k, r, y)
        out.check(f"svdq_weights {n}x{k} rank {r}", s["whole"])
        out = Poisoned(n, k)
        kernels.weights.svdq_weights((n // 128, y), 128, 256 * 16, out.out, s["qweight"], s["wscales"], s["inverse"], None, None, n, k, 0)
        out.check(f"svdq_weights {n}x{k} without a branch", s["main"])
        for invert in [0, 1]:
            out = Poisoned(k, dtype=F32)
            kernels.weights.svdq_vector(3, 256, 0, out.out, s["smooth"], k, invert)
            out.check(f"svdq_vector {k} invert {invert}", s["inverse"].double() if invert else 1 / s["inverse"].double(), 2e-7)
        for name, c, down in [("up", n, 0), ("down", k, 1)]:
            out = Poisoned(c, r)
            kernels.weights.svdq_lowrank(64, 256, 0, out.out, s["proj_" + name], c, r, down)
            out.check(f"svdq_lowrank {name} {c}x{r}", s[name].double(), 1e-12)
        bias = normal(n, dtype=F32)
        out = Poisoned(n, dtype=F32, initial=bias)
        kernels.weights.svdq_shift(n // 16, 128, 0, out.out, s["qweight"], s["wscales"], s["inverse"], n, k, 0.171875)
        out.check(f"svdq_shift {n}x{k}", bias.double() + 0.171875 * s["main"].sum(1), 1e-5)


def time_weights():
    for n, k, r in [(9216, 3072, 128), (12288, 3072, 128), (3072, 12288, 128), (3072, 3072, 128), (12288, 3072, 0)]:
        s = svdq(n, k, max(r, 16))
        outs = [torch.empty(n, k, dtype=BF16, device="cuda") for _ in range(4)]
        for y in [4, 8, 16]:
            ms = milliseconds([lambda o=o: svdq_weights(o, s, n, k, r, y) for o in outs] * 3)
            show(f"svdq_weights {n}x{k} rank {r} y {y}", ms, n * k * 2.5 + n * k / 32, "TB/s")


# ---- awq ----

def awq(n, k):
    q = torch.randint(0, 16, (n, k), device="cuda")
    scales = (torch.rand(k // 64, n, device="cuda") * 0.01 + 0.001).to(BF16)
    zeros = (-8 * scales.float() * (1 + 0.1 * torch.randn(k // 64, n, device="cuda"))).to(BF16)
    w = q.double() * scales.double().T.repeat_interleave(64, 1) + zeros.double().T.repeat_interleave(64, 1)
    return packing.pack_codes(q, packing.awq_nibble_of), scales, zeros, normal(n), w


def awq_linear(out, x, weights, parts):
    rows, n = out.shape
    kernels.awq.awq_linear((ceil(n, 32), ceil(rows, 16)), 256, 0, out, x, *weights, rows, n, x.shape[1], parts)


def check_awq():
    packing.check_golden()
    for rows, n, k, parts in [(1, 16, 64, 1), (5, 144, 192, 6), (17, 384, 1088, 2), (64, 1536, 2112, 6), (8, 18432, 3072, 6)]:
        *weights, w = awq(n, k)
        x = heavy(rows, k)
        y = x.double() @ w.T + weights[3].double()
        out = Poisoned(rows, n, dtype=F32)
        awq_linear(out.out, x, weights, parts)
        out.check(f"awq_linear {rows}x{n}x{k} parts {parts}", y.view(rows, n // parts, parts).transpose(1, 2).reshape(rows, n))


def time_awq():
    n, k = 18432, 3072
    sets = [awq(n, k)[:4] for _ in range(6)]
    for rows in [1, 8, 16, 64]:
        x, out = normal(rows, k), torch.empty(rows, n, dtype=F32, device="cuda")
        ms = milliseconds([lambda s=s: awq_linear(out, x, s, 6) for s in sets] * 4)
        show(f"awq_linear {rows}x{n}x{k}", ms, n * k / 2 + n * k / 16, "TB/s")


# ---- layout ----

def check_layout():
    for rows, m, scale in [(3, 8, 1.0), (70, 1000, 0.05), (33, 16384, 0.051)]:
        x = heavy(rows, m, dtype=F32)
        out = Poisoned(rows, m)
        kernels.layout.softmax_rows(rows, 256, 0, out.out, x, rows, m, scale)
        out.check(f"softmax_rows {rows}x{m}", torch.softmax(x.double() * scale, 1))
    for rows, columns in [(1, 1), (77, 45), (1000, 384)]:
        x = normal(rows, columns)
        out = Poisoned(columns, rows)
        kernels.layout.transpose_bf16((ceil(columns, 32), ceil(rows, 32)), 256, 0, out.out, x, rows, columns)
        out.check(f"transpose_bf16 {rows}x{columns}", x.T.double(), 1e-12)
        out = Poisoned(rows, columns + 5)
        kernels.layout.pad_columns(7, 256, 0, out.out, x, rows, columns, columns + 5)
        out.check(f"pad_columns {rows}x{columns}", F.pad(x.double(), (0, 5)), 1e-12)


def wide_attention(out, q, k, v, block):
    """Attention with one head, of any width, by three products: as a backend would do it."""
    n, d = q.shape
    turned = torch.empty(d, n, dtype=BF16, device="cuda")
    s, p = torch.empty(block, n, dtype=F32, device="cuda"), torch.empty(block, n, dtype=BF16, device="cuda")

    def run():
        kernels.layout.transpose_bf16((ceil(d, 32), ceil(n, 32)), 256, 0, turned, v, n, d)
        for at in range(0, n, block):
            rows = min(block, n - at)
            gemm("128x256", s[:rows], q[at : at + rows], k)
            kernels.layout.softmax_rows(rows, 256, 0, p, s, rows, n, d**-0.5)
            gemm("128x128", out[at : at + rows], p[:rows], turned)

    return run


def time_layout():
    n, d = 16384, 384
    q, k, v = normal(n, d), normal(n, d), normal(n, d)
    out = Poisoned(n, d)
    run = wide_attention(out.out, q, k, v, 2048)
    ms = milliseconds([run])
    out.check("wide attention 16384x384", attention_reference(q, k, v, d, 1, 1, d**-0.5, False, None), 4e-3)
    parts = [x.view(1, 1, n, d) for x in (q, k, v)]
    show("wide attention 16384x384", ms, 4 * n * n * d, "TFLOP/s", ("torch", milliseconds([lambda: F.scaled_dot_product_attention(*parts)])))


FAMILIES = ["gemm", "conv", "attention", "weights", "awq", "layout", "gemm_hopper", "quantise", "s8_hopper", "attention_hopper"]


def main():
    what = [a for a in sys.argv[2:] if a in ("check", "time")] or ["check", "time"]
    families = [a for a in sys.argv[2:] if a in FAMILIES] or FAMILIES
    torch.manual_seed(20261126)
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}", flush=True)
    for verb in what:
        for family in families:
            try:
                globals().get(f"{verb}_{family}", lambda: None)()
            except Exception:
                traceback.print_exc()
                failures.append(f"{verb} {family}")
            torch.cuda.empty_cache()
    for module in vars(kernels).values():
        for kernel in vars(module).values():
            if hasattr(kernel, "attribute"):
                print(f"kernel {kernel.name}: {kernel.attribute(REGISTERS)} registers, {kernel.attribute(LOCAL_SIZE)} bytes of local memory")
    print(f"{len(failures)} failed: {failures}")
    sys.exit(1 if failures else 0)


main()
