"""Convolutions over the characters of a text: letters as one-hot vectors, six convolutions, two hidden layers, and what they cost.

Both sizes of the network as published are taken apart layer by layer; a narrow one learns from which of three made-up languages a
surname is, with the classic method, n-grams of characters, beside it. With NETWRIGHT_DATA set the full size takes real surnames.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from netwright.baselines.task import Rows
from netwright.baselines.text import fit_tfidf
from netwright.core.finding import Cell, Figure, Finding, Link, Node, Series, Table
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, TextField
from netwright.data.text import encode_text
from netwright.estimators.classifier import Classifier
from netwright.exhibits.program import main
from netwright.exhibits.real import real_file
from netwright.nn.charcnn import ALPHABET, CharConvs, layer_shapes
from netwright.recipes.charcnn import char_cnn, char_cnn_large, char_cnn_small

ENDINGS = {
    "north": ("sen", "berg", "strom", "dal"),
    "south": ("ini", "elli", "otti", "aro"),
    "east": ("ov", "ska", "enko", "ic"),
}
BEGINNINGS = ("mar", "pet", "lun", "kar", "ros", "vil", "bor", "tan", "gal", "fer", "hol", "dem", "sal", "nor", "cas")
NAMES = "text/names_nationality.tsv.gz"


def surnames(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Made-up surnames of three languages; one in ten has an ending of another."""
    rng = numpy_generator(seed, "surnames")
    texts, labels = [], []
    for _ in range(n):
        label = str(rng.choice(list(ENDINGS)))
        spoken = label if rng.random() < 0.9 else str(rng.choice(list(ENDINGS)))
        middle = "".join(rng.choice(BEGINNINGS, int(rng.integers(1, 3))))
        texts.append((middle + str(rng.choice(ENDINGS[spoken]))).capitalize())
        labels.append(label)
    return texts, np.array(labels)


def real_surnames(place: Path, n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Surnames of 18 languages, drawn at random."""
    frame = pl.read_csv(place, separator="\t", quote_char=None, infer_schema=False)
    rows = frame[numpy_generator(seed, "rows").permutation(len(frame))[:n]]
    return rows["name"].to_list(), rows["language"].to_numpy()


def layers(name: str) -> tuple[Table, int, list[tuple[str, tuple[int, ...], int]]]:
    """What each layer of the published network gives and costs; nothing is computed."""
    recipe = char_cnn_small() if name == "char-cnn-small" else char_cnn_large()
    field = TextField(words=("a",), chars=ALPHABET.replace("-", "", 1), n_words=1, n_chars=1014)
    target = TargetSpec(name="y", task="classes", classes=tuple("abcd"))
    with torch.device("meta"):
        net = char_cnn(InputSpec(kind="text", fields=(field,)), target, **recipe.options)  # type: ignore[arg-type]
        ids = torch.zeros(1, 1014, dtype=torch.int64)
        found = [*layer_shapes(net.front.trunk, ids)]  # type: ignore[union-attr, arg-type]
        found += layer_shapes(net.body, torch.zeros(1, net.front.n_out))  # type: ignore[union-attr, arg-type]
    rows: list[tuple[Cell, ...]] = [("letters", "1014 x 70", 0)]
    rows += [(kind, " x ".join(map(str, reversed(shape))), n) for kind, shape, n in found]
    total = sum(p.numel() for p in net.parameters())
    title = f"{name}: {total:,} parameters for four classes"
    return Table(title=title, columns=("layer", "frames x features", "parameters"), rows=tuple(rows)), total, found


def diagram(found: list[tuple[str, tuple[int, ...], int]]) -> Figure:
    """The layers of the small network in a row."""
    names = {"Conv1d": "convolution", "MaxPool1d": "maximum of 3", "Linear": "fully connected"}
    nodes = [Node(id="0", label="letters", note="1014 x 70", level=0)]
    for k, (kind, shape, _) in enumerate(found, 1):
        nodes.append(Node(id=str(k), label=names[kind], note=" x ".join(map(str, reversed(shape))), level=k))
    links = [
        Link(source=str(k - 1), target=str(k), label=f"{n:,}" if n else "") for k, (_, _, n) in enumerate(found, 1)
    ]
    caption = "Frames x features behind each layer; on the arrows the parameters."
    title = "The small network, layer by layer"
    return Figure(title=title, kind="diagram", nodes=tuple(nodes), links=tuple(links), caption=caption)


def quantised(text: str) -> Figure:
    """A text as the convolutions are given it: a column a letter of the text, a row a letter of the alphabet that is in it."""
    field = TextField(words=("a",), chars="".join(sorted(set(text.lower()))), n_words=1, n_chars=len(text))
    ids = torch.from_numpy(encode_text(pl.Series("text", [text]), field)["text:chars"])
    frames = CharConvs(field.chars, length=123, width=1).letters_of(ids)[0, : len(text) + 4]
    used = sorted(set(frames.argmax(1)[frames.any(1)].tolist()))
    read = [*reversed(text), *" " * 4]
    return Figure(
        title=f"{text!r} as one-hot letters, read backwards",
        kind="heatmap",
        series=(
            Series(
                x=tuple(f"{k + 1}: {c}" for k, c in enumerate(read)),
                y=tuple(ALPHABET[u] for u in used),
                z=tuple(tuple(frames[:, u].tolist()) for u in used),
            ),
        ),
        x_label="frame",
        y_label="letter",
        caption=f"Of the {len(ALPHABET)} rows those that are used. A space, a letter with an accent and what is behind the text are "
        "columns of zeros.",
    )


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Convolutions over characters, as published and narrow."""
    place = real_file(NAMES, tiny=tiny)
    texts, y = real_surnames(place, 6000, seed) if place else surnames(600 if tiny else 3000, seed)
    n = len(texts) * 2 // 3
    began = time.monotonic()
    options = {"width": 16 if tiny else 64, "hidden": 32 if tiny else 128}
    net = Classifier(template="char-cnn", options=options, dropout=0.2, epochs=10 if tiny else 20, random_state=seed)
    accuracy = float(net.fit(texts[:n], y[:n]).score(texts[n:], y[n:]))
    seconds = time.monotonic() - began
    classic, classic_seconds = ngrams(texts[:n], y[:n], texts[n:], y[n:])
    tables, totals, shapes = zip(*(layers(name) for name in ("char-cnn-small", "char-cnn-large")), strict=True)
    winner = "the n-grams win" if classic > accuracy else "the network wins" if accuracy > classic else "both are equal"
    bars = {"char-cnn, narrow": accuracy, "n-grams of characters": classic}
    right = totals == (11_339_780, 95_940_612)
    return Finding(
        probe="char-cnn",
        family="gallery",
        verdict="pass" if right else "fail",
        title=f"{totals[0]:,} and {totals[1]:,} parameters as published; on {n:,} {'' if place else 'made-up '}surnames a narrow one "
        f"is right on {accuracy:.1%}, n-grams on {classic:.1%}: {winner}",
        measured={
            "parameters_small": totals[0],
            "parameters_large": totals[1],
            "parameters_narrow": net.model_.n_parameters,
            "accuracy_char_cnn": accuracy,
            "accuracy_ngrams": classic,
            "seconds_char_cnn": seconds,
            "seconds_ngrams": classic_seconds,
        },
        expected="11,339,780 and 95,940,612 parameters",
        why="Every letter is a column with a single 1, so that the first convolution has seven columns of weights to look for a run "
        "of seven letters. Pooling makes 34 frames of 1014; most parameters then stand between the last frames and the first hidden "
        "layer. Such a network learns words from letters, for which it needs very many texts: on few ones n-grams of characters "
        "are the better choice, and take a fraction of the time.",
        figures=(
            quantised("Café 24-7, ok?"),
            diagram(shapes[0]),
            Figure(
                title="Accuracy on test surnames",
                kind="bar",
                series=(Series(x=tuple(bars), y=tuple(bars.values())),),
                x_label="method",
                y_label="accuracy",
            ),
        ),
        tables=tables,
        reference="Zhang, Zhao and LeCun (2015)",
    )


def ngrams(train: list[str], y: np.ndarray, test: list[str], y_test: np.ndarray) -> tuple[float, float]:
    """Accuracy and seconds of logistic regression on TF-IDF of 2 to 5 characters."""
    from sklearn.linear_model import LogisticRegression

    began = time.monotonic()

    def rows(texts: list[str]) -> Rows:
        return Rows(x=np.zeros((len(texts), 0)), texts={"text": texts})

    features = fit_tfidf(rows(train), "chars")
    model = LogisticRegression(C=10.0, max_iter=1000).fit(features(rows(train)), y)
    return float(model.score(features(rows(test)), y_test)), time.monotonic() - began


if __name__ == "__main__":
    main(exhibit)
