"""Networks on characters and on words beside n-grams, on the same rows of four sets of texts: accuracy, seconds, and who wins."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from benchmarks.data import SPLIT, data_file, with_split
from benchmarks.results import Result, Row
from netwright.baselines.task import Method, Rows, Task
from netwright.baselines.text import char_tfidf, word_tfidf
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.model import fit
from netwright.recipes.charcnn import word_cnn
from netwright.recipes.recipe import Recipe
from netwright.train.settings import Training

SETS: Mapping[str, tuple[str, str, str]] = {
    "sst2": ("sst2", "text", "label"),
    "mr": ("mr_rt_polarity", "text", "label"),
    "sms": ("sms_spam", "text", "label"),
    "names": ("names_nationality", "name", "language"),
}
"""Name -> file, column of texts, column of labels."""
CLASSIC: Mapping[str, Callable[[Task], Method]] = {"words": word_tfidf, "characters": char_tfidf}
VALID = 0.1


@dataclass(frozen=True)
class Score:
    """Accuracy on the test rows, how many these are, and the seconds that fitting took."""

    accuracy: float
    n: int
    seconds: float

    def __str__(self) -> str:
        half = 1.96 * (self.accuracy * (1 - self.accuracy) / self.n) ** 0.5
        return f"{self.accuracy:.3f} ± {half:.3f}, {self.seconds:.0f} s"


def read(name: str, most: int | None, lemmas: str = "") -> Data:
    """A set with its own split, or 70 % train, 10 % validate and 20 % test; of more rows than `most` so many are drawn."""
    file, text, label = SETS[name]
    content = gzip.decompress(data_file(f"text/{file}.tsv.gz").read_bytes())
    frame = pl.read_csv(io.BytesIO(content), separator="\t", quote_char=None, infer_schema=False)
    if most is not None and most < len(frame):
        frame = frame[np.sort(numpy_generator(0, "rows", name).permutation(len(frame))[:most])]
    if SPLIT not in frame.columns:
        frame = with_split(frame)
    parts = frame[SPLIT].to_numpy()
    train, valid = np.flatnonzero(parts == "train"), np.flatnonzero((parts != "train") & (parts != "test"))
    if not len(valid):
        order = numpy_generator(0, "valid", name).permutation(train)
        valid, train = np.sort(order[: round(VALID * len(frame))]), np.sort(order[round(VALID * len(frame)) :])
    split = {"train": train, "valid": valid, "test": np.flatnonzero(parts == "test")}
    frame = frame.select(pl.col(text).alias("text"), pl.col(label).alias("label"))
    kept = frame["label"].is_in(frame["label"][train].unique().to_list()).to_numpy()
    split = {part: rows[kept[rows]] for part, rows in split.items()}
    some = frame[split["train"]]
    task = "binary" if some["label"].n_unique() == 2 else "classes"
    spec = fit_inputs(some, {"text": "text"}, lemmas=lemmas)
    return Data(frame, spec, fit_target(some["label"], task), split)  # type: ignore[arg-type]


def network(recipe: Recipe, data: Data, seed: int = 0) -> Score:
    """A network: the epoch is chosen by accuracy on validation rows."""
    began = time.monotonic()
    model, _ = fit(recipe, data, seed=seed, metric="accuracy")
    seconds, test = time.monotonic() - began, data.block("test")
    assert test.y is not None
    return Score(float((model.predict_encoded(test.x).argmax(1) == test.y.numpy()).mean()), len(test.y), seconds)


def ngrams(data: Data) -> tuple[Score, str]:
    """TF-IDF of words or of characters and a linear model: the better one on validation rows, and which it is."""

    def rows(part: str) -> Rows:
        n = len(data.split[part])  # type: ignore[index]
        y = data.block(part).y  # type: ignore[arg-type]
        assert y is not None
        return Rows(np.zeros((n, 0)), y.numpy(), texts={"text": data.frame["text"][data.split[part]].to_list()})  # type: ignore[index]

    began = time.monotonic()
    train, valid, test = rows("train"), rows("valid"), rows("test")
    task = Task(train, valid, n_classes=len(data.target.classes), spec=data.spec)
    found = {level: method(task) for level, method in CLASSIC.items()}
    right = {
        level: [float((m.pipeline.predict(m.features(r)) == r.y).mean()) for r in (valid, test)]
        for level, m in found.items()
    }
    level = max(right, key=lambda name: right[name][0])
    return Score(right[level][1], len(test), time.monotonic() - began), level


def narrow(width: int = 64, hidden: int = 256) -> Recipe:
    """The network on characters at a size that a processor trains in minutes: as long as the texts, 64 features."""
    training = Training(epochs=24, batch_size=64, learning_rate=1e-3, weight_decay=0.02, patience=6)
    options = {"width": width, "hidden": hidden, "dropout": 0.5, "norm": True}
    return Recipe(name="narrow", template="char-cnn", options=options, loss="cross-entropy", training=training)


def char_cnn(most: int | None = None, sets: tuple[str, ...] = tuple(SETS)) -> Result:
    """Characters, words, base forms and n-grams on each set.

    Args:
        most: rows of a set at most; None for all. sets: which.
    """
    out: list[Row] = []
    for name in sets:
        data = read(name, most)
        scores = {"char-cnn (narrow)": network(narrow(), data), "word-cnn": network(word_cnn(), data)}
        if name != "names":
            scores["word-cnn on base forms"] = network(word_cnn(), read(name, most, lemmas="en"))
        classic, level = ngrams(data)
        scores[f"n-grams of {level}, linear"] = classic
        winner = max(scores, key=lambda way: scores[way].accuracy)
        sizes = ", ".join(f"{len(data.split[part]):,} {part}" for part in ("train", "valid", "test"))
        out += [Row(f"{name} ({sizes}): {way}", str(score)) for way, score in scores.items()]
        out.append(Row(f"{name}: wins", winner))
    return Result(
        "char_cnn",
        "Characters, words and n-grams",
        out,
        "Accuracy on test rows with 95 % intervals by the normal approximation, and seconds of fitting; one seed, "
        f"{torch.get_num_threads()} thread(s)"
        + ("" if most is None else f"; at most {most:,} rows of a set")
        + ". The network "
        f"on characters has {narrow().options['width']} features where the small one as published has 256, is as long as the texts, has "
        "batch norm, and is trained with AdamW. N-grams: TF-IDF of words or of characters, whichever is better on validation rows.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {"char_cnn": char_cnn}
