"""The trained thing: it predicts from raw rows, saves without pickle, and carries its own evidence."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from netwright.adapt.module import Adapted, Call, Pixels, as_inputs, outputs_of_a_row, target_of
from netwright.adapt.rows import Encode, Kind, TextEncoder, eaten, frame_of
from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.files import read_json, write_json, writing
from netwright.core.seed import derive
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.answers import answers
from netwright.data.batch import Block, Inputs
from netwright.data.data import Data
from netwright.data.encode import encode_inputs
from netwright.losses.entries import LOSSES
from netwright.losses.loss import Loss, adapt
from netwright.losses.standard import CrossEntropy, RejectCrossEntropy, SquaredError
from netwright.nn.ensemble import Ensemble
from netwright.recipes.recipe import Recipe, Template, at_most
from netwright.train.hooks import Quiet
from netwright.train.judging import outputs_of
from netwright.train.members import Judge, Trained, train_in_turn, train_members, train_one
from netwright.train.objectives import Objective, Perturb, Supervised
from netwright.train.stack import Member
from netwright.train.state import History, State

FORMAT = 1
MOST_NETWORKS = 64
"""Of one fit."""
_NAMED = {"cross-entropy": CrossEntropy, "reject-cross-entropy": RejectCrossEntropy, "squared-error": SquaredError}
_LOSS: TypeAdapter[CrossEntropy | RejectCrossEntropy | SquaredError] = TypeAdapter(
    CrossEntropy | RejectCrossEntropy | SquaredError
)


@dataclass
class Model:
    """Specs + network + loss + recipe + history + fingerprint of the data.

    Args:
        module: called with named tensors in raw units; in evaluation mode.
        spec: what a row is made of. target: what is predicted.
        loss: owns the link from outputs to predictions.
        recipe: how it was made; None for a module that was trained elsewhere.
        history: what was recorded in training.
        fingerprint: of the data it was trained on.
        temperature: outputs are divided by it before probabilities are taken.
        margin: regression: half the width of the 90 % interval.
        encoder: raw rows -> named tensors, where that is a user's own affair (their tokeniser); None for the spec's.
    """

    module: nn.Module
    spec: InputSpec
    target: TargetSpec
    loss: Loss
    recipe: Recipe | None = None
    history: History = field(default_factory=History)
    fingerprint: str = ""
    temperature: float = 1.0
    margin: float | None = None
    encoder: Callable[[pl.DataFrame], Inputs] | None = None

    def encode(self, rows: Any) -> Inputs:
        """Raw rows as the network's inputs: a frame with the columns of the spec, or texts, images or tensors as `wrap` takes them."""
        if not isinstance(rows, pl.DataFrame):
            if self.spec.kind == "vector":
                return as_inputs(rows)
            if isinstance(self.module, Adapted) and self.module.pixels and isinstance(rows, Tensor | np.ndarray):
                return {self.spec.names[0]: self.module.pixels.inwards(torch.as_tensor(rows).detach())}
            rows = frame_of(rows, self.spec)
        return encode_inputs(rows, self.spec) if self.encoder is None else self.encoder(rows)

    @property
    def objective(self) -> Objective:
        """How outputs are asked for."""
        return self.recipe.make_objective(self.loss) if self.recipe else Supervised(self.loss)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def outputs(self, x: Inputs, batch_size: int | None = None) -> Tensor:
        """Raw outputs (N, n_out) in evaluation mode, without gradient."""
        return outputs_of(self.module, self.objective, Block(x), batch_size=batch_size)

    def predict_encoded(self, x: Inputs) -> np.ndarray:
        """Calibrated probabilities (N, C), or values (N,), float64, of rows that are tensors already."""
        outputs = self.outputs(x).double()
        prediction: np.ndarray = self.loss.predict(
            outputs if self.target.is_number else outputs / self.temperature
        ).numpy()
        return prediction

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Calibrated probabilities (N, C) of raw rows (as `encode` takes them), in the order of `target.classes`.

        Raises:
            UsageError: the target is a number.
        """
        if self.target.is_number:
            raise UsageError(f"the target {self.target.name!r} is a number and has no probabilities; use predict")
        return self.predict_encoded(self.encode(rows))

    def predict(self, rows: Any) -> np.ndarray:
        """Predictions for raw rows (as `encode` takes them): class labels (N,) as strings, or values (N,) in the target's unit."""
        prediction = self.predict_encoded(self.encode(rows))
        return (
            prediction if self.target.is_number else np.array(self.target.classes, dtype=object)[prediction.argmax(1)]
        )

    def predict_table(self, rows: Any) -> pl.DataFrame:
        """What `netwright predict` writes: row, prediction, and p_<class>... or lower and upper."""
        return answers(self.predict_encoded(self.encode(rows)), self.target, self.margin)

    def save(self, folder: str | Path) -> None:
        """Store the model as a folder of `model.json` and `weights.safetensors`, whole or not at all.

        Raises:
            UsageError: the loss is a user's function, which cannot be stored.
            SetupError: no room or no permission.
        """
        if not isinstance(self.loss, CrossEntropy | RejectCrossEntropy | SquaredError):
            raise UsageError("a loss that is a user's function cannot be stored; name one of: " + ", ".join(LOSSES))
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot make {folder}: {error.strerror}; choose another place") from error
        with writing(folder / "weights.safetensors") as temporary:
            state = {k: v.detach().cpu().contiguous().clone() for k, v in self.module.state_dict().items()}
            temporary.write_bytes(save(state))
        pixels = self.module.pixels if isinstance(self.module, Adapted) else None
        card = {
            "format": FORMAT,
            "spec": self.spec.model_dump(mode="json"),
            "target": self.target.model_dump(mode="json"),
            "loss": self.loss.model_dump(mode="json"),
            "recipe": None if self.recipe is None else self.recipe.model_dump(mode="json"),
            "history": [{k: _in_json(v) for k, v in row.items()} for row in self.history.rows],
            "fingerprint": self.fingerprint,
            "temperature": self.temperature,
            "margin": self.margin,
            "pixels": pixels.model_dump(mode="json") if pixels else None,
            "encode": self.encoder is not None,
            "weights_blake2b": _digest(folder / "weights.safetensors"),
        }
        write_json(folder / "model.json", card)

    @classmethod
    def load(
        cls, folder: str | Path, module: Any = None, call: Call | None = None, encode: Encode | None = None
    ) -> Model:
        """Load a model folder. Nothing is unpickled, and no name from the file is imported.

        Args:
            folder: what `save` wrote.
            module: the network, where it is a user's own and no template of ours; its weights come from the folder.
            call, encode: as they were given to `wrap`.

        Raises:
            DataError: the folder is missing, damaged, changed after it was saved, or not ours.
            UsageError: the network or the tokeniser is a user's own, and was not given.
        """
        card, weights = _card_of(Path(folder))
        try:
            spec, target = InputSpec.model_validate(card["spec"]), TargetSpec.model_validate(card["target"])
            recipe = None if card["recipe"] is None else Recipe.model_validate(card["recipe"])
            loss: Loss = _LOSS.validate_python(card["loss"])
            history = History([dict(row) for row in card["history"]])
            margin = None if card["margin"] is None else float(card["margin"])
            temperature = float(card["temperature"])
            pixels = None if card.get("pixels") is None else Pixels.model_validate(card["pixels"])
            encoder = _encoder_of(spec, encode) if card.get("encode") and spec.texts else None
            if module is None:
                module = _built(recipe, spec, target, weights)
            elif recipe is None and not isinstance(module, Adapted):
                module = Adapted(module, call, pixels)
            elif recipe is not None and recipe.template == "custom":
                module = recipe.adopt(module, spec, target)
            module.load_state_dict(load_file(weights))
        except (ValidationError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            shown = " ".join(str(error).split())[:300]
            raise DataError(
                f"the model in {weights.parent} is damaged: {shown}; copy it again or train again"
            ) from error
        fingerprint = str(card.get("fingerprint", ""))
        return cls(
            module.eval(), spec, target, loss, recipe, history, fingerprint, temperature, margin, encoder=encoder
        )

    @classmethod
    def wrap(
        cls,
        module: Any,
        *,
        loss: str | Loss | Callable[[Tensor, Tensor], Tensor],
        x: Any,
        y: Any,
        link: str = "unknown",
        classes: Sequence[str] | None = None,
        call: Call | None = None,
        kind: Kind | None = None,
        encode: Encode | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> Model:
        """A model around anybody's module, so that every probe works on it.

        The module is called as it is outside: with the tensor (floats in the type of its parameters), with module(*x) where x is
        a tuple of tensors, with module(**x) where x is a mapping whose names are those of its arguments, else with the mapping.

        Args:
            module: a torch module, or a Keras model on the torch backend.
            loss: "cross-entropy", "squared-error", a Loss, or a function (outputs, y) -> scalar or (N,).
            x: example inputs (N, ...), array or tensor, or a mapping or tuple of them; shapes and spreads are read off them.
                Images: (N, C, H, W), (N, H, W, C) or (N, H, W). Texts: a list of strings, beside `encode`.
            y: targets (N,): class numbers or values.
            link: for a function: "softmax", "sigmoid" or "identity"; "unknown" makes probes that need it say so.
            classes: names of the classes; by default their numbers.
            call: how else to call the module: call(module, x) -> outputs, where x is the tensor, the tuple or the mapping.
            kind: "image", "text" or "vector" (tensors without a meaning). None: "text" for strings; "image" for floats or bytes
                of one or three channels and at least 8 x 8 pixels; else "vector".
            encode: your tokeniser: a list of strings -> token ids (N, T), or a tuple or a mapping of tensors (ids and mask).
            low, high: bounds that inputs must keep (an attack respects them); by default none, and for images guessed from
                their values (`model.spec.images[0].rule` says how).

        Raises:
            UsageError: the rows, the kind and the module do not go together; it says how to call the module.

        >>> net = nn.Linear(2, 3)
        >>> model = Model.wrap(net, loss="cross-entropy", x=torch.randn(8, 2), y=torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
        >>> model.predict_encoded({"x": torch.zeros(1, 2)}).shape
        (1, 3)
        >>> images = torch.rand(8, 1, 8, 8)
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> Model.wrap(net, loss="cross-entropy", x=images, y=torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])).spec.images[0].rule
        'images as the module takes them, (N, C, H, W); pixels from 0 to 1 (guessed: those given lie between ...'
        >>> net = nn.EmbeddingBag(100, 2)
        >>> lengths = lambda texts: torch.tensor([[len(text)] for text in texts])
        >>> model = Model.wrap(net, loss="cross-entropy", x=["good", "so so"], y=[1, 0], encode=lengths)
        >>> model.predict_proba(["fine"]).shape
        (1, 2)
        """
        rows, y = eaten(x, kind=kind, encode=encode, low=low, high=high), np.asarray(y)
        if isinstance(loss, str):
            found: Loss = _NAMED[LOSSES[loss].name]()
        else:
            found = loss if isinstance(loss, Loss) else adapt(loss, link)  # type: ignore[arg-type]
        net = Adapted(module, call, rows.pixels).eval()
        n_out = outputs_of_a_row(net, rows.inputs)
        is_number = found.link == "identity" or (found.link == "unknown" and np.issubdtype(y.dtype, np.floating))
        target = target_of(y, is_number, classes, n_out if found.link == "softmax" else None)
        return cls(net, rows.spec, target, found, encoder=rows.encoder)


def _card_of(folder: Path) -> tuple[dict[str, Any], Path]:
    """What `model.json` of a model folder (or of a run's) says, and its weights, whose checksum is right."""
    if folder.is_file():
        raise DataError(
            f"{folder} is a file; a model is a folder with model.json and weights.safetensors (pickles are never opened)"
        )
    if not (folder / "model.json").is_file() and (folder / "model" / "model.json").is_file():
        folder = folder / "model"
    card, weights = read_json(folder / "model.json"), folder / "weights.safetensors"
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise DataError(f"{folder / 'model.json'} is not a model of format {FORMAT}; it may come from another version")
    if not weights.is_file():
        raise DataError(f"{folder} has no weights.safetensors; the model is not whole, copy it again")
    if _digest(weights) != card.get("weights_blake2b"):
        raise DataError(
            f"{weights} is not the file that was saved (its checksum differs): truncated or changed; copy it again or train again"
        )
    return card, weights


def _built(recipe: Recipe | None, spec: InputSpec, target: TargetSpec, weights: Path) -> nn.Module:
    """The network that a recipe from a file asks for, of no more parameters than the weights have."""
    if recipe is None or recipe.template == "custom":
        raise UsageError("the network of this model is a user's own; pass it: nw.load(folder, module=MyNet())")
    try:
        with at_most(weights.stat().st_size, recipe.options):
            return recipe.build(spec, target, 0)
    except UsageError as error:  # a name or an option in the file, which is no mistake of the user's
        raise ValueError(str(error)) from error


def _encoder_of(spec: InputSpec, encode: Encode | None) -> TextEncoder:
    if encode is None:
        raise UsageError(
            "the texts of this model were turned into tensors by a user's function; pass it: "
            "nw.load(folder, module=MyNet(), encode=tokenise)"
        )
    return TextEncoder(encode, spec.texts[0].name)


def _in_json(value: float | int | str) -> float | int | str:
    """JSON has no word for numbers that are not finite: `History.column` reads "nan" and "inf" all the same."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()


@dataclass(frozen=True)
class Subject:
    """What a probe may look at. Its entry's `needs` names what must be there.

    Args:
        model: a trained (or foreign) model.
        recipe: how to make a fresh network.
        data: labelled rows.
        predictions: of the baselines on the test rows, by name: probabilities (N, C) or values (N,).
        metric: the metric that drives choices.
    """

    model: Model | None = None
    recipe: Recipe | None = None
    data: Data | None = None
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)
    metric: str = ""

    def need(self, what: str) -> Any:
        """A part that must be there.

        Raises:
            UsageError: it is not.
        """
        value = getattr(self, what)
        if value is None or value == {}:
            raise UsageError(f"this probe needs the {what} of its subject, and none was given")
        return value

    @property
    def network(self) -> Model | Recipe | None:
        """The model, or else the recipe of one: either gives a fresh network."""
        return self.model or self.recipe

    @property
    def loss(self) -> Loss:
        """The loss of the model, or the one that the recipe would make."""
        if self.model is not None:
            return self.model.loss
        recipe: Recipe = self.need("recipe")
        return recipe.make_loss(self.need("data").target)

    def fresh(self, seed: int) -> nn.Module:
        """An untrained network: of the recipe, or a copy of the model's with its parameters drawn again.

        Parameters of a foreign layer without `reset_parameters` are drawn from a normal distribution of their present
        mean and spread.
        """
        recipe = self.recipe or (self.model.recipe if self.model else None)
        if recipe is not None and recipe.template != "custom":
            of: Model | Data = self.model or self.need("data")
            return recipe.build(of.spec, of.target, seed)
        net: nn.Module = copy.deepcopy(self.need("model").module)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            for layer in net.modules():
                _draw_again(layer)
        return net


@torch.no_grad()
def _draw_again(layer: nn.Module) -> None:
    if callable(reset := getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)):
        reset()
        return
    for p in layer.parameters(recurse=False):
        if p.requires_grad and p.is_floating_point():
            p.normal_(p.mean().item(), p.std(correction=0).item())


def fit(
    recipe: Recipe,
    data: Data,
    *,
    seed: int,
    metric: str,
    hooks: Sequence[Quiet] = (),
    checkpoint: Path | None = None,
    perturb: Perturb | None = None,
    template: Template | None = None,
    watch_train: bool = False,
) -> tuple[Model, State]:
    """Train a fresh network by a recipe: the model with its best weights, and the state of the training.

    Args:
        seed: of weights, orders and masks.
        metric: on validation rows, keeps the best weights (and stops early where the recipe has patience).
        hooks: further ones, called after evaluation.
        checkpoint: a file to store the training in, and to go on from where it exists.
        perturb: changes batches before they are learned from.
        template: the user's function where the recipe is custom.
        watch_train: measure the training error after each epoch.
    """
    fits = _Fits(data, metric, perturb, template, watch_train)
    recipe, member = fits.member(recipe, seed)
    objective, judge = fits.judged(recipe)
    trained = train_one(member, objective, data.source, judge, hooks, checkpoint)
    return fits.model(recipe, trained), trained.state


def fit_all(
    recipes: Sequence[Recipe],
    data: Data,
    *,
    seeds: Sequence[int],
    metric: str,
    folds: Sequence[tuple[Tensor, Tensor]] | None = None,
    hooks: Callable[[int | None], Sequence[Quiet]] = lambda k: (),
    checkpoint: Path | None = None,
    perturb: Perturb | None = None,
    template: Template | None = None,
    watch_train: bool = False,
) -> tuple[list[tuple[Model, Trained]], str]:
    """Train a fresh network for each seed, all as one computation where that works; why it did not, in words, is the second answer.

    Args:
        recipes: of each; they may differ in rates, decays, dropout and widths. seeds: of each.
        folds: rows of the training block that each learns from, and those that it is judged on; None for all training rows and
            the validation rows.
        hooks: further ones, of all together (None), or of number k where they are trained in turn.
        metric, checkpoint, perturb, template, watch_train: as in `fit`.

    Source: Lakshminarayanan et al. (2017) for the many starts, Stone (1974) for the folds.
    """
    fits = _Fits(data, metric, perturb, template, watch_train)
    made = [fits.member(recipe, seed) for recipe, seed in zip(recipes, seeds, strict=True)]
    members = [member for _, member in made]
    objective, judge = fits.judged(made[0][0])
    block = data.block("train")
    if folds is not None:
        members = [replace(m, rows=rows) for m, (rows, _) in zip(members, folds, strict=True)]
        watched = [_rows(block, rows) for rows, _ in folds] if judge.watched else []
        judge = replace(judge, valid=[_rows(block, rows) for _, rows in folds], watched=watched)
    if perturb is not None:
        trained, why = (
            train_in_turn(members, objective, block, judge, hooks, checkpoint),
            "their batches are changed one by one",
        )
    else:
        trained, why = train_members(members, objective, block, judge, hooks, checkpoint)
    return [(fits.model(recipe, one), one) for (recipe, _), one in zip(made, trained, strict=True)], why


def _rows(block: Block, rows: Tensor) -> Block:
    some = block.take(rows)
    return Block(some.x, some.y, some.weight)


def check_count(name: str, value: Any, *, least: int = 1, or_else: str = "") -> None:
    """Refuse what is no number of networks of one fit.

    Args:
        or_else: what else is expected, in words.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= MOST_NETWORKS:
        raise UsageError(f"{name} is {value!r:.60}; expected a whole number from {least} to {MOST_NETWORKS}{or_else}")


def ensemble_of(models: Sequence[Model]) -> Model:
    """A model whose outputs are the mean of those of models of one recipe; history and all else are those of the first."""
    if len(models) == 1:
        return models[0]
    recipe = None if models[0].recipe is None else models[0].recipe.model_copy(update={"members": len(models)})
    return replace(models[0], module=Ensemble(m.module for m in models).eval(), recipe=recipe)


@dataclass(frozen=True)
class _Fits:
    """What trainings of one data set share."""

    data: Data
    metric: str
    perturb: Perturb | None
    template: Template | None
    watch_train: bool

    def member(self, recipe: Recipe, seed: int) -> tuple[Recipe, Member]:
        """The recipe with all options written out, and its fresh network."""
        recipe = recipe.resolved()
        return recipe, Member(
            recipe.build(self.data.spec, self.data.target, seed, self.template), seed, recipe.training
        )

    def judged(self, recipe: Recipe) -> tuple[Objective, Judge]:
        """What a step minimises, and what the training is judged by."""
        loss = recipe.make_loss(self.data.target)
        watched = self.watch_train or recipe.training.stop_error is not None
        judge = Judge(loss, self.metric, [self.data.block("valid")], [self.data.block("train")] if watched else [])
        return recipe.make_objective(loss, self.perturb), judge

    def model(self, recipe: Recipe, trained: Trained) -> Model:
        """The model of a trained network."""
        if isinstance(trained.net, Ensemble):
            recipe = recipe.model_copy(update={"members": len(trained.net.members)})
        loss = recipe.make_loss(self.data.target)
        spec, target = self.data.spec, self.data.target
        return Model(trained.net, spec, target, loss, recipe, trained.history, self.data.fingerprint)
