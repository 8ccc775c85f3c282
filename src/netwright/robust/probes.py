"""The attacks as probes: (Subject, *, budget_seconds, seed, **options) -> Finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.model import Model, Subject
from netwright.robust import attacks
from netwright.robust.entries import ATTACKS
from netwright.robust.study import Plan, study
from netwright.robust.threat import Threat

EPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SWAPS = (1, 2, 3)
JUDGED_EPS, JUDGED_SWAPS = 0.1, 1


def fgsm(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    eps: Sequence[float] = EPS,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, under one signed gradient step on all numbers, against the size of the step.

    Args:
        subject: a model and labelled data; the test rows are attacked.
        budget_seconds: decides how many rows are attacked. seed: of the choice of rows and of the noise.
        eps: sizes of change, in spreads of each column.
        rows: how many test rows; None for at most 2,000 that fit the budget.
        immutable: names of fields that may not change.

    Source: Goodfellow, Shlens and Szegedy (2015).
    """
    threats = _by_eps(subject, eps, immutable)
    sizes = tuple(t.eps for t in threats)
    plan = Plan(ATTACKS["fgsm"], attacks.fgsm, threats, sizes, "spreads", JUDGED_EPS, gradients=1)
    return study(plan, subject, budget_seconds=budget_seconds, seed=seed, rows=rows)


def pgd(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    eps: Sequence[float] = EPS,
    steps: int = 20,
    restarts: int = 2,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, under projected gradient steps on all numbers, against the size of change.

    Args:
        steps: gradient steps of a restart. restarts: the first at the row, others at random points. The rest as for `fgsm`.

    Source: Madry et al. (2018).
    """
    threats, passes = _by_eps(subject, eps, immutable), _count(steps, "steps") * _count(restarts, "restarts")
    sizes, core = tuple(t.eps for t in threats), partial(attacks.pgd, steps=steps, restarts=restarts)
    plan = Plan(ATTACKS["pgd"], core, threats, sizes, "spreads", JUDGED_EPS, gradients=passes, forwards=restarts)
    return study(plan, subject, budget_seconds=budget_seconds, seed=seed, rows=rows)


def category_swap(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    swaps: Sequence[int] = SWAPS,
    max_categories: int = attacks.MAX_CATEGORIES,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, under a greedy search over category swaps, against their number.

    Args:
        swaps: how many categories of a row may change.
        max_categories: of a column, the most frequent ones that are tried. The rest as for `fgsm`.

    Source: Yang et al. (2020).
    """
    model: Model = subject.need("model")
    counts = sorted({_count(k, "swaps") for k in swaps}) or [_count(0, "swaps")]
    threats = [Threat(model.spec, swaps=k, immutable=tuple(immutable)) for k in counts]
    tries, notes = _tries(threats[-1], _count(max_categories, "max_categories"))
    core = partial(attacks.category_swap, max_categories=max_categories)
    forwards, sizes = tries * sum(counts) // len(counts), tuple(map(float, counts))
    plan = Plan(ATTACKS["category-swap"], core, threats, sizes, "swaps", JUDGED_SWAPS, forwards=forwards, notes=notes)
    return study(plan, subject, budget_seconds=budget_seconds, seed=seed, rows=rows)


def table_attack(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    eps: Sequence[float] = EPS,
    swaps: int = 1,
    steps: int = 20,
    restarts: int = 1,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, where categories are swapped first and then all numbers moved, against the size of change.

    Args:
        swaps: how many categories of a row may change at every size. The rest as for `pgd`.

    Source: Yang et al. (2020) and Madry et al. (2018).
    """
    threats = [replace(t, swaps=_count(swaps, "swaps")) for t in _by_eps(subject, eps, immutable)]
    sizes, core = tuple(t.eps for t in threats), partial(attacks.table_attack, steps=steps, restarts=restarts)
    passes, (tries, notes) = _count(steps, "steps") * _count(restarts, "restarts"), _tries(threats[0])
    entry, forwards = ATTACKS["table-attack"], restarts + tries * swaps
    plan = Plan(entry, core, threats, sizes, "spreads", JUDGED_EPS, passes, forwards, notes)
    return study(plan, subject, budget_seconds=budget_seconds, seed=seed, rows=rows)


def _by_eps(subject: Subject, eps: Sequence[float], immutable: Sequence[str]) -> list[Threat]:
    model: Model = subject.need("model")
    if not len(eps) or not all(size > 0 for size in eps):
        raise UsageError(f"eps must hold sizes above 0 in spreads of a column, not {list(eps)!r}; 0 is always measured")
    return [Threat(model.spec, eps=float(size), immutable=tuple(immutable)) for size in sorted(set(eps))]


def _count(value: int, name: str) -> int:
    if value < 1 or value != int(value):
        raise UsageError(f"{name} must be a whole number from 1 on, not {value!r}")
    return int(value)


def _tries(threat: Threat, most: int = attacks.MAX_CATEGORIES) -> tuple[int, tuple[str, ...]]:
    """How many single swaps a row has, and what to say of columns with more categories than are tried."""
    long = [f.name for f, codes in zip(threat.spec.categories, threat.choices, strict=True) if len(codes) > most]
    note = (f"Only the {most} most frequent categories of {', '.join(long)} were tried.",) if long else ()
    return sum(min(len(codes), most) for codes in threat.choices), note
