"""What rounding to 8 bits a row costs beside 4 bits a group of 64, in a linear with smoothing.

    python3 eightbits.py

Written for PyTorch 2.12 on the CPU. For inputs as norms leave them and for outputs of GELU, with
lognormal channels, six outlier channels and a few rows 30 times the others, it prints the error
‖y' − y‖ / ‖y‖ of a row of the product, the median row and the worst one: of inputs in 8 bits a row
with weights in 8 bits an output (package kernels, EightBits), of inputs in 4 bits a group, as the
checkpoint wants them, with exact weights, and of 8 bits without smoothing.
"""

import torch

SHIFT = 0.171875  # what the checkpoint adds to GELU's output


def row8(x):
    scale = x.abs().amax(1, keepdim=True) / 127
    return torch.round(x / scale) * scale


def group4(x, shift=None):
    """Codes -7 to 7 or, with a shift that makes all values positive, 0 to 15."""
    groups = (x if shift is None else x + shift).view(len(x), -1, 64)
    scale = groups.abs().amax(2, keepdim=True) / (7 if shift is None else 15)
    rounded = (torch.round(groups / scale) * scale).view_as(x)
    return rounded if shift is None else rounded - shift


def error(y, exact):
    e = (y - exact).norm(dim=1) / exact.norm(dim=1)
    return f"{e.median():.3f} to {e.max():.3f}"


def inputs(k, gelu, sigma, outliers):
    x = torch.randn(128, k) * torch.exp(sigma * torch.randn(k))
    x[:, torch.randint(k, (6,))] *= outliers
    x[:4] *= 30
    return torch.nn.functional.gelu(x, approximate="tanh") if gelu else x


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    for name, k, gelu in [("after a norm", 3072, False), ("after GELU", 12288, True)]:
        for sigma in [0.5, 1.0]:
            for outliers in [1, 30, 300]:
                x, w = inputs(k, gelu, sigma, outliers), torch.randn(384, k) * k**-0.5
                smooth = x.abs().amax(0).clamp(min=1e-3) ** 0.5
                y, a, b = x @ w.T, x / smooth, w * smooth
                print(f"{name}, sigma {sigma}, outliers of {outliers}: 8 bits {error(row8(a) @ row8(b).T, y)}, "
                      f"4 bits {error(group4(a, SHIFT / smooth if gelu else None) @ b.T, y)}, 8 bits without smoothing {error(row8(x) @ row8(w).T, y)}")


main()
