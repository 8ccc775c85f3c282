"""Whether the output of a row depends on the rows that happen to share its batch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netwright.checks.fresh import objective_of, sealed, some_rows
from netwright.core.finding import Finding, Table, Verdict
from netwright.core.seed import derive
from netwright.core.spec import PAD
from netwright.data.batch import Inputs
from netwright.model import Subject

_SAME_SHAPE, _OTHER_SHAPE = 1e-6, 1e-4
"""Changes in spreads of the outputs that rounding may cause: batches of one shape are summed alike, others are not."""


@dataclass(frozen=True)
class _Trial:
    """What was done to the rest of the batch, and the largest change of an output, in spreads of the outputs."""

    what: str
    mode: str
    change: float
    allowed: float
    problem: str = ""

    @property
    def leaks(self) -> bool:
        return bool(self.problem) or not self.change <= self.allowed


def rows_independent(subject: Subject, *, budget_seconds: float = 10.0, seed: int = 0, rows: int = 64) -> Finding:
    """Whether each row's output stays as it is when the other rows of the batch are replaced, reversed, or left out.

    Done twice: in evaluation mode, where nothing excuses a change, and in training mode with equal random masks, where batch
    normalisation does.

    Args:
        subject: recipe or model, and data.
        budget_seconds: not needed, it is a few passes.
        seed: of the network and of the rows.
        rows: in a batch.

    Source: Karpathy (2019), "use backprop to chart dependencies"; batch statistics: Ioffe and Szegedy (2015).
    """
    with sealed(seed, "rows-independent"):
        net = copy.deepcopy(subject.model.module) if subject.model else subject.fresh(seed)
        pool = some_rows(subject, 2 * rows, seed, "rows-independent")
        n = len(pool) // 2
        if n < 2:
            trials: list[_Trial] = []
        else:
            call, x = _caller(subject, net, seed), _one_length(subject, pool.x, n)
            spec = subject.model.spec if subject.model else subject.need("data").spec
            exact = not any(
                f.kind == "tree" for f in spec.wholes
            )  # the nodes of all trees of a batch are summed together
            trials = [t for training in (False, True) for t in _trials(call, net, x, n, training=training, exact=exact)]
    return _finding(trials, _batch_norms(net), n, seed)


def _one_length(subject: Subject, x: Inputs, n: int) -> Inputs:
    """The rows with texts and sets cut so that every half of a batch has one as long as the longest.

    Networks leave out what is padding in all rows of a batch. Were the batches that are compared of several lengths, sums would
    be rounded, and random masks drawn, in several ways, which is no fault.
    """
    spec = subject.model.spec if subject.model else subject.need("data").spec
    cut = dict(x)
    groups = (slice(n // 2), slice(n // 2, n), slice(n, n + n // 2), slice(n, 2 * n - n // 2))
    for name in (tensor for text in spec.texts for tensor in text.tensors if tensor in x):
        lengths = (x[name] != PAD).sum(1)
        cut[name] = x[name][:, : max(1, min(int(lengths[g].max()) for g in groups))]
    for name in (f.tensors[-1] for f in spec.wholes if f.kind == "set"):
        cut[name] = x[name].clamp(max=min(int(x[name][g].max()) for g in groups))
    return cut


def _caller(subject: Subject, net: nn.Module, seed: int) -> Callable[[Inputs], Tensor]:
    """Calls the network with the same random masks each time."""
    objective = objective_of(subject)

    @torch.no_grad()
    def call(x: Inputs) -> Tensor:
        torch.manual_seed(derive(seed, "masks"))
        return objective.predict(net, x).double()

    return call


def _trials(
    call: Callable[[Inputs], Tensor], net: nn.Module, x: Inputs, n: int, *, training: bool, exact: bool = True
) -> list[_Trial]:
    """Replace the second half, replace the first half, and (evaluation mode only) reverse the batch, and take rows alone."""
    net.train(training)
    mode, half = "training" if training else "evaluation", n // 2
    first = {k: v[:n] for k, v in x.items()}
    base = call(first)
    spread = max((base - base.mean(0)).abs().max().item(), 1e-3 * base.abs().max().item(), 1e-12)

    def trial(what: str, x: Inputs, keep: slice, order: Callable[[Tensor], Tensor] = lambda t: t) -> _Trial:
        allowed = _SAME_SHAPE if what.endswith("replaced") and exact else _OTHER_SHAPE
        try:
            outputs = order(call(x))
        except (RuntimeError, ValueError, IndexError) as error:
            return _Trial(what, mode, math.inf, allowed, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
        wanted = base[keep]
        got = outputs[keep] if len(outputs) == len(base) else outputs
        if got.numel() != wanted.numel():
            return _Trial(what, mode, math.inf, allowed, f"outputs of shape {tuple(outputs.shape)}")
        change = (got.reshape(wanted.shape) - wanted).abs().max().item() / spread
        return _Trial(what, mode, change, allowed)

    later = {k: torch.cat([v[:half], v[n : 2 * n - half]]) for k, v in x.items()}
    earlier = {k: torch.cat([v[n : n + half], v[half:n]]) for k, v in x.items()}
    trials = [
        trial("later rows replaced", later, slice(0, half)),
        trial("earlier rows replaced", earlier, slice(half, n)),
    ]
    if not training:
        flipped = {k: v.flip(0) for k, v in first.items()}
        trials.append(trial("order reversed", flipped, slice(None), lambda t: t.flip(0)))
        alone = [
            trial("one row alone", {k: v[i : i + 1] for k, v in first.items()}, slice(i, i + 1)) for i in (0, n - 1)
        ]
        trials.append(max(alone, key=lambda t: (bool(t.problem), t.change)))
    return trials


def _batch_norms(net: nn.Module) -> list[str]:
    return [name for name, layer in net.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _finding(trials: list[_Trial], norms: list[str], n: int, seed: int) -> Finding:
    wrong = [t for t in trials if t.leaks and t.mode == "evaluation"]
    training = [t for t in trials if t.leaks and t.mode == "training"]
    verdict: Verdict
    if not trials:
        verdict, title, todo = "info", "there are too few rows to compare", ""
    elif wrong:
        worst = max(wrong, key=lambda t: t.change)
        verdict, title = "fail", f"the output of a row depends on other rows, in evaluation mode: {worst.what}"
        title += f", {worst.problem}" if worst.problem else f", changed by {worst.change:.2g} of the outputs' spread"
        todo = "Look for a mean, norm, softmax or sort over dimension 0, a reshape that mixes rows, batch_first, or squeeze()."
    elif training and norms:
        verdict, todo = "info", ""
        named = ", ".join(norms[:2]) + (", ..." if len(norms) > 2 else "")
        title = f"outputs of {n} rows do not depend on the other rows of their batch; in training they do, by batch norm ({named})"
    elif training:
        verdict = "warn"
        title = "in training mode a row's output depends on the other rows, through something that is not a batch norm"
        todo = "If that is not meant, look for a mean, norm, softmax or sort over dimension 0."
    else:
        verdict, title, todo = "pass", f"outputs of {n} rows do not depend on the other rows of their batch", ""
    rows = tuple(
        (t.mode, t.what, None if t.problem else t.change, t.problem or ("changed" if t.leaks else "same"))
        for t in trials
    )
    return Finding(
        probe="rows-independent",
        family="checks",
        verdict=verdict,
        title=title,
        measured={
            "largest_change_evaluation": max((t.change for t in trials if t.mode == "evaluation"), default=0.0),
            "largest_change_training": max((t.change for t in trials if t.mode == "training"), default=0.0),
            "rows": n,
        },
        expected=f"changes of at most {_SAME_SHAPE:g} of the outputs' spread, {_OTHER_SHAPE:g} where the batch has another order or "
        "size: the rounding of sums",
        why="A prediction must be a function of its own row. Where rows of a batch leak into each other, scores depend on the batch "
        "size and order, and a single row at prediction time gets another answer than the same row in a test.",
        todo=todo,
        tables=(
            Table(
                title="Largest change of an output",
                columns=("mode", "what was done", "change, in spreads of the outputs", "outcome"),
                rows=rows,
            ),
        ),
        reference="Karpathy (2019); Ioffe and Szegedy (2015)",
        seed=seed,
    )
