"""Estimators on images and texts: every usual way to hold them, one network; templates that are plain modules; good refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.model_selection import cross_val_score
from torch import Tensor, nn

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import FIRST_ID, ImageField, InputSpec, NumberField, TargetSpec
from netwright.data.arrays import column_of, layout_of
from netwright.estimators.classifier import Classifier
from netwright.estimators.regressor import Regressor
from netwright.model import Model
from netwright.recipes.by_rule import passes
from netwright.recipes.custom import OneTensor

QUICK: dict[str, Any] = {"epochs": 8, "random_state": 0, "options": {"width": 8}}


def make_images(n: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey images 12 x 12 with a bright patch; which half it is in decides the class."""
    rng = numpy_generator(seed, "images")
    x, below = rng.integers(0, 80, (n, 12, 12)).astype(np.uint8), rng.integers(0, 2, n)
    for image, at in zip(x, rng.integers(0, 3, n) + 5 * below, strict=True):
        image[at : at + 4, 4:8] = 220
    return x, np.array(["above", "below"])[below]


def make_texts(n: int = 160, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """A few random words, one of which decides the class."""
    rng = numpy_generator(seed, "texts")
    y = rng.integers(0, 2, n)
    some = ["the", "a", "film", "plot", "actor", "scene", "slow", "fast", "blue", "green", "chair", "story"]
    rows = [[*rng.choice(some, rng.integers(3, 8)), ("awful", "superb")[k]] for k in y]
    return [" ".join(rng.permutation(row)) for row in rows], np.array(["bad", "good"])[y]


IMAGES, SIDES = make_images()
TEXTS, MOODS = make_texts()


@pytest.fixture(scope="module")
def of_images() -> Classifier:
    return Classifier(**QUICK).fit(IMAGES, SIDES)


@pytest.fixture(scope="module")
def of_texts() -> Classifier:
    return Classifier(random_state=0, epochs=20).fit(TEXTS, MOODS)


# --- images -----------------------------------------------------------------------------------------------------------


def test_images_are_learned_from_raw_pixels(of_images: Classifier) -> None:
    x, y = make_images(seed=1)
    assert of_images.score(x, y) > 0.95
    assert of_images.predict_proba(x).shape == (160, 2) and set(of_images.predict(x)) == {"above", "below"}
    spec = of_images.model_.spec
    assert spec.kind == "image" and spec.images[0].shape == (1, 12, 12) and spec.images[0].dtype == "uint8"
    assert of_images.n_features_in_ == 1 and not hasattr(of_images, "feature_names_in_")


@pytest.mark.parametrize(
    "held",
    [
        lambda x: x[..., None],
        lambda x: x[:, None],
        lambda x: x.astype(np.int64),
        torch.tensor,
        lambda x: torch.tensor(x)[:, None],
        list,
        lambda x: [torch.tensor(image) for image in x],
        lambda x: [Image.fromarray(image) for image in x],
        lambda x: pl.Series("any name", x),
        lambda x: pl.DataFrame({"picture": x}),
    ],
)
def test_the_same_images_are_the_same_rows_however_they_are_held(
    of_images: Classifier, held: Callable[[np.ndarray], Any]
) -> None:
    assert (of_images.predict_proba(held(IMAGES)) == of_images.predict_proba(IMAGES)).all()


def test_colour_may_stand_first_or_last() -> None:
    x = np.stack([IMAGES, IMAGES // 2, 255 - IMAGES], 3)
    net = Classifier(**{**QUICK, "epochs": 2}).fit(x, SIDES)
    assert net.model_.spec.images[0].shape == (3, 12, 12)
    for other in (x.transpose(0, 3, 1, 2), torch.tensor(x).permute(0, 3, 1, 2), [Image.fromarray(i) for i in x]):
        assert (net.predict_proba(other) == net.predict_proba(x)).all()


def test_the_layout_of_an_array_follows_from_its_shape() -> None:
    for shape, layout in {
        (9, 8, 8): "NHW",
        (9, 3, 8, 8): "NCHW",
        (9, 1, 8, 8): "NCHW",
        (9, 8, 8, 3): "NHWC",
        (9, 8, 8, 4): "NHWC",
        (9, 3, 4, 4): "NCHW",
        (9, 4, 4, 3): "NHWC",
        (9, 3, 8, 3): "NHWC",
        (9, 8, 8, 8): None,
        (9, 8): None,
    }.items():
        assert layout_of(shape) == layout
    assert layout_of((9, 3, 8, 3), channels_first=True) == "NCHW"


@pytest.mark.slow
def test_fractions_are_pixels_too_and_a_number_can_be_told_from_an_image() -> None:
    bright = IMAGES.mean((1, 2))
    net = Regressor(random_state=1, epochs=20).fit(IMAGES / 255, bright)
    assert net.model_.spec.images[0].dtype == "float" and net.score(IMAGES / 255, bright) > 0.7
    assert net.predict_interval(IMAGES / 255).shape == (160, 2)


def test_a_model_of_images_is_saved_and_predicts_from_arrays(of_images: Classifier, tmp_path: Any) -> None:
    of_images.model_.save(tmp_path)
    again = Model.load(tmp_path)
    assert (again.predict_proba(IMAGES) == of_images.predict_proba(IMAGES)).all()
    assert (again.predict(IMAGES) == of_images.predict(IMAGES)).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([np.zeros((8, 8)), np.zeros((8, 9))], r"2 different sizes: 1 of 8 x 8, 1 of 8 x 9; resize them to one"),
        ([Image.new("L", (8, 6)), Image.new("L", (6, 8))], r"2 different sizes"),
        (np.full((4, 8, 8), 300), r"whole numbers from 300 to 300; expected 0 to 255"),
        (np.full((4, 8, 8), np.nan), r"256 pixels that are no finite number"),
    ],
)
def test_images_that_are_none_are_refused_with_advice(x: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Classifier().fit(x, [0, 1] * (len(x) // 2))


def test_an_array_of_objects_says_what_to_pass() -> None:
    x = np.empty(4, dtype=object)
    for i in range(4):
        x[i] = np.zeros((8, 8))
    with pytest.raises(DataError, match=r"4 objects, each an image of its own; pass list\(x\)"):
        Classifier().fit(x, [0, 1, 0, 1])
    assert column_of(list(x)) is not None


@pytest.mark.parametrize("x", [np.zeros((20, 3, 3)), np.zeros((20, 3, 3, 3)), np.zeros((20, 9, 9, 9)), np.zeros(20)])
def test_arrays_too_small_for_images_are_refused_as_ever(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="array"):
        Classifier().fit(x, [0, 1] * 10)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (IMAGES / 255, r"of fractions where images 12 x 12 of whole bytes were fitted"),
        (IMAGES[:, :8, :8], r"images 8 x 8 of whole bytes where images 12 x 12 of whole bytes"),
        (np.stack([IMAGES] * 3, 3), r"images 12 x 12 x 3 of whole bytes where"),
        (TEXTS, r"X holds texts, but Classifier was fitted on images"),
        (np.zeros((3, 5)), r"X holds rows of a table, but Classifier was fitted on images"),
        (pl.DataFrame({"a": [1], "b": [2]}), r"X has 2 columns, but Classifier was fitted on images"),
        (pl.DataFrame({"a": [1]}), r"X has cells of type Int64 where images 12 x 12"),
    ],
)
def test_other_rows_than_the_images_of_fit_are_refused(of_images: Classifier, x: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        of_images.predict(x)


def test_a_training_on_large_or_many_images_takes_few_passes() -> None:
    def spec(side: int) -> InputSpec:
        return InputSpec(kind="image", fields=(ImageField(height=side, width=side),))

    assert passes(spec(28), 10) == 60 and passes(spec(28), 100) == 20 and passes(spec(28), 5000) == 5
    assert passes(spec(64), 100) == 5 and passes(InputSpec(fields=(NumberField(name="a"),)), 10) == 100


# --- texts ------------------------------------------------------------------------------------------------------------


def test_texts_are_learned_and_labels_come_back(of_texts: Classifier) -> None:
    x, y = make_texts(seed=1)
    assert of_texts.score(x, y) > 0.9 and set(of_texts.predict(x)) == {"bad", "good"}
    assert of_texts.model_.spec.kind == "text" and "superb" in of_texts.model_.spec.texts[0].words


@pytest.mark.parametrize(
    "held",
    [
        np.array,
        lambda x: np.array(x, dtype=object),
        tuple,
        pd.Series,
        lambda x: pd.Series(x, dtype="category"),
        lambda x: pl.Series("review", x),
        lambda x: pl.DataFrame({"review": x}),
    ],
)
def test_the_same_texts_are_the_same_rows_however_they_are_held(
    of_texts: Classifier, held: Callable[[list[str]], Any]
) -> None:
    assert (of_texts.predict_proba(held(TEXTS)) == of_texts.predict_proba(TEXTS)).all()


def test_odd_texts_have_an_answer(of_texts: Classifier) -> None:
    odd = ["", None, "\0\0", "שלום עולם", "e\u0301" * 50, "superb " * 200_000, "🙂"]
    p = of_texts.predict_proba(odd)
    assert np.isfinite(p).all() and np.allclose(p.sum(1), 1)
    assert (p[0] == p[1]).all() and (of_texts.predict(pd.Series(odd)) == of_texts.predict(odd)).all()


@pytest.mark.slow
def test_texts_beside_numbers_go_through_one_network() -> None:
    a = numpy_generator(0, "a").normal(size=160)
    y = (np.array(MOODS) == "good") & (a > 0)
    frame = pl.DataFrame({"note": TEXTS, "a": a})
    net = Classifier(random_state=0, epochs=20).fit(frame, y)
    assert [f.kind for f in net.model_.spec.fields] == ["text", "number"] and net.model_.spec.kind == "table"
    assert net.score(frame, y) > 0.9
    assert (net.predict_proba(frame.to_pandas()) == net.predict_proba(frame)).all()


def test_images_beside_numbers_go_through_one_network() -> None:
    frame = pl.DataFrame({"scan": IMAGES, "age": np.arange(160) + 0.5})
    net = Classifier(random_state=0, epochs=2).fit(frame, SIDES)
    assert [f.kind for f in net.model_.spec.fields] == ["image", "number"]
    assert net.predict_proba(frame).shape == (160, 2)


def test_kinds_overrule_what_strings_are() -> None:
    net = Classifier(epochs=1, random_state=0, kinds={"text": "category"}).fit(["red", "blue"] * 20, [0, 1] * 20)
    assert [f.kind for f in net.model_.spec.fields] == ["category"]
    with pytest.raises(UsageError, match="no column 'txt'; did you mean 'text'"):
        Classifier(kinds={"txt": "category"}).fit(["red", "blue"] * 20, [0, 1] * 20)


@pytest.mark.parametrize("x", [IMAGES, np.zeros((3, 5)), pl.DataFrame({"a": [1.0]})])
def test_other_rows_than_the_texts_of_fit_are_refused(of_texts: Classifier, x: Any) -> None:
    with pytest.raises(UsageError, match=r"fitted on texts|where texts were fitted"):
        of_texts.predict(x)


def test_a_table_of_numbers_is_asked_for_again_where_one_was_fitted() -> None:
    net = Classifier(epochs=1, random_state=0).fit(np.arange(40.0).reshape(20, 2), [0, 1] * 10)
    for x in (TEXTS, IMAGES):
        with pytest.raises(UsageError, match="pass rows of a table again"):
            net.predict(x)
    refitted = net.fit(TEXTS, MOODS)
    assert refitted.n_features_in_ == 1 and refitted.predict(TEXTS).shape == (160,)


def test_weights_and_cross_validation_work_on_lists() -> None:
    weight = (np.arange(160) % 2).astype(float)
    one = Classifier(epochs=2, random_state=0).fit(TEXTS, MOODS, weight)
    other = Classifier(epochs=2, random_state=0).fit(TEXTS[1::2], MOODS[1::2])
    np.testing.assert_allclose(one.predict_proba(TEXTS), other.predict_proba(TEXTS), rtol=1e-5)
    assert cross_val_score(Classifier(epochs=1, random_state=0), TEXTS, MOODS, cv=2).shape == (2,)


# --- a plain module as template ---------------------------------------------------------------------------------------


class Convs(nn.Module):
    """Takes one tensor of images; `view` needs them row by row."""

    def __init__(self, channels: int = 1, n_out: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 5, stride=2)
        self.head = nn.Linear(6 * 16, n_out)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        y: Tensor = self.head(self.conv(x.view(len(x), -1).view(len(x), -1, 12, 12)).relu().flatten(1))
        return y


class Gru(nn.Module):
    """Takes one tensor of ids."""

    def __init__(self, n_ids: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_ids, 12, padding_idx=0)
        self.gru = nn.GRU(12, 12, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, ids: Tensor) -> Tensor:
        assert ids.dtype == torch.int64
        y: Tensor = self.head(self.gru(self.embed(ids))[0].amax(1))
        return y


def test_a_plain_convolutional_module_is_a_template(tmp_path: Any) -> None:
    net = Classifier(template=lambda spec, target: Convs(spec.images[0].channels), epochs=15, random_state=0)
    net.fit(IMAGES, SIDES)
    assert net.score(*make_images(seed=1)) > 0.9
    assert net.model_.recipe is not None and net.model_.recipe.template == "custom"
    net.model_.save(tmp_path)
    with pytest.raises(UsageError, match=r"pass it: nw.load\(folder, module=MyNet\(\)\)"):
        Model.load(tmp_path)
    again = Model.load(tmp_path, module=Convs())
    assert (again.predict_proba(IMAGES) == net.predict_proba(IMAGES)).all()


@pytest.mark.slow
def test_a_plain_recurrent_module_is_a_template_of_texts() -> None:
    net = Classifier(
        template=lambda spec, target: Gru(FIRST_ID + len(spec.texts[0].words)),
        epochs=30,
        learning_rate=0.02,
        random_state=0,
    ).fit(TEXTS, MOODS)
    assert net.score(TEXTS, MOODS) > 0.9


def test_a_plain_module_gets_a_standardised_table() -> None:
    rng = numpy_generator(0, "table")
    x = pl.DataFrame({"a": rng.normal(1000, 100, 200), "b": rng.normal(size=200), "c": ["x", "y"] * 100})
    x = x.with_columns(b=pl.when(pl.int_range(200) % 7 == 0).then(None).otherwise(pl.col("b")))
    y = (x["a"] - 1000) / 100 + (x["c"] == "x").cast(pl.Float64)
    net = Regressor(template=lambda spec, target: nn.LazyLinear(1), epochs=40, learning_rate=0.05, random_state=0)
    assert net.fit(x, y).score(x, y) > 0.95
    z = OneTensor(net.model_.spec)(net.model_.encode(x))
    assert z.shape == (200, 4) and z.isfinite().all() and abs(float(z[:, 0].mean())) < 0.3
    assert set(z[:, 2:].sum(1).tolist()) == {1.0} and (z[::7, 1] == 0).all()


def test_a_plain_module_of_colour_gets_its_pixels_row_by_row() -> None:
    x = np.stack([IMAGES] * 3, 3)
    net = Classifier(template=lambda spec, target: Convs(spec.images[0].channels), epochs=1, random_state=0)
    assert net.fit(x, SIDES).predict(x).shape == (160,)


class Mapped(nn.Module):
    """Takes the mapping of raw tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(144, 2)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.map(x["image"].float().flatten(1) / 255)
        return y


def test_a_module_that_takes_the_mapping_is_used_as_it_is() -> None:
    net = Classifier(template=lambda spec, target: Mapped(), epochs=2, random_state=0).fit(IMAGES, SIDES)
    assert isinstance(net.model_.module, Mapped) and net.model_.module.training is False


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("make", "rows", "message"),
    [
        (
            lambda spec, target: nn.Linear(5, 2),
            IMAGES,
            r"with the mapping \{'image': \(2, 1, 12, 12\) uint8\}: TypeError",
        ),
        (
            lambda spec, target: nn.Linear(5, 2),
            IMAGES,
            r"with one tensor .* float32, standardised pixels: RuntimeError",
        ),
        (lambda spec, target: Convs(n_out=3), IMAGES, r"returned the shape \(2, 3\), expected \(2, 2\)"),
        (lambda spec, target: Pair(), IMAGES, r"it returned a tuple, not a tensor"),
        (lambda spec, target: nn.Linear(5, 2), TEXTS, r"int64, ids of words: RuntimeError"),
        (
            lambda spec, target: Convs(),
            pl.DataFrame({"scan": IMAGES, "age": np.arange(160) + 0.5}),
            r"'scan' \(image\), 'age' \(number\) do not go into one tensor",
        ),
    ],
)
def test_a_module_that_cannot_be_called_is_refused_with_both_reasons(
    make: Callable[[InputSpec, TargetSpec], nn.Module], rows: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Classifier(template=make, epochs=1).fit(rows, SIDES)
    assert "with the mapping" in str(caught.value) and "with one tensor" in str(caught.value)
    assert "return a tensor with 2 outputs a row, one for each class" in str(caught.value)


def test_a_template_for_other_rows_is_refused_with_those_that_fit() -> None:
    with pytest.raises(UsageError, match=r"'linear' is made for .* of kind image; fitting are: residual-mlp"):
        Classifier(template="linear").fit(IMAGES, SIDES)
    with pytest.raises(UsageError, match=r"'word-conv' is made for inputs of kind .* with text"):
        Classifier(template="word-conv").fit(np.arange(40.0).reshape(20, 2), [0, 1] * 10)
