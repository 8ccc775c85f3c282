"""Integrated gradients on the embeddings of tokens, laid over the text as it was written."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.finding import Finding, Tokens
from netwright.core.spec import TextField
from netwright.data.fronts import TextVector
from netwright.data.sequences import TokenFront
from netwright.data.text import Level, characters_read, tokenizer
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import (
    Drawn,
    answer_words,
    answers_of,
    both_ends,
    drawn_rows,
    in_time,
    readable,
    repeated,
    text_field,
)
from netwright.explain.texts import pieces_of, sheet
from netwright.model import Model, Subject
from netwright.nn.text import NgramBag

LEVELS: tuple[Level, Level] = ("words", "chars")


def token_gradients(
    subject: Subject, *, budget_seconds: float, seed: int, column: str | None = None, steps: int = 32, rows: int = 12
) -> Finding:
    r"""How much of the answer each token is worth, by integrated gradients on its embedding, from embeddings of zero:
    IG_t = e_t . \int_0^1 d answer(a e) / d e_t da.

    The worth of a hashed n-gram is shared among its tokens, and that of every token laid over its place in the text, words and
    characters together. All worths add up to answer(e) - answer(0); by how much they miss it is reported.

    Args:
        budget_seconds: decides how many texts are asked.
        column: the text column; None for the first.
        steps: of the sum. rows: right texts, and wrong ones, at most.

    Source: Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks".
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "token-gradients", seed):
        return finding
    field = text_field(model.spec, column)
    net = copy.deepcopy(model.module).eval()
    if model.encoder is not None or not list(embeddings(net, field)):
        why = (
            "the tokeniser is a user's own"
            if model.encoder is not None
            else f"nothing embeds the tokens of {field.name!r}"
        )
        title = f"not applicable: {why}; ask what happens without a word: --only deletion"
        return Finding(probe="token-gradients", family="explain", verdict="info", title=title, seed=seed)
    drawn = drawn_rows(subject, "token-gradients", seed, right=rows, wrong=rows)
    texts = subject.need("data").texts("test")[field.name]
    shown: dict[int, Tokens] = {}
    misses: list[float] = []
    sums: list[float] = []
    for i in both_ends(len(drawn)):
        if shown and time.monotonic() - begin > budget_seconds:
            break
        worths, miss = worths_of(model, net, field, drawn, i, steps)
        text, tail = readable(texts[drawn.rows[i]])
        pieces, weights = laid_over(text, worths, field)
        shown[i] = Tokens(
            pieces=(*pieces, *tail),
            weights=(*weights, *[0.0] * len(tail)),
            caption=drawn.caption(i),
            mark=drawn.mark(i),
        )
        sums.append(abs(sum(float(worth.sum()) for worth in worths.values())))
        misses.append(miss)
    missed, change = float(np.median(misses)), float(np.median(sums))
    words = answer_words(model.target)
    return Finding(
        probe="token-gradients",
        family="explain",
        verdict="info",
        title=f"the tokens of a text add up to {change:.2g} of {words}, {missed:.1g} off what they should "
        f"(medians of {len(shown)} texts)" + in_time(len(shown), len(drawn), "texts"),
        measured={"texts": len(shown), "steps": steps, "median_sum": change, "completeness_error": missed},
        why="The worths of all tokens must add up to how far the answer is from that to a text of vectors of zero; where they miss "
        "it, take more steps. Where a worth disagrees with what happens when the word is left out, words work together.",
        figures=(sheet(shown, drawn, f"Orange raises {words}, blue lowers it."),),
        seed=seed,
    )


Table = tuple[nn.Embedding, Level, int]
"""An embedding, whether it is one of words or of characters, and the number of tokens of its first n-grams."""


def embeddings(net: nn.Module, field: TextField) -> Iterator[Table]:
    """The embeddings of a text column's tokens and n-grams of tokens."""
    for part in net.modules():
        if not isinstance(part, TextVector | TokenFront) or part.tensor not in field.tensors:
            continue
        level = LEVELS[field.tensors.index(part.tensor)]
        for owner in part.modules():
            least = owner.least if isinstance(owner, NgramBag) else 1
            yield from ((m, level, least) for m in owner.children() if isinstance(m, nn.Embedding))


class _Scaled:
    """Multiplies what some embeddings give by a share a row, and keeps what they gave and the leaf that stands in for it."""

    def __init__(self, net: nn.Module, field: TextField, shares: Tensor) -> None:
        self.shares, self.kept = shares, list[tuple[Level, int, Tensor, Tensor]]()
        self.places = {table: (level, least) for table, level, least in embeddings(net, field)}
        self.handles = [table.register_forward_hook(self) for table in self.places]

    def __call__(self, layer: nn.Embedding, given: tuple[Tensor, ...], vectors: Tensor) -> Tensor:
        """Stands in for the vectors of one embedding."""
        shares = self.shares.view(-1, *[1] * (vectors.dim() - 1))
        scaled = (shares * vectors.detach()).requires_grad_(True)
        self.kept.append((*self.places[layer], vectors.detach(), scaled))
        return scaled


def worths_of(
    model: Model, net: nn.Module, field: TextField, drawn: Drawn, i: int, steps: int
) -> tuple[dict[Level, np.ndarray], float]:
    """The worth of each token of one text by level, and by how much all of them miss the change of the answer."""
    shares = torch.cat([(torch.arange(steps) + 0.5) / steps, torch.tensor([0.0, 1.0])])
    x = repeated(drawn.batch, torch.full((len(shares),), i))
    hooks = _Scaled(net, field, shares)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            answers = answers_of(model, net, x, torch.full((len(shares),), int(drawn.chosen[i])))
            leaves = [leaf for *_, leaf in hooks.kept]
            found = torch.autograd.grad(answers[:steps].sum(), leaves, allow_unused=True)
    finally:
        for handle in hooks.handles:
            handle.remove()
    worths: dict[Level, np.ndarray] = {}
    total = 0.0
    for (level, least, vectors, _), gradient in zip(hooks.kept, found, strict=True):
        worth = torch.zeros(vectors.shape[1]) if gradient is None else (gradient[:steps].mean(0) * vectors[0]).sum(-1)
        total += float(worth.sum())
        length = int((x[field.tensors[LEVELS.index(level)]][0] != 0).sum())
        tokens = shared(worth.double().numpy(), length, least)
        worths[level] = worths.get(level, np.zeros(length)) + tokens
    return worths, abs(total - float((answers[-1] - answers[-2]).detach()))


def shared(worth: np.ndarray, length: int, least: int = 1) -> np.ndarray:
    """Worths (length,) of tokens from those of n-grams: runs of equal length, run k (from 0) of grams of k + `least` tokens.

    >>> shared(np.array([1.0, 0.0, 4.0, 0.0]), 2).tolist()
    [3.0, 2.0]
    """
    width = max(length, 1)
    table, tokens = worth[: len(worth) // width * width].reshape(-1, width), np.zeros(width)
    for n, run in enumerate(table, least):
        for shift in range(min(n, width)):
            tokens[shift:] += run[: width - shift] / n
    return tokens[:length]


def laid_over(
    text: str, worths: dict[Level, np.ndarray], field: TextField
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The words of a text with the worths of all tokens that stand on them."""
    places = np.zeros(len(text) + 1)
    for level, worth in worths.items():
        offsets = tokenizer(field, level).encode(text[: characters_read(field, level)]).offsets
        for value, (start, end) in zip(worth, offsets, strict=False):
            places[start:end] += value / max(end - start, 1)
    pieces, at, weights = pieces_of(text), 0, []
    for piece in pieces:
        weights.append(float(places[at : at + len(piece)].sum()))
        at += len(piece)
    return tuple(pieces), tuple(weights)
