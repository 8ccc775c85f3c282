"""Checks of what images and texts hold: images of one colour, blank texts, texts that are cut, tokens that training does not know."""

from __future__ import annotations

import numpy as np
import polars as pl
from torch import Tensor

from netwright.core.finding import Finding, Table, Verdict
from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, TextField
from netwright.data.cells import counted
from netwright.data.data import PARTS, Data, Part
from netwright.data.shrink import pieces
from netwright.data.text import MIN_COUNT
from netwright.model import Subject

WORTH_A_WARNING = 0.01
"""Share of rows without content from which there is a warning."""
FAINT = 4
"""Grey levels within which an image shows nothing."""
CUT = 0.05
STRANGE_WORDS, STRANGE_CHARS = 0.05, 0.01
"""Shares of unknown tokens beyond those to be expected from which there is a warning."""


def blank_images(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Shares of images that are all black, of one colour, or within 4 of 256 grey levels, by part; and the share
    of pixels that never change over all training images. Warns from 1 % of a part."""
    data: Data = subject.need("data")
    rows: list[tuple[str, int, float, float, float]] = []
    still = []
    for image in data.spec.images:
        of = f" of {image.name!r}" if len(data.spec.images) > 1 else ""
        for part in PARTS:
            spread, top = _extent(data.block(part).x[image.name])
            n = max(len(spread), 1)
            black, one = (spread == 0) & (top <= image.low), spread == 0
            faint = spread <= FAINT * image.scale
            shares = [float(kind.sum() / n) for kind in (black, one, faint)]
            rows.append((part + of, len(spread), shares[0], shares[1], shares[2]))
        still.append(_never_change(data.block("train").x[image.name]))
    worst = max(rows, key=lambda r: r[4])
    n_one, n_faint = round(sum(r[1] * r[3] for r in rows)), round(sum(r[1] * r[4] for r in rows))
    verdict: Verdict = "warn" if worst[4] >= WORTH_A_WARNING else "info" if n_faint else "pass"
    return Finding(
        probe="blank-images",
        family="checks",
        verdict=verdict,
        title=f"{counted(n_one, 'image')} of one colour, {n_faint - n_one:,} nearly so; up to {worst[4]:.1%} of a part ({worst[0]})"
        if n_faint
        else "no image is blank",
        measured={
            "one_colour": n_one,
            "nearly_one_colour": n_faint - n_one,
            "all_black_share": round(max(r[2] for r in rows), 6),
            "largest_share": round(worst[4], 6),
            "pixels_that_never_change_share": round(float(np.mean(still)), 6),
        },
        expected=f"less than {WORTH_A_WARNING:.0%} of each part",
        why="A blank image shows nothing to learn from: it is a failed exposure, a broken file, or a mask read as a picture, and its "
        "label can only be learned by heart.",
        todo="Look at these images and leave out what is broken." if verdict == "warn" else "",
        tables=(
            Table(
                title="Images without content",
                columns=("part", "images", "all black", "of one colour", "within 4 grey levels"),
                rows=tuple(rows),
            ),
        ),
    )


def _extent(pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Range within each image (N,), the largest of its channels, and its highest value (N,)."""
    spread, top = np.empty(len(pixels)), np.empty(len(pixels))
    for piece in pieces(len(pixels), pixels[:1].numel()):
        low, high = (f(pixels[piece].flatten(2), dim=2) for f in (Tensor.amin, Tensor.amax))
        spread[piece] = (high.double() - low.double()).amax(1).numpy()
        top[piece] = high.amax(1).double().numpy()
    return spread, top


def _never_change(pixels: Tensor) -> float:
    """Share of the pixels that have one value in all images."""
    if not len(pixels):
        return 0.0
    low, high = pixels[0].clone(), pixels[0].clone()
    for piece in pieces(len(pixels), pixels[:1].numel()):
        low, high = low.minimum(pixels[piece].amin(0)), high.maximum(pixels[piece].amax(0))
    return float((low == high).double().mean())


def blank_texts(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Shares of texts that are missing or blank, and of those without any letter or digit, by part. Warns from 1 % of a part."""
    data: Data = subject.need("data")
    rows: list[tuple[str, int, float, float]] = []
    for part in PARTS:
        for name, texts in data.texts(part).items():
            of = f" of {name!r}" if len(data.spec.texts) > 1 else ""
            blank = sum(not text.strip() for text in texts)
            silent = sum(not any(c.isalnum() for c in text) for text in texts)
            n = max(len(texts), 1)
            rows.append((part + of, len(texts), blank / n, silent / n))
    worst = max(rows, key=lambda r: r[3])
    n_blank, n_silent = round(sum(r[1] * r[2] for r in rows)), round(sum(r[1] * r[3] for r in rows))
    verdict: Verdict = "warn" if worst[3] >= WORTH_A_WARNING else "info" if n_silent else "pass"
    return Finding(
        probe="blank-texts",
        family="checks",
        verdict=verdict,
        title=f"{counted(n_blank, 'text')} blank, {n_silent - n_blank:,} without a letter or digit; up to {worst[3]:.1%} of a part "
        f"({worst[0]})"
        if n_silent
        else "no text is blank",
        measured={"blank": n_blank, "without_letters": n_silent - n_blank, "largest_share": round(worst[3], 6)},
        expected=f"less than {WORTH_A_WARNING:.0%} of each part",
        why="A blank text says nothing: the network can only answer with what is most frequent among such rows.",
        todo="Find out why these texts are missing, and leave those rows out or fill them in."
        if verdict == "warn"
        else "",
        tables=(
            Table(
                title="Texts without content",
                columns=("part", "texts", "blank", "without a letter or digit"),
                rows=tuple(rows),
            ),
        ),
    )


def truncated_texts(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Shares of texts that have more words, or more characters, than the network is given, by part. Warns from 5 % of a part."""
    data: Data = subject.need("data")
    rows: list[tuple[str, int, int, float, int, float]] = []
    for field in data.spec.texts:
        of = f" of {field.name!r}" if len(data.spec.texts) > 1 else ""
        for part in PARTS:
            cells = pl.Series(data.texts(part)[field.name], dtype=pl.String)
            words = cells.str.count_matches(r"\w+|[^\w\s]+").to_numpy()
            chars = cells.str.normalize("NFC").str.len_chars().to_numpy()
            cut = [
                float((n > most).mean()) if len(cells) else 0.0
                for n, most in ((words, field.n_words), (chars, field.n_chars))
            ]
            rows.append((part + of, len(cells), field.n_words, cut[0], field.n_chars, cut[1]))
    worst = max(rows, key=lambda r: max(r[3], r[5]))
    share = max(worst[3], worst[5])
    what = f"{worst[2]:,} words" if worst[3] >= worst[5] else f"{worst[4]:,} characters"
    return Finding(
        probe="truncated-texts",
        family="checks",
        verdict="warn" if share >= CUT else "info" if share else "pass",
        title=f"up to {share:.1%} of the texts ({worst[0]}) are longer than the {what} that are kept of a text"
        if share
        else "no text is longer than what is kept of it",
        measured={
            "largest_share_cut_words": round(max(r[3] for r in rows), 6),
            "largest_share_cut_chars": round(max(r[5] for r in rows), 6),
        },
        expected=f"less than {CUT:.0%} of each part",
        why="What stands behind the limit is not seen by the network, in training and in use alike.",
        todo="Put what matters first, or split long texts into several rows." if share >= CUT else "",
        tables=(
            Table(
                title="Texts that are cut",
                columns=("part", "texts", "words kept", "share with more", "characters kept", "share with more "),
                rows=tuple(rows),
            ),
        ),
    )


def unknown_tokens(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Shares of words and of characters of validation and test texts that are not in the vocabulary, against those to be expected:
    how many tokens of training rows would be unknown if their own row had not been there.

    Warns where 5 % of the words, or 1 % of the characters, are unknown beyond that.
    """
    data: Data = subject.need("data")
    rows: list[tuple[str, str, float, float, bool]] = []
    for field in data.spec.texts:
        for tensor, level, allowed in zip(
            field.tensors, ("words", "characters"), (STRANGE_WORDS, STRANGE_CHARS), strict=True
        ):
            if tensor in data.block("train").x:
                expected = _expected_unknown(data.block("train").x[tensor].numpy(), field)
                for part in PARTS[1:]:
                    share = _unknown(data, part, tensor)
                    rows.append((f"{level} of {field.name!r}", part, share, expected, share - expected >= allowed))
    strange = sorted((r for r in rows if r[4]), key=lambda r: r[3] - r[2])
    said = strange or sorted((r for r in rows if r[1] == "test"), key=lambda r: r[3] - r[2])
    return Finding(
        probe="unknown-tokens",
        family="checks",
        verdict="warn" if strange else "pass" if rows else "info",
        title=f"{said[0][2]:.1%} of the {said[0][0]} in {'test' if said[0][1] == 'test' else 'validation'} rows are not in the "
        f"vocabulary; {said[0][3]:.1%} were to be expected"
        if said
        else "the tokens are those of the module's own tokeniser, and nothing is known of its vocabulary",
        measured={f"{part} {what}": round(share, 6) for what, part, share, _, _ in rows},
        expected=f"at most {STRANGE_WORDS:.0%} of the words and {STRANGE_CHARS:.0%} of the characters beyond what is to be expected",
        why="Of a word that training has not seen the network knows nothing but that. Many of them mean another topic, another "
        "language or another way of writing, for which no score here holds.",
        todo="Look at texts of both parts for how they differ; train on texts like those that are to be predicted."
        if strange
        else "",
        tables=(
            Table(
                title="Unknown tokens",
                columns=("what", "part", "share unknown", "expected", "many"),
                rows=tuple(rows),
            ),
        )
        if rows
        else (),
    )


def _unknown(data: Data, part: Part, tensor: str) -> float:
    ids = data.block(part).x[tensor].numpy()
    there = int((ids != PAD).sum())
    return float((ids == UNKNOWN).sum() / there) if there else 0.0


def _expected_unknown(ids: np.ndarray, field: TextField) -> float:
    """Share of tokens that would be unknown without their own row: those that all other rows have too rarely for the vocabulary.

    It is the leave-one-out form of the estimate of unseen species. Source: Good (1953).
    """
    there = ids != PAD
    if not there.any():
        return 0.0
    row = np.nonzero(there)[0]
    token = ids[there].astype(np.int64)
    known = token >= FIRST_ID
    counts = np.bincount(token)
    _, inverse, own = np.unique(row * (int(token.max()) + 1) + token, return_inverse=True, return_counts=True)
    elsewhere = counts[token] - own[inverse]
    return float((~known | (elsewhere < MIN_COUNT)).mean())
