"""Whether outputs are finite: on all training rows, and at the edges of what each input can be."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import torch

from netwright.checks.fresh import affordable, objective_of, sealed, some_rows
from netwright.core.finding import Finding, Table, Verdict
from netwright.core.spec import (
    PAD,
    UNKNOWN,
    AudioField,
    CategoryField,
    ImageField,
    NumberField,
    SeriesField,
    SetField,
    TextField,
    TreeField,
    VectorField,
    VolumeField,
)
from netwright.data.batch import Block, Inputs
from netwright.model import Subject
from netwright.train.judging import outputs_of

ELEMENTS = 1_500_000
"""Most pixels or tokens of the training rows that are looked at; of tables all rows are."""


def predictions_finite(subject: Subject, *, budget_seconds: float = 10.0, seed: int = 0, rows: int = 32) -> Finding:
    """Whether the outputs are finite on all training rows (some thousands of images or texts), and on rows in which one input
    after the other is at its lowest, its highest, ten spreads beyond, missing, unknown, or empty.

    Args:
        subject: recipe or model, and data.
        budget_seconds: a guard over the inputs, which are taken in their order.
        seed: of the network and of the rows.
        rows: on which the edges are tried.

    Source: Goodfellow, Bengio and Courville (2016), section 4.1, on overflow and underflow.
    """
    deadline = time.monotonic() + budget_seconds
    objective = objective_of(subject)
    with sealed(seed, "predictions-finite"), torch.no_grad():
        net = copy.deepcopy(subject.model.module) if subject.model else subject.fresh(seed)
        block: Block = subject.need("data").block("train")
        n = affordable(subject, len(block), elements=ELEMENTS)
        seen = block if n == len(block) else some_rows(subject, n, seed, "predictions-finite", "all")
        outputs = outputs_of(net, objective, Block(seen.x))
        wrong_rows = int((~outputs.isfinite().flatten(1).all(1)).sum())
        sample = some_rows(subject, rows, seed, "predictions-finite").x
        tried, wrong, late = 0, [], False
        for field, edge, x in _edges(subject, sample, block.x):
            late = time.monotonic() > deadline
            if late:
                break
            tried += 1
            bad = ~outputs_of(net, objective, Block(x)).isfinite().flatten(1).all(1)
            if bad.any():
                wrong.append((field, edge, float(bad.double().mean())))
    verdict: Verdict = "fail" if wrong_rows or wrong else "pass"
    which = f"all {n:,} training rows" if n == len(block) else f"{n:,} of {len(block):,} training rows"
    if wrong_rows:
        title = f"outputs are not finite on {wrong_rows:,} of {n:,} training rows"
    elif wrong:
        title = f"outputs are not finite where {wrong[0][0]} is {wrong[0][1]}" + (
            f", and in {len(wrong) - 1} more cases" if len(wrong) > 1 else ""
        )
    else:
        title = f"outputs are finite on {which} and in {tried} edge cases"
    return Finding(
        probe="predictions-finite",
        family="checks",
        verdict=verdict,
        title=title + (" (out of time before the last of them)" if late else ""),
        measured={
            "rows": n,
            "rows_not_finite": wrong_rows,
            "edge_cases": tried,
            "edge_cases_not_finite": len(wrong),
        },
        expected="finite outputs everywhere",
        why="One output that is not a number spoils the mean loss of its batch, and with it all weights at once; later it is a "
        "prediction that nobody can use.",
        todo="Look for a division by zero, a logarithm, an exponential without a bound, or missing values that are not replaced."
        if wrong_rows or wrong
        else "",
        tables=(Table(title="Edge cases", columns=("input", "value", "share of rows not finite"), rows=tuple(wrong)),)
        if wrong
        else (),
        reference="Goodfellow, Bengio and Courville (2016)",
        seed=seed,
    )


def _edges(subject: Subject, sample: Inputs, everything: Inputs) -> Iterator[tuple[str, str, Inputs]]:
    """Rows with one field at an edge: (field, edge, inputs)."""
    spec = subject.model.spec if subject.model else subject.need("data").spec
    for field in spec.fields:
        if isinstance(field, TextField) and subject.model and subject.model.encoder:
            others = (
                len(next(iter(sample.values()))) - 1
            )  # beside a text that is not empty, or there might be no position
            yield field.name, "empty", subject.model.encode([*[""] * others, "a"])
            continue
        if isinstance(field, TextField):
            for edge, token in (("empty", PAD), ("of unknown words", UNKNOWN)):
                yield field.name, edge, {**sample, **{n: torch.full_like(sample[n], token) for n in field.tensors}}
            continue
        if isinstance(field, SetField | TreeField):
            of_field = _set_edges(field, sample) if isinstance(field, SetField) else _tree_edges(field, sample)
            yield from ((field.name, edge, {**sample, **changed}) for edge, changed in of_field)
            continue
        name, column = spec.locate(field.name)
        for edge, value in _values(field, everything[name]):
            changed = sample[name].clone()
            if column is None:
                changed.fill_(value)
            else:
                changed[:, column] = value
            yield field.name, edge, {**sample, name: changed}


def _set_edges(field: SetField, sample: Inputs) -> Iterator[tuple[str, Inputs]]:
    """Sets of one element, and sets in which one column of all elements is at an edge."""
    length = f"{field.name}:length"
    there = torch.arange(field.n_elements) < sample[length].unsqueeze(1)
    yield "of one element", {length: torch.ones_like(sample[length])}
    columns: list[tuple[str, int, NumberField | CategoryField]] = [
        ("numbers", *pair) for pair in enumerate(field.numbers)
    ]
    columns += [("codes", *pair) for pair in enumerate(field.categories)]
    for tensor, i, column in columns:
        name = f"{field.name}:{tensor}"
        for edge, value in _values(column, sample[name]):
            changed = sample[name].clone()
            changed[:, :, i] = torch.where(there, value, changed[:, :, i])
            yield f"of elements with {column.name} {edge}", {name: changed}


def _tree_edges(field: TreeField, sample: Inputs) -> Iterator[tuple[str, Inputs]]:
    """Trees of unknown labels, trees of one node, and paths without a branch."""
    labels, parents = (sample[name] for name in field.tensors)
    there = labels != PAD
    yield "of unknown labels", {field.tensors[0]: torch.where(there, UNKNOWN, labels).to(labels.dtype)}
    root = torch.arange(labels.shape[1]) == 0
    yield "a single node", {field.tensors[0]: labels * root, field.tensors[1]: torch.full_like(parents, -1)}
    path = torch.arange(-1, labels.shape[1] - 1).expand_as(parents)
    yield "a path", {field.tensors[1]: torch.where(there, path, -1).to(parents.dtype)}


def _values(
    field: NumberField | CategoryField | VectorField | ImageField | SeriesField | AudioField | VolumeField,
    seen: torch.Tensor,
) -> list[tuple[str, float]]:
    if isinstance(field, CategoryField):
        return [("unknown", 0)]
    if isinstance(field, NumberField):
        far = 10 * field.scale
        edges = {"at its lowest": field.low, "at its highest": field.high}
        edges |= {"ten spreads below": field.low - far, "ten spreads above": field.high + far, "missing": float("nan")}
        return list(edges.items())
    low = field.low if field.low is not None else float(seen.min())
    high = field.high if field.high is not None else float(seen.max())
    return [("at its lowest", low), ("at its highest", high)]
