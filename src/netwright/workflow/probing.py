"""Ask a gallery of probes about a subject, and the three questions a user asks directly: check, attack, explain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from netwright.adapt.module import Adapted
from netwright.adapt.rows import frame_of
from netwright.checks.entries import CHECKS
from netwright.core.entry import Entry, Gallery
from netwright.core.errors import NetwrightError, UsageError
from netwright.core.files import read_json
from netwright.core.finding import Finding
from netwright.core.run import Listener, Run
from netwright.data.batch import Block
from netwright.data.data import Data
from netwright.data.encode import encode_target
from netwright.data.grouped import regrouped
from netwright.data.infer import pick_column
from netwright.data.read import from_any, look
from netwright.data.series_rows import gathered_again
from netwright.explain.attention import attends
from netwright.explain.entries import EXPLANATIONS
from netwright.losses.metrics import check_metric
from netwright.model import Model, Subject
from netwright.robust.entries import ATTACKS
from netwright.workflow.prepare import look_at, split_and_encode
from netwright.workflow.settings import Settings

COMMANDS = {"checks": "check", "robust": "attack", "explain": "explain"}
"""Family -> the command that asks it."""
FAMILIES: dict[str, Gallery] = {"checks": CHECKS, "robust": ATTACKS, "explain": EXPLANATIONS}


def fitting(gallery: Gallery, subject: Subject, names: Sequence[str] | None = None) -> list[Entry]:
    """The entries that can be asked about a subject; with names, just those (which must then fit).

    Raises:
        UsageError: a name is unknown, or names an entry that does not fit.
    """
    if names:
        return [_must_fit(gallery[name], subject) for name in names]
    return [entry for entry in gallery.values() if not _lacks(entry, subject)]


def _lacks(entry: Entry, subject: Subject) -> str:
    """What keeps an entry from being asked, in words; empty if nothing does."""
    has = {
        "data": subject.data,
        "model": subject.model,
        "recipe": subject.recipe,
        "network": subject.model or subject.recipe,
        "predictions": subject.predictions,
    }
    missing = [n for n in entry.needs if n in has and not has[n]]
    if missing:
        return f"it needs {' and '.join(missing)}"
    if "split" in entry.needs and subject.data and not is_split(subject.data):
        return "it compares training rows with test rows, and these rows have no split"
    target = subject.data.target if subject.data else subject.model.target if subject.model else None
    spec = subject.data.spec if subject.data else subject.model.spec if subject.model else None
    if target and spec and not entry.fits(kind=spec.kind, task=target.task):
        return f"it is for {', '.join(entry.kinds + entry.tasks)}, not for {spec.kind} with {target.task}"
    for what in ("images", "texts"):
        if what in entry.needs and spec and not getattr(spec, what):
            return f"it needs a column of {what}"
    if "attention" in entry.needs and subject.model and not any(attends(subject.model.module)):
        return "it needs a network with attention: the template transformer or attention-pooling"
    if "recurrence" in entry.needs and subject.model and not _recurs(subject.model.module):
        return "it needs a recurrent network: the template recurrent"
    return ""


def _recurs(net: nn.Module) -> bool:
    """Whether a network has recurrent layers."""
    return any(isinstance(layer, nn.RNNBase) for layer in net.modules())


def _must_fit(entry: Entry, subject: Subject) -> Entry:
    if reason := _lacks(entry, subject):
        raise UsageError(f"{entry.name!r} cannot be asked here: {reason}")
    return entry


def is_split(data: Data) -> bool:
    """Whether training and test rows are different ones."""
    return not np.array_equal(data.split["train"], data.split["test"])


def ask(entry: Entry, family: str, subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Run one probe with its entry's options."""
    began = time.monotonic()
    finding: Finding = entry.load()(subject, budget_seconds=budget_seconds, seed=seed, **entry.options)
    return complete(finding, entry, family, time.monotonic() - began, seed)


def complete(finding: Finding, entry: Entry, family: str, seconds: float, seed: int) -> Finding:
    """The finding with what the caller knows: family, gate, reference, cost and seed."""
    update = {
        "family": family,
        "gate": entry.gate,
        "seconds": round(seconds, 3),
        "seed": seed,
        "reference": finding.reference or entry.reference,
    }
    return finding.model_copy(update=update)


def probe(
    family: str,
    subject: Subject,
    *,
    names: Sequence[str] | None = None,
    budget_seconds: float = 60.0,
    seed: int = 0,
    tell: Callable[..., None] | None = None,
    survive: bool = False,
    where: Callable[[Entry], bool] = lambda entry: True,
) -> list[Finding]:
    """Ask all fitting entries of a family; the budget is shared between those that are still to come.

    Args:
        family: "checks", "robust" or "explain".
        names: only these.
        tell: called as tell("progress", ...) before each.
        survive: a probe that breaks gives a warning instead of an exception (a run must not lose its report to it).
        where: only entries of which this is true.
    """
    entries = [entry for entry in fitting(FAMILIES[family], subject, names) if where(entry)]
    if not entries:
        raise UsageError(f"no entry of {family!r} fits this model and these rows")
    deadline = time.monotonic() + budget_seconds
    findings = []
    for i, entry in enumerate(entries):
        if tell:
            tell("progress", step=family, done=i, total=len(entries), text=entry.name)
        share = max((deadline - time.monotonic()) / (len(entries) - i), 0.5)
        try:
            findings.append(ask(entry, family, subject, budget_seconds=share, seed=seed))
        except NetwrightError:
            raise
        except Exception as error:
            if not survive:
                raise
            findings.append(_broken(entry, family, error))
    return findings


def _broken(entry: Entry, family: str, error: Exception) -> Finding:
    return Finding(
        probe=entry.name,
        family=family,
        verdict="warn",
        title=f"{entry.name} broke: {type(error).__name__}: {error}",
        why="Nothing is known of what it would have found.",
        todo="This is a fault of netwright, not of your data. "
        f"See it whole with: netwright {COMMANDS[family]} RUN --only {entry.name} --debug",
        reference=entry.reference,
    )


def load_subject(subject: Any, data: Any = None, y: Any = None, *, metric: str | None = None, **wrap: Any) -> Subject:
    """A subject from what a user has in hand.

    Args:
        subject: a run folder, a model folder, a Model, a fitted estimator, or a torch module (or Keras model on torch).
        data: a path or a frame with the target in it; a frame or array of inputs beside `y`; None for a run's own rows.
        y: targets, where they are not a column of `data`.
        metric: drives judgements; None for the default of the task.
        wrap: for a module: `loss=` and the other arguments of `Model.wrap`.
    """
    if isinstance(subject, str | Path) and (Path(subject) / "settings.json").is_file() and data is None:
        return _run_subject(Path(subject), metric)
    if isinstance(subject, str | Path):
        model = Model.load(subject)
    elif isinstance(subject, Model):
        model = subject
    elif isinstance(getattr(subject, "model_", None), Model):
        model = subject.model_
    elif isinstance(subject, nn.Module):
        if data is None or y is None or "loss" not in wrap:
            raise UsageError("a module needs rows and a loss: nw.check(module, x, y, loss='cross-entropy')")
        model = Model.wrap(subject, x=data, y=y, **wrap)
    else:
        raise UsageError(
            f"expected a folder, a Model, a fitted estimator or a torch module, not {type(subject).__name__}"
        )
    if data is None:
        raise UsageError(
            "a model alone knows no labelled rows; give some: a file with the target in it, or the run's folder"
        )
    rows = _labelled(model, data, y)
    return Subject(model=model, recipe=model.recipe, data=rows, metric=check_metric(metric, model.target))


def _labelled(model: Model, data: Any, y: Any) -> Data:
    """Rows as the model's own encoders see them; every part is all of them."""
    foreign = isinstance(model.module, Adapted)
    if y is None and foreign and not _may_hold_target(data):
        raise UsageError("a wrapped module needs y beside x")
    if foreign and not isinstance(data, str | Path | pl.DataFrame) and model.spec.kind != "text":
        return Data.from_tensors(model.encode(data), _class_numbers(model, y), model.spec, model.target)
    if isinstance(data, str | Path):
        frame = regrouped(gathered_again(look(data).frame, model.spec), model.spec)
    else:
        frame = frame_of(data, model.spec)
    if y is None:
        target = encode_target(pick_column(frame, model.target.name, "target column"), model.target)
        frame = frame.drop(model.target.name)
    elif foreign:
        target = _class_numbers(model, y)
    else:
        target = encode_target(from_any({model.target.name: np.asarray(y)})[model.target.name], model.target)
    if len(target) != len(frame):
        raise UsageError(f"there are {len(frame):,} rows but y has {len(target):,}; they must be equally many")
    everything = np.arange(len(frame))
    block = Block(model.encode(frame), target)
    frame = frame.select(model.spec.names)
    split = dict.fromkeys(("train", "valid", "test"), everything)
    return Data(frame, model.spec, model.target, split, _blocks=dict.fromkeys(split, block))  # type: ignore[arg-type]


def _may_hold_target(data: Any) -> bool:
    """Whether rows can have the target among their columns."""
    return isinstance(data, str | Path) or hasattr(data, "columns")


def _class_numbers(model: Model, y: Any) -> torch.Tensor:
    """Targets of a wrapped module, as they were given to `Model.wrap`: class numbers, or their names; or values."""
    values = np.asarray(y)
    if values.dtype.kind in "OUT":
        return encode_target(from_any({model.target.name: values})[model.target.name], model.target)
    return torch.as_tensor(values)


def _run_subject(folder: Path, metric: str | None) -> Subject:
    """The model of a run with the run's own rows, split as they were."""
    run = Run(folder)
    settings = Settings.model_validate(run.settings)
    model = Model.load(folder / "model")
    looked = look_at(settings)
    stored = read_json(folder / "split.json")
    data = split_and_encode(looked, settings, {p: np.array(rows, dtype=np.int64) for p, rows in stored.items()})
    return Subject(
        model=model, recipe=model.recipe, data=data, metric=check_metric(metric or settings.metric, model.target)
    )


def _asked(
    family: str,
    subject: Any,
    data: Any,
    y: Any,
    names: Sequence[str] | None,
    budget_seconds: float,
    seed: int,
    listener: Listener | None,
    wrap: dict[str, Any],
) -> list[Finding]:
    tell = (lambda event, **values: listener({"event": event, **values})) if listener else None
    found = load_subject(subject, data, y, **wrap)
    return probe(family, found, names=names, budget_seconds=budget_seconds, seed=seed, tell=tell)


def check(
    subject: Any,
    data: Any = None,
    y: Any = None,
    *,
    names: Sequence[str] | None = None,
    budget_seconds: float = 60.0,
    seed: int = 0,
    listener: Listener | None = None,
    **wrap: Any,
) -> list[Finding]:
    """Check the soundness of a model, a run, or anybody's module.

    Args:
        subject: a run folder, a model folder, a Model, a fitted estimator, or a torch module.
        data: a path or frame with the target in it, or inputs beside `y`; None for a run's own rows.
        y: targets, where they are not a column.
        names: only these checks; None for all that fit.
        budget_seconds: about how long it may take.
        wrap: for a module: `loss=` and the other arguments of `Model.wrap`; `metric=` for all.

    >>> from torch import nn, randn, arange
    >>> findings = check(nn.Linear(4, 3), randn(60, 4), arange(60) % 3, loss="cross-entropy", names=["gradients-flow"])
    >>> findings[0].verdict
    'pass'
    """
    return _asked("checks", subject, data, y, names, budget_seconds, seed, listener, wrap)


def attack(
    subject: Any,
    data: Any = None,
    y: Any = None,
    *,
    names: Sequence[str] | None = None,
    budget_seconds: float = 60.0,
    seed: int = 0,
    listener: Listener | None = None,
    **wrap: Any,
) -> list[Finding]:
    """Attack a model: how far can inputs be changed before its answer does. Arguments as in `check`."""
    return _asked("robust", subject, data, y, names, budget_seconds, seed, listener, wrap)


def explain(
    subject: Any,
    data: Any = None,
    y: Any = None,
    *,
    names: Sequence[str] | None = None,
    budget_seconds: float = 60.0,
    seed: int = 0,
    listener: Listener | None = None,
    **wrap: Any,
) -> list[Finding]:
    """Explain a model: what it uses, and how its answer moves with each input. Arguments as in `check`."""
    return _asked("explain", subject, data, y, names, budget_seconds, seed, listener, wrap)
