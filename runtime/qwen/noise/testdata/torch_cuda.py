"""Writes torch_cuda.json: what torch.randn draws on an H100 or H200 (132 SMs).

    python3 -m venv venv && venv/bin/pip install torch==2.12.0 numpy==2.4.6
    venv/bin/python torch_cuda.py > torch_cuda.json

Another version of PyTorch will do: the file records which it was. Of each tensor the elements around every edge of the layout are kept, and some from all over.
"""

import json

import torch

THREADS = 132 * 2048
CASES = [
    (0, [1, 1, 16, 4, 6]),  # less than a block
    (42, [1, 1, 16, 128, 128]),  # 1024 x 1024 pixels
    (2**40 + 7, [1, 1, 16, 96, 170]),  # a seed over 32 bits
    (1234, [1, 1, 16, 192, 160]),  # two numbers a thread
    (20261126, [1, 1, 16, 256, 256]),  # 2048 x 2048 pixels, four numbers a thread
    (7, [1, 1, 16, 320, 330]),  # two calls a thread
]
EDGES = [0, 256] + [THREADS * k for k in range(1, 7)]


def kept(n):
    near = {e + d for e in EDGES + [n] for d in range(-3, 4)}
    spread = {n * i // 101 for i in range(101)}
    return sorted(i for i in near | spread if 0 <= i < n)


def case(seed, shape):
    def draw(dtype):
        generator = torch.Generator("cuda").manual_seed(seed)
        return torch.randn(shape, generator=generator, device="cuda", dtype=dtype).flatten().float().cpu()

    full, half = draw(torch.float32), draw(torch.bfloat16)
    at = kept(full.numel())
    return dict(seed=seed, elements=full.numel(), at=at, float32=full[at].tolist(), bfloat16=half[at].tolist())


def main():
    properties = torch.cuda.get_device_properties(0)
    assert properties.multi_processor_count == 132 and properties.max_threads_per_multi_processor == 2048, properties
    cases = [case(*c) for c in CASES]
    versions = dict(torch=torch.__version__, cuda=torch.version.cuda, device=properties.name)
    print(json.dumps(dict(versions=versions, cases=cases), separators=(",", ":")).replace('{"seed"', '\n{"seed"'))


main()
