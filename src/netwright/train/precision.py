"""Number formats of a training, and which of them this processor computes by itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "bfloat16"]


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself; elsewhere it is imitated, and slower than float32.

    >>> native_bfloat16() in (True, False)
    True
    """
    return bool(torch.cpu._is_avx512_bf16_supported())


def computing(precision: Precision, device: str = "cpu") -> AbstractContextManager[object]:
    """Within it convolutions and matrix products are computed in `precision` on this type of device; weights and gradients stay in
    float32.

    Source: Kalamkar et al. (2019), "A Study of BFLOAT16 for Deep Learning Training".

    >>> with computing("bfloat16"):
    ...     torch.nn.Linear(2, 3)(torch.zeros(1, 2)).dtype
    torch.bfloat16
    """
    return torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def widened(outputs: Tensor) -> Tensor:
    """Outputs in half precision as float32, so that their price is exact; others as they are.

    >>> widened(torch.zeros(1, dtype=torch.bfloat16)).dtype, widened(torch.zeros(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
