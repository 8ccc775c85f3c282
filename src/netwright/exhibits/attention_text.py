"""The scores of attention over the words of sentences: what a prediction was taken from.

Made-up reviews of a meal, each with one word of praise or blame, which "not" may turn round. Attention pooling weighs every word by
itself; a transformer mixes the words first. The linear model on pairs of words stands beside them.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from netwright.baselines.task import Rows
from netwright.baselines.text import fit_tfidf
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.estimators.classifier import Classifier
from netwright.exhibits.program import main
from netwright.explain.attention import attends, attention
from netwright.model import Model
from netwright.workflow.probing import load_subject

PRAISE = ("wonderful", "tasty", "fresh", "perfect", "delicious")
BLAME = ("bland", "cold", "stale", "terrible", "greasy")
DISHES = ("soup", "bread", "fish", "salad", "cake", "coffee", "rice", "pasta")
BEFORE = ("last night", "on a rainy day", "with my sister", "after the concert", "for lunch", "at the corner table")
AFTER = (
    "and we walked home",
    "while music played",
    "near the old station",
    "as the waiter left",
    "before the film began",
)


def reviews(n: int, seed: int, name: str) -> tuple[list[str], np.ndarray]:
    """Sentences and whether they praise; three in ten turn their word round by "not"."""
    rng = numpy_generator(seed, "reviews", name)
    texts, labels = [], []
    for _ in range(n):
        good, turned = bool(rng.integers(2)), rng.random() < 0.3
        word = str(rng.choice(PRAISE if good else BLAME))
        said = f"was not {word}" if turned else f"was {word}"
        texts.append(f"{rng.choice(BEFORE)} the {rng.choice(DISHES)} {said} {rng.choice(AFTER)}")
        labels.append("praise" if good != turned else "blame")
    return texts, np.array(labels)


def baseline(train: list[str], y: np.ndarray, test: list[str], y_test: np.ndarray) -> float:
    """Accuracy of logistic regression on TF-IDF of words and pairs of words."""
    from sklearn.linear_model import LogisticRegression

    def rows(texts: list[str]) -> Rows:
        return Rows(x=np.zeros((len(texts), 0)), texts={"text": texts})

    features = fit_tfidf(rows(train), "words")
    model = LogisticRegression(C=30.0, max_iter=1000).fit(features(rows(train)), y)
    return float(model.score(features(rows(test)), y_test))


def share_on(texts: Figure, words: tuple[str, ...]) -> float:
    """The mean share of attention that lies on some words."""
    found = [
        sum(w for p, w in zip(t.pieces, t.weights, strict=True) if p.strip() in words) / max(sum(t.weights), 1e-12)
        for t in texts.texts
    ]
    return float(np.mean(found))


def turned_round(model: Model, texts: list[str]) -> Figure:
    """The scores of the first block over a sentence with "not": of the head in which the telling word looks at it most."""
    text = next(t for t in texts if " not " in t)
    words = text.split()
    part = next(attends(model.module))
    with torch.no_grad():
        vectors, lengths = part.front(model.encode([text]))
        heads = part.trunk.weights(vectors, lengths)[0][0]  # type: ignore[operator]
    at = words.index("not")
    head = heads[int(heads[:, at + 1, at].argmax())]
    shown = tuple(f"{k + 1}: {word}" for k, word in enumerate(words))
    return Figure(
        title="transformer: which word looks at which in the first block",
        kind="heatmap",
        series=(Series(x=shown, y=shown, z=tuple(tuple(round(v, 3) for v in row) for row in head.tolist())),),
        x_label="word that is looked at",
        y_label="word that looks",
        caption=f"The head in which {words[at + 1]!r} looks at 'not' most. Rows sum to 1.",
    )


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Attention over the words of a sentence."""
    train, y = reviews(400 if tiny else 2000, seed, "train")
    test, y_test = reviews(200 if tiny else 1000, seed, "test")
    accuracy: dict[str, float] = {}
    told: dict[str, float] = {}
    shown: dict[str, Figure] = {}
    ranked: list[Table] = []
    mixed: list[Figure] = []
    for template in ("attention-pooling", "transformer"):
        net = Classifier(template=template, options={"width": 32}, epochs=12 if tiny else 20, random_state=seed)
        net.fit(train, y)
        accuracy[template] = float(net.score(test, y_test))
        name = net.model_.spec.names[0]
        subject = load_subject(net, pl.DataFrame({name: test, net.model_.target.name: y_test}))
        finding = attention(subject, budget_seconds=10.0, seed=seed, rows=100)
        found = finding.figures[0]
        told[template] = share_on(found, (*PRAISE, *BLAME, "not"))
        some = [t for mark in ("good", "bad") for t in [t for t in found.texts if t.mark == mark][:5]]
        title = f"{template}: scores over the words, right answers and then wrong ones"
        shown[template] = found.model_copy(update={"title": title, "texts": tuple(some)})
        mixed += [turned_round(net.model_, test)] if template == "transformer" else []
        ranked += [t.model_copy(update={"title": f"{template}: {t.title}"}) for t in finding.tables]
    accuracy["TF-IDF of words and pairs, linear"] = baseline(train, y, test, y_test)
    best = max(accuracy, key=lambda name: accuracy[name])
    words = sum(len(t.split()) for t in test) / len(test)
    return Finding(
        probe="attention-text",
        family="gallery",
        verdict="info",
        title=f"attention pooling gives {told['attention-pooling']:.0%} of its attention to praise, blame and 'not' (1 or 2 of {words:.0f} "
        f"words); right on {accuracy['attention-pooling']:.1%}, transformer {accuracy['transformer']:.1%}, "
        f"linear {accuracy['TF-IDF of words and pairs, linear']:.1%}; best: {best}",
        measured={
            **{f"accuracy_{name}": value for name, value in accuracy.items()},
            **{f"attention_on_telling_words_{name}": value for name, value in told.items()},
        },
        why="The stronger a word is coloured, the more of the answer was taken from it. Attention pooling weighs each word by "
        "itself, so that its colours lie on the words that carry the sense, without anybody having marked them; but 'not' cannot "
        "turn a word round in a weighted sum, and those sentences go wrong. The transformer mixes words before it weighs them, as "
        "the map shows, and gets them right: a colour can then stand on a neighbour that has taken the sense over, and scores say "
        "less of the words themselves.",
        figures=(
            *shown.values(),
            *mixed,
            Figure(
                title="Accuracy on test sentences",
                kind="bar",
                series=(Series(x=tuple(accuracy), y=tuple(accuracy.values())),),
                x_label="method",
                y_label="accuracy",
            ),
        ),
        tables=tuple(ranked),
        reference="Bahdanau, Cho and Bengio (2015); Vaswani et al. (2017)",
    )


if __name__ == "__main__":
    main(exhibit)
