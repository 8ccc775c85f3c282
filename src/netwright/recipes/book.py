"""Named recipes, and the choice of one for given data."""

from __future__ import annotations

import math
from collections.abc import Mapping

from netwright.core.errors import UsageError
from netwright.core.spec import AudioField, InputSpec, SeriesField, SetField, TargetSpec, TreeField, VolumeField
from netwright.recipes.entries import RECIPES, TEMPLATES
from netwright.recipes.recipe import Recipe
from netwright.train.settings import Training

TRIED: Mapping[str, tuple[str, ...]] = {
    "text": ("ngram-bag", "word-conv", "char-conv"),
    "tree": ("tree-lstm", "tree-esn"),
}
"""Templates that a run tries, by kind of rows: those that learn from few rows in seconds."""


def table_classifier(*, width: int = 128, depth: int = 2, epochs: int = 20) -> Recipe:
    """Classes from a table."""
    return Recipe(
        name="table-classifier",
        template="residual-mlp",
        options={"width": width, "depth": depth},
        loss="cross-entropy",
        training=Training(epochs=epochs),
    )


def table_regressor(*, width: int = 128, depth: int = 2, epochs: int = 40) -> Recipe:
    """A number from a table."""
    return Recipe(
        name="table-regressor",
        template="residual-mlp",
        options={"width": width, "depth": depth},
        loss="squared-error",
        training=Training(epochs=epochs),
    )


def image_classifier(*, width: int = 16, depth: int = 1, epochs: int = 12) -> Recipe:
    """Classes of images."""
    return _image("image-classifier", "cross-entropy", width, depth, epochs)


def image_regressor(*, width: int = 16, depth: int = 1, epochs: int = 12) -> Recipe:
    """A number from an image."""
    return _image("image-regressor", "squared-error", width, depth, epochs)


def _image(name: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=128, learning_rate=5e-3)
    return Recipe(name=name, template="residual-conv", options=options, loss=loss, training=training)


def text_classifier(*, width: int = 8, buckets: int = 1 << 17, epochs: int = 20) -> Recipe:
    """Classes of texts."""
    return _text("text-classifier", "cross-entropy", width, buckets, epochs)


def text_regressor(*, width: int = 8, buckets: int = 1 << 17, epochs: int = 20) -> Recipe:
    """A number from a text."""
    return _text("text-regressor", "squared-error", width, buckets, epochs)


def _text(name: str, loss: str, width: int, buckets: int, epochs: int) -> Recipe:
    options = {"width": width, "buckets": buckets}
    training = Training(epochs=epochs, batch_size=64, learning_rate=1.5e-3)
    return Recipe(name=name, template="ngram-bag", options=options, loss=loss, training=training)


def series_classifier(*, width: int = 16, depth: int = 3, epochs: int = 100) -> Recipe:
    """Classes of series."""
    return _series("series-classifier", "cross-entropy", width, depth, epochs)


def series_regressor(*, width: int = 16, depth: int = 3, epochs: int = 100) -> Recipe:
    """A number from a series."""
    return _series("series-regressor", "squared-error", width, depth, epochs)


def _series(name: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=64, learning_rate=3e-3)
    return Recipe(name=name, template="series-resnet", options=options, loss=loss, training=training)


def audio_classifier(*, width: int = 16, depth: int = 1, epochs: int = 30) -> Recipe:
    """Classes of sounds."""
    return _audio("audio-classifier", "cross-entropy", width, depth, epochs)


def audio_regressor(*, width: int = 16, depth: int = 1, epochs: int = 30) -> Recipe:
    """A number from a sound."""
    return _audio("audio-regressor", "squared-error", width, depth, epochs)


def _audio(name: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=64, learning_rate=3e-3)
    return Recipe(name=name, template="audio-conv", options=options, loss=loss, training=training)


def volume_classifier(*, width: int = 16, depth: int = 3, epochs: int = 20) -> Recipe:
    """Classes of volumes, and of films."""
    return _volume("volume-classifier", "cross-entropy", width, depth, epochs)


def volume_regressor(*, width: int = 16, depth: int = 3, epochs: int = 20) -> Recipe:
    """A number from a volume, or from a film."""
    return _volume("volume-regressor", "squared-error", width, depth, epochs)


def _volume(name: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=64, learning_rate=3e-3)
    return Recipe(name=name, template="residual-conv-3d", options=options, loss=loss, training=training)


def _text_size(target: TargetSpec, n_train: int) -> dict[str, int]:
    """About 32 buckets of n-grams a training row; vectors wide enough that those of two levels can tell the classes apart.

    >>> _text_size(TargetSpec(name="y", task="binary", classes=("0", "1")), 6_920)
    {'width': 8, 'buckets': 262144}
    """
    width = 2 ** math.ceil(math.log2(min(64, max(8, len(target.classes)))))
    buckets = 2 ** math.ceil(math.log2(32 * max(n_train, 1)))
    return {"width": width, "buckets": min(max(buckets, 1 << 14), (1 << 21) // width)}


def named(name: str, spec: InputSpec, target: TargetSpec) -> Recipe | None:
    """The recipe of this name; None where there is none that fits these inputs and this task.

    >>> from netwright.core.spec import ImageField
    >>> spec = InputSpec(kind="image", fields=(ImageField(height=28, width=28),))
    >>> digits = TargetSpec(name="digit", task="classes", classes=("0", "1", "2"), priors=(0.3, 0.3, 0.4))
    >>> named("lenet5-1998", spec, digits).loss, named("residual-conv", spec, digits)
    ('reject-cross-entropy', None)
    """
    if name not in RECIPES or not RECIPES[name].fits(kind=spec.kind, task=target.task):
        return None
    recipe: Recipe = RECIPES[name].load()()
    return recipe


def design(spec: InputSpec, target: TargetSpec, n_train: int) -> tuple[Recipe, str]:
    """A recipe for the kind of input, the task and the number of training rows, and the reason in one line.

    Tables: the batch is the largest power of two up to 2 sqrt(rows), held to [16, 512]; width and depth grow with them too, so
    that the network can be overparametrised first and regularised afterwards; small tables get small embeddings of numbers.
    """
    fitting = [e for e in RECIPES.values() if e.fits(kind=spec.kind, task=target.task)]
    if not fitting:
        raise UsageError(f"no recipe fits {spec.kind!r} inputs with the task {target.task!r}")
    batch_size = 2 ** max(4, min(9, int(math.log2(2 * math.sqrt(max(n_train, 1))))))
    if spec.kind in ("series", "audio"):
        recipe: Recipe = fitting[0].load()()
        recipe = recipe.with_training(batch_size=min(batch_size, recipe.training.batch_size))
    elif spec.kind in ("image", "text", "volume"):
        size = _text_size(target, n_train) if spec.kind == "text" else {}
        recipe = fitting[0].load()(**size)
        few = (
            max(batch_size // 2, 8) if spec.kind == "text" else batch_size
        )  # a few hundred steps learn a text by heart
        recipe = recipe.with_training(batch_size=min(few, recipe.training.batch_size))
    elif spec.kind == "tree":
        recipe = fitting[0].load()(width=64 if n_train < 5_000 else 128)
        recipe = recipe.with_training(batch_size=min(64, batch_size))
    else:
        width, depth = (64, 2) if n_train < 1_000 else (128, 3) if n_train < 200_000 else (256, 3)
        recipe = fitting[0].load()(width=width, depth=depth).with_training(batch_size=batch_size)
    if spec.numbers and "number_dim" in recipe.defaults:
        recipe = recipe.with_options(number_dim=8 if n_train < 10_000 else 24)
    shape = ", ".join(f"{name} {recipe.options[name]}" for name in ("width", "depth") if name in recipe.options)
    what = "a number" if target.is_number else f"{len(target.classes)} classes"
    reason = (
        f"{recipe.template} of {shape}: {n_train:,} training rows, {_inputs(spec)} in, "
        f"{what} out; {recipe.loss} owns the link; batches of {recipe.training.batch_size}"
    )
    return recipe, reason


def asked_for(name: str, spec: InputSpec, target: TargetSpec, n_train: int) -> tuple[Recipe, str]:
    """The recipe of this name, or the designed one with the template of this name, and the reason in one line.

    Raises:
        UsageError: there is neither.
    """
    recipe = named(name, spec, target)
    if recipe is None:
        designed, _ = design(spec, target, n_train)
        recipe = designed.model_copy(update={"template": TEMPLATES[name].name, "options": {}})
    return recipe, (
        f"{recipe.template} was asked for: {n_train:,} training rows, {_inputs(spec)} in; {recipe.loss} owns the link; batches of "
        f"{recipe.training.batch_size}"
    )


def alternatives(recipe: Recipe, spec: InputSpec) -> list[Recipe]:
    """Other recipes that suit the same rows as well, as far as anybody knows beforehand: those of `TRIED` for this kind of rows.

    >>> from netwright.core.spec import TextField
    >>> spec = InputSpec(kind="text", fields=(TextField(words=("a",), chars="a", n_words=3, n_chars=9),))
    >>> [r.template for r in alternatives(text_classifier(), spec)]
    ['word-conv', 'char-conv']
    """
    others = [name for name in TRIED.get(spec.kind, ()) if name != recipe.template]
    return [recipe.model_copy(update={"template": name, "options": {}}) for name in others]


def _inputs(spec: InputSpec) -> str:
    """What goes in, in words."""
    images = [f"{f.height} x {f.width} images" + (" in colour" if f.channels == 3 else "") for f in spec.images]
    parts = [f"{len(spec.numbers)} numbers"] * bool(spec.numbers)
    parts += [f"{len(spec.categories)} categories"] * bool(spec.categories)
    parts += images
    parts += [f"volumes of {f.depth} x {f.height} x {f.width}" for f in spec.wholes if isinstance(f, VolumeField)]
    parts += [f"sets of up to {f.n_elements:,} elements" for f in spec.wholes if isinstance(f, SetField)]
    parts += [f"trees of up to {f.n_nodes:,} nodes" for f in spec.wholes if isinstance(f, TreeField)]
    parts += [f"texts of up to {f.n_words} words ({f.cut_words:.1%} have more)" for f in spec.texts]
    parts += [_of_series(f) for f in spec.wholes if isinstance(f, SeriesField)]
    parts += [_of_sounds(f) for f in spec.wholes if isinstance(f, AudioField)]
    return " and ".join(parts) or "vectors"


def _of_series(field: SeriesField) -> str:
    span = f"{field.n_steps:,}" if field.shortest == field.n_steps else f"{field.shortest:,} to {field.n_steps:,}"
    return f"series of {span} steps" + (f" in {field.channels} channels" if field.channels > 1 else "")


def _of_sounds(field: AudioField) -> str:
    return f"sounds of up to {field.n_steps / field.rate:.2g} s at {field.rate:,} samples a second"
