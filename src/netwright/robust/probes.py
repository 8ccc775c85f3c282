"""The attacks as probes: (Subject, *, budget_seconds, seed, **options) -> Finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.model import Model, Subject
from netwright.robust import attacks
from netwright.robust.box import Norm
from netwright.robust.entries import ATTACKS
from netwright.robust.study import Plan, study
from netwright.robust.threat import On, Threat

EPS: dict[tuple[str, Norm], tuple[float, ...]] = {
    ("spreads", "linf"): (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    ("spreads", "l2"): (0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    ("grey levels", "linf"): (1, 2, 4, 8, 16, 32),
    ("grey levels", "l2"): (32, 64, 128, 256, 512, 1024),
    ("steps of 16 bits", "linf"): (1, 4, 16, 64, 256, 1024),
    ("steps of 16 bits", "l2"): (64, 256, 1024, 4096, 16384, 65536),
}
"""Sizes of change by unit and norm."""
JUDGED_EPS: dict[tuple[str, Norm], float] = {
    ("spreads", "linf"): 0.1,
    ("spreads", "l2"): 0.1,
    ("grey levels", "linf"): 8,
    ("grey levels", "l2"): 128,
    ("steps of 16 bits", "linf"): 64,
    ("steps of 16 bits", "l2"): 4096,
}
"""The size that is judged; for pixels what RobustBench (Croce et al., 2021) measures: 8/255, and 0.5 = 128/255; for samples 54 dB
below full scale, which a quiet room hides."""
SWAPS = (1, 2, 3)
JUDGED_SWAPS = 1


def fgsm(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    eps: Sequence[float] | None = None,
    norm: Norm = "linf",
    on: On | None = None,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, under one gradient step on all numbers, or pixels, against the size of the step.

    Args:
        subject: a model and labelled data; the test rows are attacked.
        budget_seconds: decides how many rows are attacked. seed: of the choice of rows and of the noise.
        eps: sizes of change, in spreads of each column, in grey levels of 255, or in steps of 16 bits; None for `EPS`.
        norm: how a change is counted: "linf" by its largest value, "l2" by the Euclidean norm over a row's numbers or an image.
        on: "numbers", "pixels" or "samples"; None for the first of them that there is. The others stay as they are.
        rows: how many test rows; None for at most 2,000 that fit the budget.
        immutable: names of fields that may not change.

    Source: Goodfellow, Shlens and Szegedy (2015); under "l2" Miyato et al. (2016).
    """
    threats = _by_eps(subject, eps, immutable, norm, on)
    return _study(_named("fgsm", norm), attacks.fgsm, threats, subject, budget_seconds, seed, rows, gradients=1)


def pgd(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    eps: Sequence[float] | None = None,
    norm: Norm = "linf",
    on: On | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, under projected gradient steps on all numbers, or pixels, against the size of change.

    Args:
        steps: gradient steps of a restart; None for 20 in a table, else 10. restarts: the first at the row, others at random
            points; None for 2 in a table, else 1. The rest as for `fgsm`.

    Source: Madry et al. (2018).
    """
    threats = _by_eps(subject, eps, immutable, norm, on)
    usual = (20, 2) if subject.need("model").spec.kind in ("table", "vector") else (10, 1)
    steps, restarts = (n if given is None else given for n, given in zip(usual, (steps, restarts), strict=True))
    passes = _count(steps, "steps") * _count(restarts, "restarts")
    core, clock = partial(attacks.pgd, steps=steps, restarts=restarts), (budget_seconds, seed, rows)
    return _study(_named("pgd", norm), core, threats, subject, *clock, gradients=passes, forwards=restarts)


def _named(name: str, norm: Norm) -> str:
    return name if norm == "linf" else f"{name}-{norm}"


def _study(
    name: str,
    core: attacks.Attack,
    threats: list[Threat],
    subject: Subject,
    budget_seconds: float,
    seed: int,
    rows: int | None,
    *,
    gradients: int,
    forwards: int = 0,
    notes: tuple[str, ...] = (),
) -> Finding:
    """A study over rising eps."""
    unit, reference = threats[0].unit, JUDGED_EPS[threats[0].unit, threats[0].norm]
    sizes = tuple(t.eps for t in threats)
    plan = Plan(ATTACKS[name], core, threats, sizes, unit, reference, gradients, forwards, notes)
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
    eps: Sequence[float] | None = None,
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
    threats = [replace(t, swaps=_count(swaps, "swaps")) for t in _by_eps(subject, eps, immutable, "linf", "numbers")]
    core = partial(attacks.table_attack, steps=steps, restarts=restarts)
    gradients, (tries, notes) = _count(steps, "steps") * _count(restarts, "restarts"), _tries(threats[0])
    forwards, clock = restarts + tries * swaps, (budget_seconds, seed, rows)
    return _study("table-attack", core, threats, subject, *clock, gradients=gradients, forwards=forwards, notes=notes)


def _by_eps(
    subject: Subject, eps: Sequence[float] | None, immutable: Sequence[str], norm: Norm, on: On | None
) -> list[Threat]:
    model: Model = subject.need("model")
    threat = Threat(model.spec, immutable=tuple(immutable), norm=norm, on=on)
    sizes = EPS[threat.unit, norm] if eps is None else eps
    if not len(sizes) or not all(size > 0 for size in sizes):
        raise UsageError(f"eps must hold sizes above 0 in {threat.unit}, not {list(sizes)!r}; 0 is always measured")
    return [replace(threat, eps=float(size)) for size in sorted(set(sizes))]


def _count(value: int, name: str) -> int:
    if value < 1 or value != int(value):
        raise UsageError(f"{name} must be a whole number from 1 on, not {value!r}")
    return int(value)


def _tries(threat: Threat, most: int = attacks.MAX_CATEGORIES) -> tuple[int, tuple[str, ...]]:
    """How many single swaps a row has, and what to say of columns with more categories than are tried."""
    long = [f.name for f, codes in zip(threat.spec.categories, threat.choices, strict=True) if len(codes) > most]
    note = (f"Only the {most} most frequent categories of {', '.join(long)} were tried.",) if long else ()
    return sum(min(len(codes), most) for codes in threat.choices), note
