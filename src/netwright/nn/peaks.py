"""Norm, rectifier and maximum of windows, in an order that costs less and gives the same: the maximum first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from netwright.nn.masks import is_watched

_aten = torch.ops.aten


def normed_peaks(x: Tensor, norm: nn.BatchNorm2d, pool: nn.MaxPool2d) -> Tensor:
    """max_window(relu(norm(x))) as relu(norm(max_window(x))), where norm is by the statistics of all of x: the same, with its gradients.

    A batch norm a x + b with a > 0, and the rectifier, do not change which value of a window is the largest. So statistics and the
    maximum are all that has to be taken of x; the rest is done on what is left. The running statistics of `norm` move on.

    Shapes: (N, C, H, W) -> (N, C, H', W'), as `pool` gives.

    Args:
        x: float. norm: in training, with weights that are all above 0 and running statistics. pool: any.

    Source: Ioffe and Szegedy (2015) for the norm and its gradient; Jia et al. (2014), "Caffe", for pooling before the rectifier.

    >>> norm, pool, x = nn.BatchNorm2d(3), nn.MaxPool2d(2), torch.randn(4, 3, 6, 6)
    >>> bool(torch.allclose(normed_peaks(x, norm, pool), pool(norm(x).relu()), atol=1e-6))
    True
    """
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    peaks: Tensor = _NormedPeaks.apply(x, norm.weight, norm.bias, norm, pool)  # type: ignore[no-untyped-call]
    return peaks


class _NormedPeaks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, pool: nn.MaxPool2d) -> Tensor:
        mean, variance = torch.batch_norm_update_stats(x, norm.running_mean, norm.running_var, norm.momentum or 0.0)
        spread = (variance + norm.eps).rsqrt()
        peaks, places = _aten.max_pool2d_with_indices(x, *_windows(pool))
        scale = weight * spread
        y = torch.addcmul(_maps(bias - mean * scale), peaks, _maps(scale)).clamp_min_(0)
        ctx.save_for_backward(x, weight, bias, mean, spread, peaks, places, y)
        ctx.norm, ctx.pool = norm, pool
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, spread, peaks, places, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted: by torch's own operations
            again = torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=ctx.norm.eps)
            inputs = [t for t in (x, weight, bias) if t.requires_grad]
            found = iter(torch.autograd.grad(ctx.pool(again.relu()), inputs, gradient, create_graph=True))
            return (*(next(found) if t.requires_grad else None for t in (x, weight, bias)), None, None)
        above = _aten.threshold_backward(gradient, y, 0)
        of_bias = above.sum((0, 2, 3))
        of_weight = (above * (peaks - _maps(mean))).sum((0, 2, 3)) * spread
        if not ctx.needs_input_grad[0]:
            return None, of_weight, of_bias, None, None
        scale, n = weight * spread, x.numel() // x.shape[1]
        slope = -scale * spread * of_weight / n
        of_x = _aten.max_pool2d_with_indices_backward(above * _maps(scale), x, *_windows(ctx.pool), places)
        of_x.addcmul_(x, _maps(slope)).sub_(_maps(scale * of_bias / n + slope * mean))
        return of_x, of_weight, of_bias, None, None


def _maps(of_channels: Tensor) -> Tensor:
    return of_channels.view(-1, 1, 1)


def _windows(pool: nn.MaxPool2d) -> tuple[list[int], list[int], list[int], list[int], bool]:
    """Size, stride, padding, dilation and rounding of the windows."""
    size, stride, padding, dilation = (
        [value] * 2 if isinstance(value, int) else list(value)
        for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    return size, stride, padding, dilation, pool.ceil_mode


_FRESH = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Linear)
"""Layers whose outputs are new tensors, which nobody else holds."""


class _Reordered(nn.Sequential):
    """A sequence in which the maximum of windows is taken before what stands before it, where that gives the same.

    Its copies, and what is pickled of it, are sequences as they were.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        return nn.Sequential, (), self.__dict__

    def forward(self, input: Tensor) -> Tensor:
        """As the sequence itself."""
        layers, x, k = tuple(self), input, 0
        while k < len(layers):
            some: Sequence[Any] = layers[k : k + _together(layers, k)]
            first, pool = some[0], some[-1]
            if len(some) == 3 and not _stretches(first, x):
                some = some[:1]
            if len(some) == 3:
                x = normed_peaks(x, first, pool) if first.training else first(pool(x)).relu()
            else:
                x = pool(x).relu() if len(some) == 2 else first(x)
            k += len(some)
        return x


def _together(layers: Sequence[nn.Module], k: int) -> int:
    """How many layers from number k on are norm, rectifier and maximum, or the last two: 3, 2 or 1. Watched ones stay apart, and a
    rectifier that would change what others may hold."""
    for kinds in ((nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d), (nn.ReLU, nn.MaxPool2d)):
        some = layers[k : k + len(kinds)]
        if [type(layer) for layer in some] != list(kinds) or some[-1].return_indices or any(map(is_watched, some)):
            continue
        if len(kinds) == 3 or not some[0].inplace or (k and isinstance(layers[k - 1], _FRESH)):
            return len(kinds)
    return 1


def _stretches(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether the norm keeps the order of the values of each map, and is one that `normed_peaks` knows."""
    return (
        norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and x.device.type == "cpu"
        and x.dim() == 4
        and x.numel() > x.shape[1]
        and x.dtype == norm.weight.dtype
        and bool((norm.weight > 0).all())
    )


@contextmanager
def peaks_first(net: nn.Module) -> Iterator[None]:
    """Within it sequences of the network take the maximum of windows before norm and rectifier; afterwards they are what they were.

    What they give, and their gradients, are the same up to rounding.
    """
    changed = [
        part
        for part in net.modules()
        if type(part) is nn.Sequential and any(_together(tuple(part), k) > 1 for k in range(len(part)))
    ]
    for part in changed:
        part.__class__ = _Reordered
    try:
        yield
    finally:
        for part in changed:
            part.__class__ = nn.Sequential
