"""What a CPU has for half precision; torch knows, and keeps the questions private."""

from functools import cache

import torch


@cache
def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); others would only emulate it."""
    try:
        return bool(torch.cpu._is_avx512_bf16_supported()) or has_amx()
    except AttributeError:  # another torch
        return False


@cache
def has_amx() -> bool:
    """Whether it does so in tiles, for which torch's fused attention in bfloat16 is made."""
    try:
        return bool(torch.cpu._is_amx_tile_supported())
    except AttributeError:  # another torch
        return False
