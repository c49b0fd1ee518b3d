"""Writes torch_cpu.json: what torch.randn draws on the CPU.

    python3 -m venv venv && venv/bin/pip install torch==2.12.0 numpy==2.4.6
    venv/bin/python torch_cpu.py > torch_cpu.json
"""

import json

import torch

CASES = [(0, [1, 1, 16, 4, 6]), (42, [1, 1, 16, 2, 10]), (2**32 + 5, [16]), (20261126, [16, 64])]


def draw(seed, shape, dtype):
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).flatten().float().tolist()


def main():
    cases = [dict(seed=s, shape=shape, float32=draw(s, shape, torch.float32), bfloat16=draw(s, shape, torch.bfloat16)) for s, shape in CASES]
    print(json.dumps(dict(versions=dict(torch=torch.__version__), cases=cases), separators=(",", ":")).replace('{"seed"', '\n{"seed"'))


main()
