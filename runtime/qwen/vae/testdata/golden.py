"""Writes golden.safetensors: what diffusers' AutoencoderKLQwenImage makes of small pictures.

    python3 -m venv venv && venv/bin/pip install \
        torch==2.12.0 diffusers==0.42.1 numpy==2.4.6 safetensors==0.8.0
    go run ./verify/modelset/modelsettest/write DIR
    venv/bin/python runtime/qwen/vae/testdata/golden.py DIR

The weights are those of DIR/vae, which package modelsettest makes again from its seed: they
are not stored. Everything is computed in float64 on the CPU and stored as float32, in
diffusers' order, without the dimensions of one frame and one picture:

    picture.N  [3, H, W]        what is encoded, samples in -1 to 1
    mean.N     [16, H/8, W/8]   vae.encode(picture).latent_dist.mode()
    latents.N  [16, H/8, W/8]   what is decoded
    decoded.N  [3, H, W]        the decoder's output, ahead of the clamping of vae.decode
    encoder.mid, decoder.mid    the outputs of the middle blocks, of N = 0
"""

import pathlib
import sys

import diffusers
import safetensors.torch
import torch
from diffusers import AutoencoderKLQwenImage

SEED = 20261126
SIZES = [(48, 32), (32, 80), (16, 16)]  # rows, columns: multiples of 16 and of little else


def encode(vae, picture):
    return vae.encode(picture[None, :, None]).latent_dist.mode()[0, :, 0]


def decode(vae, latents):
    """vae.decode without its last step, which is compared with it."""
    z = latents[None, :, None]
    vae.clear_cache()
    x = vae.decoder(vae.post_quant_conv(z), feat_cache=vae._feat_map, feat_idx=[0])
    vae.clear_cache()
    assert torch.equal(x.clamp(-1, 1), vae.decode(z).sample)
    return x[0, :, 0]


def middle(half, run):
    """The output of the middle block of an encoder or decoder."""
    seen = []
    hook = half.mid_block.register_forward_hook(lambda module, args, output: seen.append(output[0, :, 0]))
    run()
    hook.remove()
    return seen[0]


def main(directory):
    assert (torch.__version__.split("+")[0], diffusers.__version__) == ("2.12.0", "0.42.1")
    vae = AutoencoderKLQwenImage.from_pretrained(directory, subfolder="vae", torch_dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    out = {}
    for n, (rows, columns) in enumerate(SIZES):
        picture = torch.randint(0, 256, (3, rows, columns), generator=generator).double() / 255 * 2 - 1
        latents = 2 * torch.randn(16, rows // 8, columns // 8, generator=generator).double()
        # what is stored is what was computed with
        picture, latents = picture.float().double(), latents.float().double()
        out |= {f"picture.{n}": picture, f"mean.{n}": encode(vae, picture)}
        out |= {f"latents.{n}": latents, f"decoded.{n}": decode(vae, latents)}
        if n == 0:
            out["encoder.mid"] = middle(vae.encoder, lambda: encode(vae, picture))
            out["decoder.mid"] = middle(vae.decoder, lambda: vae.decode(latents[None, :, None]))
    for name, tensor in out.items():
        print(f"{name:12} {list(tensor.shape)} std {tensor.std():.3f} max {tensor.abs().max():.3f}")
    metadata = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    path = pathlib.Path(__file__).with_name("golden.safetensors")
    safetensors.torch.save_file({name: tensor.float().contiguous() for name, tensor in out.items()}, path, metadata)


with torch.no_grad():
    main(sys.argv[1])
