"""Which test rows an explanation draws, what the model says of them, and the answer as a differentiable number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netwright.core.errors import DataError, UsageError, unknown
from netwright.core.finding import Mark
from netwright.core.seed import generator, numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, TextField
from netwright.data.answers import told
from netwright.data.batch import Batch, Block, Inputs
from netwright.model import Model, Subject

MAX_CHARACTERS = 12_000
"""Characters of a text that are asked and shown: some pages."""


@dataclass(frozen=True)
class Drawn:
    """Some test rows, the right ones first.

    Args:
        batch: the rows; `batch.rows` says where they stand in the test part.
        prediction: (N, C) or (N,). wrong: (N,) whether the class is wrong; for numbers, whether the error is among the largest.
    """

    batch: Batch
    prediction: np.ndarray
    wrong: np.ndarray
    target: TargetSpec

    def __len__(self) -> int:
        return len(self.wrong)

    @property
    def rows(self) -> np.ndarray:
        """(N,) where the rows stand in the test part."""
        assert self.batch.rows is not None
        rows: np.ndarray = self.batch.rows.numpy()
        return rows

    @property
    def chosen(self) -> np.ndarray:
        """(N,) number of the class that is predicted; zeros for numbers."""
        is_number = self.prediction.ndim == 1
        found: np.ndarray = np.zeros(len(self), dtype=np.int64) if is_number else self.prediction.argmax(1)
        return found

    @property
    def answer(self) -> np.ndarray:
        """(N,) the probability of the class that is predicted, or the value."""
        return self.prediction if self.prediction.ndim == 1 else self.prediction[np.arange(len(self)), self.chosen]

    def caption(self, i: int) -> str:
        """What is true of a row and what was said."""
        assert self.batch.y is not None
        true = self.batch.y[i].item()
        return told(self.target, true, self.prediction[i])

    def mark(self, i: int) -> Mark:
        """Whether the answer is right."""
        return "bad" if self.wrong[i] else "good"


def answer_words(target: TargetSpec) -> str:
    """What `Drawn.answer` is, in words."""
    return f"the predicted {target.name}" if target.is_number else "the probability of the predicted class"


def drawn_rows(subject: Subject, name: str, seed: int, *, right: int = 16, wrong: int = 16, of: int = 4000) -> Drawn:
    """Right rows at random, and those wrong ones of which the model is most sure (numbers: the largest errors).

    Args:
        of: test rows that are looked at, drawn at random.

    Raises:
        DataError: there are no labelled test rows.
    """
    model, block = subject.need("model"), subject.need("data").block("test")
    if not len(block) or block.y is None:
        raise DataError("an explanation needs labelled test rows, and there are none")
    index = torch.randperm(len(block), generator=generator(seed, "rows", name))[:of].sort().values
    some = block.take(index)
    prediction = model.predict_encoded(some.x)
    assert some.y is not None
    y = some.y.numpy()
    if prediction.ndim == 1:
        price = np.abs(prediction - y)
        is_wrong = price > np.quantile(price, 0.9)
    else:
        is_wrong, price = prediction.argmax(1) != y, prediction.max(1)
    price = np.nan_to_num(price, nan=-np.inf)
    rng = numpy_generator(seed, "drawn", name)
    good = rng.permutation(np.flatnonzero(~is_wrong))[:right]
    bad = sorted(np.flatnonzero(is_wrong), key=lambda i: -price[i])[:wrong]
    kept = np.concatenate([np.sort(good), np.array(bad, dtype=np.int64)]).astype(np.int64)
    batch = block.take(index[torch.from_numpy(kept)])
    return Drawn(batch, prediction[kept], is_wrong[kept], model.target)


def answers_of(model: Model, net: torch.nn.Module, x: Inputs, chosen: Tensor) -> Tensor:
    """(N,) the probability of each row's chosen class, or the value, differentiable by whatever float tensors are in `x`.

    Args:
        net: the model's module, or a copy of it, in evaluation mode.
        chosen: (N,) class numbers; without meaning for numbers.
    """
    outputs = model.objective.predict(net, x).double()
    prediction = model.loss.predict(outputs if model.target.is_number else outputs / model.temperature)
    return prediction if prediction.dim() == 1 else prediction.gather(1, chosen.unsqueeze(1)).squeeze(1)


def repeated(batch: Batch | Block, index: Tensor) -> dict[str, Tensor]:
    """The inputs of rows, each as often as `index` names it."""
    return {name: tensor[index] for name, tensor in batch.x.items()}


def text_field(spec: InputSpec, column: str | None) -> TextField:
    """The text column of this name; None for the first.

    Raises:
        UsageError: there is none of this name.
    """
    if column is not None and column not in [t.name for t in spec.texts]:
        raise UsageError(unknown("text column", column, [t.name for t in spec.texts]))
    return next(t for t in spec.texts if column in (None, t.name))


def readable(text: str) -> tuple[str, tuple[str, ...]]:
    """As much of a text as is asked and shown, and what is shown for the rest.

    >>> readable("short"), len(readable("long " * 9999)[0]), readable("long " * 9999)[1]
    (('short', ()), 12000, ('…',))
    """
    return (text, ()) if len(text) <= MAX_CHARACTERS else (text[:MAX_CHARACTERS], ("…",))


def both_ends(n: int) -> list[int]:
    """Row numbers from both ends in turn, so that right and wrong ones are asked alike where time is short.

    >>> both_ends(5)
    [0, 4, 1, 3, 2]
    """
    return [k // 2 if k % 2 == 0 else n - 1 - k // 2 for k in range(n)]


def in_time(done: int, wanted: int, what: str) -> str:
    """The end of a title where the time was too short for all rows.

    >>> in_time(3, 3, "texts"), in_time(1, 3, "texts")
    ('', ' (out of time after 1 of 3 texts)')
    """
    return "" if done == wanted else f" (out of time after {done} of {wanted} {what})"
