"""Writes golden.json: diffusers' own schedules, steps and time embeddings, on the CPU.

    python3 -m venv venv && venv/bin/pip install \
        torch==2.12.0 diffusers==0.42.1 transformers==5.17.0 numpy==2.4.6
    venv/bin/python golden.py > golden.json

Every number is a float32 or float64 in Python's shortest form, which reads back exactly.
"""

import json
import math

import diffusers
import numpy
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.embeddings import Timesteps
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import calculate_shift, retrieve_timesteps

SEED = 20261126

CONFIGS = {
    # scheduler_config.json of the Qwen-Image repositories
    "base": dict(base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192, shift_terminal=0.02),
    # the constants of Qwen-Image-Lightning
    "lightning": dict(base_shift=math.log(3), max_shift=math.log(3), base_image_seq_len=256, max_image_seq_len=8192, shift_terminal=None),
    # the class's own defaults
    "defaults": dict(),
}
CASES = [
    ("base", 50, 4096), ("base", 40, 4096), ("base", 20, 3600), ("base", 7, 1), ("base", 2, 16384), ("base", 3, 6032),
    ("lightning", 4, 4096), ("lightning", 8, 4096), ("lightning", 1, 4096), ("lightning", 13, 1000),
    ("defaults", 1, 1024), ("defaults", 30, 4097),
]


def floats(tensor):
    return [float(v) for v in tensor.flatten()]


def schedule(name, steps, tokens):
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential", **CONFIGS[name])
    c = scheduler.config
    mu = calculate_shift(tokens, c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)
    sigmas = numpy.linspace(1.0, 1 / steps, steps)
    timesteps, _ = retrieve_timesteps(scheduler, steps, "cpu", sigmas=sigmas, mu=mu)
    assert scheduler.sigmas.dtype == timesteps.dtype == torch.float32
    model = timesteps.to(torch.bfloat16) / 1000
    return scheduler, dict(
        config={"_class_name": type(scheduler).__name__} | {k: c[k] for k in ("use_dynamic_shifting", "time_shift_type", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "shift_terminal")},
        steps=steps, tokens=tokens, mu=mu,
        sigmas=floats(scheduler.sigmas), timesteps=floats(timesteps), modelTimes=floats(model.float()),
    )


def walk(generator):
    """All steps of a short schedule, with a random velocity at each."""
    scheduler, case = schedule("base", 5, 1234)
    scheduler.set_begin_index(0)
    x = torch.randn(9, generator=generator)
    out = dict(case, x=[floats(x)], v=[])
    for t in scheduler.timesteps:
        v = torch.randn(9, generator=generator)
        x = scheduler.step(v, t, x, return_dict=False)[0]
        out["v"].append(floats(v))
        out["x"].append(floats(x))
    return out


def embeddings():
    project = Timesteps(num_channels=256, flip_sin_to_cos=True, downscale_freq_shift=0, scale=1000)
    times = torch.tensor([1.0, 0.69140625, 0.02001953125, 0.0, 0.3]).float()
    return [dict(time=float(u), embedding=floats(e)) for u, e in zip(times, project(times))]


def main():
    generator = torch.Generator().manual_seed(SEED)
    golden = dict(
        versions=dict(torch=torch.__version__, diffusers=diffusers.__version__, numpy=numpy.__version__), seed=SEED,
        schedules=[schedule(*case)[1] for case in CASES], walk=walk(generator), embeddings=embeddings(),
    )
    print(json.dumps(golden, separators=(",", ":")).replace('{"config"', '\n{"config"').replace('{"time"', '\n{"time"'))


main()
