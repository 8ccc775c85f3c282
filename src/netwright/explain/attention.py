"""The scores of networks with attention, laid over what they were given: words, steps, elements, columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from netwright.core.finding import Figure, Finding, Series, Table, Tokens
from netwright.core.spec import InputSpec, SetField, TextField, WholeField
from netwright.data.kinds import kind_of_field
from netwright.data.sequences import SequenceVector, SeriesFront, TokenFront
from netwright.data.set_front import SetFront
from netwright.data.text import Level
from netwright.data.tokens import FeatureFront
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, drawn_rows, readable
from netwright.explain.texts import LEAST, TOP, plain, sheet
from netwright.explain.tokens import laid_over
from netwright.model import Subject

DRAWN = 3
"""Rows of series and sets that are drawn one by one."""
MAX_LABEL = 40
MAX_BARS = 30
_ROWS = 128


@dataclass(frozen=True)
class Looked:
    """Scores of some rows over one thing that they were given.

    Args:
        name: of the column; "columns" for numbers and categories together. front: what gave the vectors.
        field: of the column; None for numbers and categories.
        scores: (N, T), 0 behind the lengths. lengths: (N,).
    """

    name: str
    front: nn.Module
    field: TextField | WholeField | None
    scores: np.ndarray
    lengths: np.ndarray


def attends(net: nn.Module) -> Iterator[SequenceVector]:
    """The parts of a network that can say how much they take from each place."""
    for part in net.modules():
        if isinstance(part, SequenceVector) and hasattr(part.trunk, "scores"):
            yield part


def attention(subject: Subject, *, budget_seconds: float, seed: int, rows: int = 200) -> Finding:
    """How much attention takes from each word, step, element or column of a row, drawn over what it was given.

    The scores of a row are those of the attention that makes one vector of many: of a pooling, of the further vector of "cls", or
    the mean of those of the last block. They sum to 1, and are 0 behind the end. Members of an ensemble are averaged.

    Args:
        rows: right rows, and wrong ones, that are asked, at most; the first of each are drawn.

    Source: Bahdanau, Cho and Bengio (2015); what scores do not say: Jain and Wallace (2019), "Attention is not Explanation".
    """
    model = subject.need("model")
    if finding := not_applicable(model, "attention", seed):
        return finding
    if not list(attends(model.module)):
        title = "not applicable: the network has no attention; take the template transformer or attention-pooling"
        return Finding(probe="attention", family="explain", verdict="info", title=title, seed=seed)
    drawn = drawn_rows(subject, "attention", seed, right=rows, wrong=rows)
    looks = looked_at(model.module, model.spec, drawn)
    figures: list[Figure] = []
    tables: list[Table] = []
    for look in looks:
        if isinstance(look.field, TextField):
            some_figures, some_tables = _over_words(subject, drawn, look, look.field)
        elif look.field is None:
            some_figures, some_tables = _over_columns(look)
        else:
            some_figures, some_tables = _over_places(drawn, look, look.field)
        figures += some_figures
        tables += some_tables
    first = looks[0]
    share, many = float(np.median(first.scores.max(1))), float(np.median(effective(first.scores)))
    off = max(float(np.abs(look.scores.sum(1) - 1).max()) for look in looks)
    return Finding(
        probe="attention",
        family="explain",
        verdict="info",
        title=f"{first.name}: the largest score of a row is {share:.2g}, and scores are spread like even ones over {many:.1f} of "
        f"{np.median(first.lengths):.0f} places (medians of {len(drawn)} rows)",
        measured={
            "rows": len(drawn),
            "median_largest_score": share,
            "median_effective_places": many,
            "largest_distance_of_a_sum_from_1": off,
        },
        why="Scores say where the network took its answer from, not what the answer would be without it: that is what deletion and "
        "permutation ask. Where the two disagree, the vectors had been mixed before they were weighed.",
        tables=tuple(tables),
        figures=tuple(figures),
        seed=seed,
    )


def effective(scores: np.ndarray) -> np.ndarray:
    """The number of places that would share evenly with the same entropy, exp(-sum s log s): (N, T) -> (N,).

    >>> effective(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).round(6).tolist()
    [2.0, 1.0]
    """
    found: np.ndarray = np.exp(-(scores * np.log(np.where(scores > 0, scores, 1))).sum(1))
    return found


@torch.no_grad()
def looked_at(net: nn.Module, spec: InputSpec, drawn: Drawn) -> list[Looked]:
    """The scores of each thing that is read by attention, as the mean over the members that read it."""
    found: dict[str, list[tuple[nn.Module, np.ndarray, np.ndarray]]] = defaultdict(list)
    for part in attends(net.eval()):
        pieces, lengths = [], []
        for k in range(0, len(drawn), _ROWS):
            vectors, n = part.front({name: tensor[k : k + _ROWS] for name, tensor in drawn.batch.x.items()})
            pieces.append(part.trunk.scores(vectors, n).double().numpy())  # type: ignore[operator]
            lengths.append(n.numpy())
        width = max(p.shape[1] for p in pieces)
        padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in pieces]
        found[_key(part.front)].append((part.front, np.concatenate(padded), np.concatenate(lengths)))
    return [
        Looked(
            *_named(same[0][0], spec),
            scores=np.mean([scores for _, scores, _ in same], 0),
            lengths=same[0][2],
        )
        for same in found.values()
    ]


def _key(front: nn.Module) -> str:
    """What a front reads."""
    return str(next((getattr(front, name) for name in ("tensor", "tensors", "length") if hasattr(front, name)), ""))


def _named(front: nn.Module, spec: InputSpec) -> tuple[str, nn.Module, TextField | WholeField | None]:
    """What is read, the front, and the field."""
    if isinstance(front, FeatureFront):
        return "columns", front, None
    for text in spec.texts:
        if isinstance(front, TokenFront) and front.tensor in text.tensors:
            return text.name, front, text
    length = front.length if isinstance(front, SetFront) else front.tensors[1]  # type: ignore[index]
    whole = next(f for f in spec.wholes if length in f.tensors)
    return whole.name, front, whole


def _over_words(subject: Subject, drawn: Drawn, look: Looked, field: TextField) -> tuple[list[Figure], list[Table]]:
    """Texts whose words are coloured by their scores, and the words that have most on average."""
    assert isinstance(look.front, TokenFront)
    level: Level = "words" if look.front.tensor == field.tensors[0] else "chars"
    texts = subject.need("data").texts("test")[field.name]
    shown: dict[int, Tokens] = {}
    seen: dict[str, list[float]] = defaultdict(list)
    for i in range(len(drawn)):
        text, tail = readable(texts[drawn.rows[i]])
        pieces, weights = laid_over(text, {level: look.scores[i, : look.lengths[i]]}, field)
        weights = tuple(weights)
        shown[i] = Tokens(
            pieces=(*pieces, *tail),
            weights=(*weights, *[0.0] * len(tail)),
            caption=drawn.caption(i),
            mark=drawn.mark(i),
        )
        for piece, weight in zip(pieces, weights, strict=True):
            seen[plain(piece)].append(weight)
    ranked = sorted(((np.mean(v), w, len(v)) for w, v in seen.items() if w and len(v) >= LEAST), reverse=True)[:TOP]
    table = Table(
        title=f"{field.name}: words with the largest mean score",
        columns=("word", "mean score", "times"),
        rows=tuple((word, float(mean), n) for mean, word, n in ranked),
    )
    figure = sheet(shown, drawn, f"The stronger the colour, the larger the share of attention ({level}).")
    return [figure], [table] if ranked else []


def _over_columns(look: Looked) -> tuple[list[Figure], list[Table]]:
    """The mean score of each number and category, with the range of the middle eight tenths of the rows."""
    assert isinstance(look.front, FeatureFront)
    order = np.argsort(-look.scores.mean(0), kind="stable")[:MAX_BARS]
    low, high = np.quantile(look.scores, [0.1, 0.9], axis=0)
    names = look.front.names
    series = Series(
        x=tuple(names[k] for k in order),
        y=tuple(look.scores.mean(0)[order].tolist()),
        low=tuple(low[order].tolist()),
        high=tuple(high[order].tolist()),
    )
    caption = f"Means over {len(look.scores)} rows; lines from the 10 % to the 90 % quantile. All columns sum to 1."
    title = "Mean attention on each column"
    figure = Figure(title=title, kind="bar", series=(series,), x_label="column", y_label="score", caption=caption)
    return [figure], []


def _over_places(drawn: Drawn, look: Looked, field: WholeField) -> tuple[list[Figure], list[Table]]:
    """The scores of some rows: over the values of a series, over the elements of a set."""
    some = [*range(min(DRAWN, len(drawn)))]
    if isinstance(look.front, SeriesFront):
        figures = [_over_steps(drawn, look, field, i) for i in some]
    elif isinstance(field, SetField):
        figures = [_over_elements(drawn, look, field, i) for i in some]
    else:
        figures = []
    return [*figures, _map(look, drawn)], []


def _map(look: Looked, drawn: Drawn) -> Figure:
    """Scores of rows below each other."""
    n, width = min(len(drawn), 40), int(look.lengths[:40].max())
    ends = look.lengths[:n].astype(int)
    z = [(*look.scores[i, : ends[i]].tolist(), *[None] * (width - ends[i])) for i in range(n)]
    return Figure(
        title=f"{look.name}: scores of {n} rows",
        kind="heatmap",
        series=(Series(z=tuple(z)),),
        x_label="place",
        y_label="row",
        caption="Every row sums to 1; right rows first, then those wrong ones that the network is most sure of.",
    )


def _over_steps(drawn: Drawn, look: Looked, field: WholeField, i: int) -> Figure:
    """A series, and below it the scores, as high as the series is."""
    n = int(look.lengths[i])
    values = drawn.batch.x[field.tensors[0]][i, :, :n].double().numpy()
    low, reach = float(values.min()), float(np.ptp(values)) or 1.0
    scores = low + reach * look.scores[i, :n] / max(look.scores[i, :n].max(), 1e-12)
    steps = tuple(range(n))
    lines = [
        Series(name=f"channel {c + 1}" if len(values) > 1 else look.name, x=steps, y=tuple(row.tolist()))
        for c, row in enumerate(values[:4])
    ]
    dashed = Series(
        name=f"attention (largest {look.scores[i].max():.2g})", x=steps, y=tuple(scores.tolist()), dashed=True
    )
    return Figure(
        title=f"{look.name}: {drawn.caption(i)}",
        kind="line",
        series=(*lines, dashed),
        x_label="step",
        y_label="value",
        caption="Scores are drawn to the height of the series.",
    )


def _over_elements(drawn: Drawn, look: Looked, field: SetField, i: int) -> Figure:
    """The elements of a set by falling score."""
    arrays = {name: drawn.batch.x[name][i : i + 1].numpy() for name in field.tensors}
    elements = kind_of_field(field).decode(arrays, field).to_list()[0]
    order = np.argsort(-look.scores[i, : len(elements)], kind="stable")[:MAX_BARS]
    series = Series(x=tuple(f"{k + 1}: {_told(elements[k])}" for k in order), y=tuple(look.scores[i][order].tolist()))
    title = f"{look.name}: {drawn.caption(i)}"
    return Figure(title=title, kind="bar", series=(series,), x_label="element", y_label="score")


def _told(element: dict[str, object] | Sequence[object]) -> str:
    """An element in a few words."""
    cells = element.items() if isinstance(element, dict) else enumerate(element)
    text = ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in cells)
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
