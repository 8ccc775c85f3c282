"""What number formats this processor computes by itself."""

from __future__ import annotations

import torch


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself; elsewhere it is imitated, and slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())
