"""The packing of an SVDQuant INT4 checkpoint, from what a matrix means to how it lies in the
file. The formulas are those of package verify/svdq/packing, and are checked here against
the same golden places."""

import torch


def grid(*sizes):
    return torch.meshgrid(*[torch.arange(s, device="cuda") for s in sizes], indexing="ij")


def permuted(n):
    return n // 16 * 16 + n % 8 // 2 * 4 + n % 16 // 8 * 2 + n % 2


def nibble_of(n, k, width):
    """The number of the nibble of code (n, k) of a linear of that many columns."""
    word = (((n // 128 * (width // 64) + k // 64) * 8 + n % 128 // 16) * 8 + n % 8) * 4 + k % 32 // 8
    return (word * 4 + n % 16 // 8 * 2 + k % 64 // 32) * 8 + k % 8


def awq_nibble_of(n, k, width):
    unit = n // 4 * width + k // 64 * 64 + n % 4 * 16 + k % 64 // 32 * 8 + k % 8
    return unit * 4 + k % 32 // 8


def pack_codes(q, place):
    """Codes [n, k], whole numbers, to bytes."""
    n, k = grid(*q.shape)
    nibbles = torch.empty(q.numel(), dtype=torch.uint8, device="cuda")
    nibbles[place(n, k, q.shape[1]).flatten()] = (q & 15).to(torch.uint8).flatten()
    return nibbles[0::2] | nibbles[1::2] << 4


def pack_vector(v):
    packed = torch.empty_like(v)
    packed[permuted(torch.arange(len(v), device="cuda"))] = v
    return packed


def pack_scales(s):
    """Scales [n, groups]."""
    n, g = grid(*s.shape)
    packed = torch.empty(s.numel(), dtype=s.dtype, device="cuda")
    packed[((n // 128 * s.shape[1] + g) * 128 + permuted(n % 128)).flatten()] = s.flatten()
    return packed


def rank_place(c, r, rank, down):
    u, v = (r, c) if down else (c, r)
    tile = c // 16 * (rank // 16) + r // 16
    return (((tile * 8 + u % 8) * 4 + v % 8 // 2) * 2 + u % 16 // 8) * 4 + v % 16 // 8 * 2 + v % 2


def pack_rank(m, down):
    """A matrix [c, rank]."""
    c, r = grid(*m.shape)
    packed = torch.empty(m.numel(), dtype=m.dtype, device="cuda")
    packed[rank_place(c, r, m.shape[1], down).flatten()] = m.flatten()
    return packed


def check_golden():
    for n, k, byte, shift in [(0, 0, 0, 0), (0, 1, 0, 4), (0, 8, 16, 0), (0, 32, 4, 0), (1, 0, 64, 0), (8, 0, 8, 0), (16, 0, 512, 0),
                              (0, 64, 4096, 0), (127, 63, 4095, 4), (128, 0, 196608, 0), (3071, 3071, 4718591, 4)]:
        assert nibble_of(n, k, 3072) == byte * 2 + shift // 4, (n, k)
    for n, k, byte, shift in [(0, 1, 2, 0), (0, 8, 0, 4), (0, 16, 1, 0), (0, 32, 16, 0), (1, 0, 32, 0), (4, 0, 6144, 0), (0, 64, 128, 0),
                              (18431, 3071, 28311551, 4)]:
        assert awq_nibble_of(n, k, 3072) == byte * 2 + shift // 4, (n, k)
    for c, r, flat in [(0, 1, 1), (0, 2, 8), (0, 8, 2), (1, 0, 32), (8, 0, 4), (0, 16, 256), (16, 0, 2048), (3071, 127, 393215)]:
        assert rank_place(c, r, 128, False) == flat, (c, r)
    for c, r, flat in [(0, 1, 32), (0, 2, 64), (0, 8, 4), (1, 0, 1), (8, 0, 2), (0, 16, 256), (16, 0, 2048)]:
        assert rank_place(c, r, 128, True) == flat, (c, r)
