"""Explanations of images: on networks that look at a known place the largest weights must lie there, and sums must add up."""

from __future__ import annotations

import base64
import copy
import io
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import netwright as nw
from netwright.core.finding import Finding
from netwright.core.seed import numpy_generator
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.explain.columns import columns_of
from netwright.explain.drawn import drawn_rows
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.images import places
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject, fit
from netwright.nn.ensemble import Ensemble
from netwright.recipes.recipe import Recipe
from netwright.report.pictures import sheet
from netwright.train.settings import Training
from netwright.workflow.probing import fitting, load_subject

SIDE = 12
PLACE = (slice(2, 5), slice(7, 10))
"""Where the class is shown."""
BOTH = ("occlusion", "integrated-gradients")


class Spot(nn.Module):
    """The mean brightness of `PLACE`; of two classes, the second is the more probable the brighter it is."""

    def __init__(self, name: str, task: str, channels: int = 1, side: int = SIDE) -> None:
        super().__init__()
        self.name, self.task = name, task
        weight = torch.zeros(channels, side, side)
        weight[:, *PLACE] = 1 / (9 * channels)
        self.weight = nn.Parameter(weight)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        mean = (x[self.name].float() * self.weight).sum((1, 2, 3))
        z = (mean - 128) / 20
        return mean.unsqueeze(1) if self.task == "number" else torch.stack([torch.zeros_like(z), z], 1)


def pixels_of(n: int, channels: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) with bright patches somewhere, and in those of class 1 also at `PLACE`."""
    rng = numpy_generator(seed, "spots")
    y = rng.integers(0, 2, n)
    x = rng.integers(0, 100, (n, side, side, channels))
    for i, (top, left) in enumerate(rng.integers(0, side - 3, (n, 2))):
        x[i, top : top + 3, left : left + 3] = 220
    x[:, *PLACE] = rng.integers(10, 40, (n, 3, 3, channels)) + 180 * y[:, None, None, None]
    return x.astype(np.uint8), y


def spot_data(
    task: str = "binary", n: int = 90, channels: int = 1, side: int = SIDE, wrong: int = 4, **more: Any
) -> Data:
    """Rows whose label is the class shown (in the first `wrong` test rows it is the other one), or brightness and noise."""
    x, y = pixels_of(n, channels, side)
    y = y.copy()
    y[n // 2 : n // 2 + wrong] = 1 - y[n // 2 : n // 2 + wrong]
    level = x[:, *PLACE].mean((1, 2, 3)) + numpy_generator(0, "noise").normal(size=n)
    frame = pl.DataFrame(
        {
            "picture": pl.Series("picture", x[..., 0] if channels == 1 else x),
            **more,
            "y": level if task == "number" else y,
        }
    )
    split = dict(zip(PARTS, np.split(np.arange(n), [n // 3, n // 2]), strict=True))
    kinds = {"picture": "image", **{name: "text" if v.dtype == pl.String else "number" for name, v in more.items()}}
    train = frame[split["train"]]
    return Data(frame, fit_inputs(train, kinds), fit_target(train["y"], task), split)  # type: ignore[arg-type]


def spot_subject(task: str = "binary", **how: Any) -> Subject:
    data = spot_data(task, **how)
    net = Spot("picture", task, how.get("channels", 1), how.get("side", SIDE)).eval()
    loss = SquaredError() if task == "number" else CrossEntropy()
    return Subject(model=Model(net, data.spec, data.target, loss), data=data)


def mixed_subject() -> Subject:
    """A network of ours (not trained) on an image, a text and a number."""
    rng = numpy_generator(0, "mixed")
    words = ["one two three", "three four", "", "two two"]
    more = {"text": pl.Series("text", rng.choice(words, 90)), "a": pl.Series("a", rng.normal(size=90))}
    data = spot_data(**more)
    assert data.spec.kind == "table"
    recipe = Recipe(name="small", template="residual-mlp", options={"width": 8, "depth": 1}, loss="cross-entropy")
    net = recipe.build(data.spec, data.target, 0).eval()
    return Subject(model=Model(net, data.spec, data.target, recipe.make_loss(data.target), recipe), data=data)


def foreign(layout: str, dtype: str) -> Subject:
    """Somebody's module on images in their own layout and type."""
    x, y = pixels_of(60, 3, SIDE)
    given = torch.from_numpy(x if layout == "NHWC" else np.moveaxis(x, -1, 1).copy())
    given = given if dtype == "uint8" else given / 255

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spot = Spot("x", "binary", 3)

        def forward(self, images: Tensor) -> Tensor:
            images = images.movedim(-1, 1) if layout == "NHWC" else images
            return self.spot({"x": images.float() * (1 if dtype == "uint8" else 255)})

    return load_subject(Theirs(), given, torch.from_numpy(y), loss="cross-entropy", kind="image")


SUBJECTS = {
    "classes": lambda: spot_subject(),
    "numbers": lambda: spot_subject("number"),
    "colours": lambda: spot_subject(channels=3),
    "large": lambda: spot_subject(side=50, n=24),
    "mixed": mixed_subject,
    "foreign floats": lambda: foreign("NCHW", "float"),
    "foreign bytes, channels last": lambda: foreign("NHWC", "uint8"),
}


def ask(name: str, subject: Subject, seconds: float = 60.0, **options: Any) -> Finding:
    found: Finding = EXPLANATIONS[name].load()(subject, budget_seconds=seconds, seed=0, **options)
    return found


def heats(finding: Finding) -> np.ndarray:
    """(pictures, H, W)."""
    return np.array([p.heat for p in finding.figures[0].pictures])


def inside(heat: np.ndarray, margin: int = 0) -> bool:
    """Whether the largest weight lies at `PLACE`, or so close to it that a patch that is put there touches it."""
    at = np.unravel_index(np.abs(heat).argmax(), heat.shape)
    return all(p.start - margin <= i < p.stop + margin for i, p in zip(at, PLACE, strict=True))


# The planted place


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", ["classes", "numbers", "colours", "foreign floats", "foreign bytes, channels last"])
def test_the_largest_weights_lie_where_the_network_looks(kind: str, name: str) -> None:
    found = ask(name, SUBJECTS[kind](), rows=5)
    assert len(heats(found)) >= 5
    assert all(inside(heat, margin=1 if name == "occlusion" else 0) for heat in heats(found))
    where = np.array(found.figures[1].series[0].z)
    assert where.shape == (SIDE, SIDE) and inside(where)


@pytest.fixture(scope="module")
def trained() -> Subject:
    """A network of ours, twice from other starts, that has learned what is shown where."""
    data = spot_data(n=400, wrong=0)
    training = Training(epochs=8, batch_size=16, learning_rate=3e-3)
    recipe = Recipe(
        name="small", template="residual-conv", options={"width": 4}, loss="cross-entropy", training=training
    )
    models = [fit(recipe, data, seed=seed, metric="log-loss")[0] for seed in (0, 1)]
    net = Ensemble([m.module for m in models]).eval()
    both = Model(net, data.spec, data.target, models[0].loss, recipe.model_copy(update={"members": 2}))
    assert (both.predict_encoded(data.block("test").x).argmax(1) == data.y("test")).mean() > 0.9
    return Subject(model=both, data=data)


@pytest.mark.parametrize("name", BOTH)
def test_trained_networks_that_answer_together_look_at_the_place_too(trained: Subject, name: str) -> None:
    where = np.array(ask(name, trained, rows=8).figures[1].series[0].z)
    assert inside(where, margin=1) and where[PLACE].mean() > 3 * where.mean()


# Occlusion


@pytest.mark.parametrize(("length", "side"), [(28, 4), (12, 2), (12, 5), (224, 32), (3, 5), (1, 1), (100, 1), (7, 7)])
def test_patches_cover_everything_that_fourteen_places_can_cover(length: int, side: int) -> None:
    starts = places(length, side)
    assert starts[0] == 0 and starts == sorted(set(starts)) and len(starts) <= 14
    assert starts[-1] == max(length - side, 0)
    covered = {p for start in starts for p in range(start, start + side)}
    assert covered >= set(range(length)) or 14 * side < length


@pytest.mark.parametrize("task", ["number", "binary"])
def test_the_fall_of_a_pixel_is_the_mean_over_the_patches_that_cover_it(task: str) -> None:
    subject = spot_subject(task)
    model, field = subject.need("model"), subject.need("data").spec.images[0]
    drawn, side = drawn_rows(subject, "occlusion", 0, right=2, wrong=1), 3
    found = heats(ask("occlusion", subject, patch=side, rows=2))
    image = drawn.batch.x["picture"][0]
    falls: dict[tuple[int, int], list[float]] = {}
    for top in places(SIDE, side):
        for left in places(SIDE, side):
            covered = image.clone()
            covered[:, top : top + side, left : left + side] = round(field.center[0])
            said = model.predict_encoded({"picture": covered[None]})[0]
            fall = float(drawn.answer[0] - (said if task == "number" else said[drawn.chosen[0]]))
            for pixel in np.ndindex(side, side):
                falls.setdefault((top + pixel[0], left + pixel[1]), []).append(fall)
    expected = [[np.mean(falls[i, j]) for j in range(SIDE)] for i in range(SIDE)]
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


def test_covering_the_place_counts_as_much_as_the_answer_falls() -> None:
    found = ask("occlusion", spot_subject("number", n=60), patch=3)
    level = [float(p.caption.rsplit("said ")[1]) for p in found.figures[0].pictures]
    mean = round(spot_data("number", n=60).spec.images[0].center[0])
    assert found.measured["largest_fall"] <= max(level) - mean + 0.5
    assert found.measured["patch_pixels"] == 3 and "a patch of 3 x 3 pixels" in found.title


# Integrated gradients


def test_pixels_that_are_not_looked_at_are_worth_exactly_nothing_and_all_worths_add_up() -> None:
    subject = spot_subject()
    model, field = subject.need("model"), subject.need("data").spec.images[0]
    found = ask("integrated-gradients", subject, steps=64)
    drawn = drawn_rows(subject, "integrated-gradients", 0)
    mean = torch.full((1, 1, SIDE, SIDE), field.center[0])
    base = model.predict_encoded({"picture": mean})[0]
    for heat, answer, chosen in zip(heats(found), drawn.answer, drawn.chosen, strict=True):
        outside = heat.copy()
        outside[PLACE] = 0
        assert not outside.any() and heat.sum() == pytest.approx(answer - base[chosen], abs=2e-3)
    assert float(found.measured["completeness_error"] or 0) < 1e-3


def test_the_worths_of_a_linear_network_are_weights_times_differences_in_its_unit() -> None:
    subject = spot_subject("number")
    found, drawn = ask("integrated-gradients", subject), drawn_rows(subject, "integrated-gradients", 0)
    pixels = drawn.batch.x["picture"][:, 0].double().numpy()
    weight = subject.need("model").module.weight[0].detach().numpy()
    expected = weight * (pixels - subject.need("data").spec.images[0].center[0])
    np.testing.assert_allclose(heats(found), expected, atol=1e-4)
    assert "the predicted y" in found.title


def test_few_steps_miss_the_sum_and_the_finding_measures_it() -> None:
    subject = spot_subject()
    subject.need("model").module.weight.data.mul_(8)
    few, many = (ask("integrated-gradients", subject, steps=s).measured["completeness_error"] for s in (2, 200))
    assert float(few or 0) > 20 * float(many or 0)


@pytest.mark.parametrize("how", ["rounded", "cut", "whole numbers only"])
def test_a_network_without_a_gradient_is_not_asked_for_one(how: str) -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spot, self.table = Spot("x", "binary"), nn.Embedding(256, 2)

        def forward(self, x: Tensor) -> Tensor:
            if how == "whole numbers only":
                return self.table(x[:, 0, 3, 8].int() if not x.is_floating_point() else x[:, 0, 3, 8])
            return self.spot({"x": x.long().float() if how == "rounded" else x.detach()})

    x, y = pixels_of(40, 1, SIDE)
    images = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    subject = load_subject(Blind(), images, torch.from_numpy(y), loss="cross-entropy", kind="image")
    found = ask("integrated-gradients", subject)
    assert found.verdict == "info" and found.title.startswith("not applicable: no gradient")
    assert ask("occlusion", subject, rows=2).figures


# Laws


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", SUBJECTS)
def test_an_explanation_repeats_itself_leaves_all_as_it_was_and_can_be_shown(kind: str, name: str) -> None:
    subject = SUBJECTS[kind]()
    model, block = subject.need("model"), subject.need("data").block("test")
    before, rows = copy.deepcopy(model.module.state_dict()), {k: v.clone() for k, v in block.x.items()}
    state = torch.get_rng_state()
    found = ask(name, subject, rows=3)
    assert torch.equal(torch.get_rng_state(), state) and all(torch.equal(block.x[k], v) for k, v in rows.items())
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.module.parameters()) and not model.module.training
    assert ask(name, subject, rows=3) == found and found.probe == name and found.family == "explain"
    assert Finding.model_validate_json(found.model_dump_json()) == found
    assert np.isfinite(heats(found)).all() and heats(found).shape[1] <= 32
    field = model.spec.images[0]
    for picture in found.figures[0].pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture.png))).size == (field.width, field.height)
    assert sheet(found.figures[0], "f").count("<img") == len(found.figures[0].pictures)


@pytest.mark.parametrize("name", BOTH)
def test_right_rows_come_first_then_the_wrong_ones_that_the_network_is_most_sure_of(name: str) -> None:
    subject = spot_subject(wrong=6)
    found = ask(name, subject, rows=3)
    assert [p.mark for p in found.figures[0].pictures] == ["good"] * 3 + ["bad"] * 3
    p = subject.need("model").predict_encoded(subject.need("data").block("test").x)
    sure = sorted(p.max(1)[p.argmax(1) != subject.need("data").y("test")], reverse=True)
    drawn = drawn_rows(subject, name, 0, right=3, wrong=3)
    np.testing.assert_array_equal(drawn.answer[3:], sure[:3])
    for picture, chosen in zip(found.figures[0].pictures, drawn.chosen, strict=True):
        said = str(1 - chosen) if picture.mark == "bad" else str(chosen)
        assert picture.caption.startswith(f"true {said}, said {chosen}")


@pytest.mark.parametrize("name", BOTH)
def test_little_time_means_few_images_and_the_title_says_so(name: str) -> None:
    found = ask(name, spot_subject(), seconds=0.0, rows=3)
    assert len(found.figures[0].pictures) == 1 and "out of time after 1 of 6 images" in found.title


@pytest.mark.parametrize("name", BOTH)
def test_an_unknown_link_makes_them_not_applicable(name: str) -> None:
    x, y = pixels_of(30, 1, SIDE)
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))
    images = torch.from_numpy(np.moveaxis(x, -1, 1) / 255).float()
    subject = load_subject(net, images, torch.from_numpy(y), loss=nn.functional.cross_entropy, kind="image")
    assert ask(name, subject).title.startswith("not applicable")


def test_images_of_one_pixel_and_networks_that_are_always_right_are_explained() -> None:
    x = torch.linspace(0, 1, 20).reshape(20, 1, 1, 1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
    for y in (x.flatten().double(), net(x).detach().flatten().double()):
        subject = load_subject(net, x, y, loss="squared-error", kind="image")
        for name in BOTH:
            assert ask(name, subject).figures[0].pictures


# The public door, and tables


def test_a_foreign_network_of_images_goes_through_explain() -> None:
    x, y = pixels_of(40, 1, SIDE)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2))
    images = np.moveaxis(x, -1, 1) / np.float32(255)
    found = nw.explain(net, images, y, loss="cross-entropy", kind="image", budget_seconds=20)
    assert [f.probe for f in found] == [*BOTH, "filters", "shifts"]
    model = nw.Model.wrap(net, loss="cross-entropy", x=images, y=y, kind="image")
    assert [f.title for f in nw.explain(model, images, y, budget_seconds=20)] == [f.title for f in found]


@pytest.mark.slow
def test_a_table_with_images_and_texts_is_asked_everything_and_each_column_is_shuffled_whole() -> None:
    subject = mixed_subject()
    of_other_networks = {"attention", "gates", "gradient-over-time"}
    of_other_rows = {"filters-in-time", "filters-of-volumes", "shifts-in-time"}
    asked = [name for name in EXPLANATIONS if name not in of_other_networks | of_other_rows]
    assert [e.name for e in fitting(EXPLANATIONS, subject)] == asked
    for name in asked:
        found = ask(name, subject, seconds=3.0)
        assert Finding.model_validate_json(found.model_dump_json()) == found
    x, order = subject.need("data").block("test").x, torch.randperm(45, generator=torch.Generator().manual_seed(0))
    moved = {"picture": {"picture"}, "text": {"text:words", "text:chars"}, "a": {"numbers"}}
    for column in columns_of(subject.need("model").spec):
        shuffled = column.shuffled(x, order)
        for name, tensor in x.items():
            expected = tensor[order] if name in moved[column.name] else tensor
            assert torch.equal(shuffled[name], expected), (column.name, name)
