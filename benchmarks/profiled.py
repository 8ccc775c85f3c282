"""Where the time of a training goes: shares of the processor time of some steps, by kind of operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from torch.profiler import ProfilerActivity, profile

KINDS: Mapping[str, Sequence[str]] = {
    "convolutions": ("convolution", "conv"),
    "recurrent layers": ("mkldnn_rnn", "lstm", "gru"),
    "matrix products": ("addmm", "bmm", "mm", "linear", "matmul"),
    "attention": ("attention",),
    "norms": ("norm",),
    "gathering of rows": ("index", "gather", "embedding"),
    "optimiser": ("fused_adam", "_foreach", "fused_sgd"),
    "pooling": ("pool",),
    "copies": ("copy", "clone", "contiguous", "cat", "stack", "zero", "fill"),
}
"""Kind -> parts of the names of its operations; the first kind that fits counts."""
SHOWN = 0.02
"""Kinds with a smaller share are counted as the rest."""


def shares(run: Callable[[], object]) -> str:
    """What a run does, in words: the kinds of operations with their shares of its own time, largest first.

    >>> import torch
    >>> print(shares(lambda: torch.ones(500, 500) @ torch.ones(500, 500)).split(" ")[0])
    matrix
    """
    with profile(activities=[ProfilerActivity.CPU]) as record:
        run()
    spent: Counter[str] = Counter()
    for event in record.key_averages():
        if event.key.startswith(("aten::", "torch_", "_")) or "Backward" in event.key:
            spent[kind_of(event.key)] += event.self_cpu_time_total
    total = sum(spent.values())
    large = [(name, t / total) for name, t in spent.most_common() if name != "rest" and t >= SHOWN * total]
    rest = 1 - sum(share for _, share in large)
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in [*large, ("other operations", rest)])


def kind_of(name: str) -> str:
    """The kind of an operation, "rest" where it is none of them.

    >>> kind_of("aten::addmm"), kind_of("aten::mkldnn_convolution"), kind_of("aten::relu")
    ('matrix products', 'convolutions', 'rest')
    """
    words = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in words for part in parts)), "rest")
