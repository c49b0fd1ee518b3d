"""Writes golden.json: what diffusers' Qwen-Image-Edit pipeline does to latents, on the CPU.

    python3 -m venv venv && venv/bin/pip install \
        torch==2.12.0 diffusers==0.42.1 transformers==5.17.0 numpy==2.4.6
    venv/bin/python golden.py > golden.json

Packing, unpacking and normalising are the pipeline's own functions. Guidance and the
inverse of normalising stand in the middle of its __call__: their torch operations are
written out here in the same order (marked "inline").
"""

import json
from types import SimpleNamespace

import diffusers
import torch
from diffusers import QwenImageEditPipeline

SEED = 20261127
MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


def floats(tensor):
    return [float(v) for v in tensor.flatten()]


def packing(channels, height, width):
    """Positions instead of values: tokens[i] is the index in [channels, height, width]."""
    z = torch.arange(channels * height * width).view(1, 1, channels, height, width)
    tokens = QwenImageEditPipeline._pack_latents(z, 1, channels, height, width)
    back = QwenImageEditPipeline._unpack_latents(tokens, height * 8, width * 8, 8)
    assert torch.equal(back.flatten(), z.flatten())
    return dict(channels=channels, height=height, width=width, shape=list(tokens.shape[1:]), tokens=tokens.flatten().tolist())


def statistics(generator):
    """_encode_vae_image with an encoder that returns its input, then the inverse, inline."""
    z = torch.randn(1, 16, 1, 2, 3, generator=generator)
    encoder = SimpleNamespace(
        encode=lambda x: SimpleNamespace(latents=x), config=SimpleNamespace(latents_mean=MEAN, latents_std=STD)
    )
    pipeline = SimpleNamespace(vae=encoder, latent_channels=16)
    normal = QwenImageEditPipeline._encode_vae_image(pipeline, z, None)
    mean = torch.tensor(MEAN).view(1, 16, 1, 1, 1)
    std = 1.0 / torch.tensor(STD).view(1, 16, 1, 1, 1)
    other = torch.randn(1, 16, 1, 2, 3, generator=generator)
    return dict(height=2, width=3, z=floats(z), normal=floats(normal), latents=floats(other), denormal=floats(other / std + mean))


def guidance(generator, scale):
    """True-CFG of QwenImageEditPipeline.__call__, inline."""
    noise_pred = torch.randn(1, 3, 64, generator=generator)
    neg_noise_pred = torch.randn(1, 3, 64, generator=generator) * torch.tensor([1.0, 30.0, 1e-3]).view(1, 3, 1)
    comb_pred = neg_noise_pred + scale * (noise_pred - neg_noise_pred)
    cond_norm = torch.norm(noise_pred, dim=-1, keepdim=True)
    noise_norm = torch.norm(comb_pred, dim=-1, keepdim=True)
    combined = comb_pred * (cond_norm / noise_norm)
    return dict(scale=scale, positive=floats(noise_pred), negative=floats(neg_noise_pred), combined=floats(combined))


def main():
    generator = torch.Generator().manual_seed(SEED)
    golden = dict(
        versions=dict(torch=torch.__version__, diffusers=diffusers.__version__), seed=SEED, mean=MEAN, std=STD,
        packings=[packing(16, 4, 6), packing(16, 6, 2), packing(3, 2, 10)],
        statistics=statistics(generator), guidances=[guidance(generator, s) for s in (4.0, 1.5, 10.0)],
    )
    print(json.dumps(golden, separators=(",", ":")).replace('{"channels"', '\n{"channels"').replace('{"scale"', '\n{"scale"'))


main()
