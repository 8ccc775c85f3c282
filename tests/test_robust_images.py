"""Attacks on images: exact projections, closed forms of linear networks, whole pixels, and a shell that trusts nobody."""

from __future__ import annotations

import base64
import io
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.spec import CategoryField, ImageField, InputSpec, NumberField, TargetSpec, TextField, VectorField
from netwright.data.data import Data
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.robust import attacks
from netwright.robust.box import Box
from netwright.robust.entries import ATTACKS
from netwright.robust.pictures import amplification
from netwright.robust.shell import curve, evaluate, together
from netwright.robust.threat import Threat

SHAPE = (1, 4, 4)
CLASSES = TargetSpec(name="y", task="binary", classes=("off", "on"), priors=(0.5, 0.5))
CORES = {"fgsm": attacks.fgsm, "pgd": partial(attacks.pgd, steps=20, restarts=1), "noise": attacks.noise}


class Linear(nn.Module):
    """Two outputs that are linear in raw pixels. Remembers the types in which pixels came."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.tensor(bias, dtype=weight.dtype))
        self.seen: set[torch.dtype] = set()

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        self.seen.add(x["image"].dtype)
        lead = x["image"].to(self.weight.dtype).flatten(1) @ self.weight + self.bias
        return torch.stack([-lead, lead], 1) / 100


def image_spec(
    dtype: str = "float", low: float = 0.0, high: float = 255.0, shape: tuple[int, ...] = SHAPE
) -> InputSpec:
    field = ImageField(channels=shape[0], height=shape[1], width=shape[2], dtype=dtype, low=low, high=high)
    return InputSpec(kind="image", fields=(field,))


def linear_case(
    seed: int, dtype: str = "float", low: float = 0.0, high: float = 255.0, n: int = 80
) -> tuple[Model, dict[str, Tensor], Tensor, Tensor, Tensor]:
    """A linear classifier of images, images, their classes, their margins in raw pixels (all right), and the slope."""
    rng = torch.Generator().manual_seed(seed)
    spec = image_spec(dtype, low, high)
    weight = torch.randn(math.prod(SHAPE), generator=rng, dtype=torch.float64)
    x = low + (high - low) * torch.rand(n, *SHAPE, generator=rng, dtype=torch.float64)
    x = x.round().to(torch.uint8) if dtype == "uint8" else x.float()
    score = x.double().flatten(1) @ weight
    middle = float(score.sort().values[n // 2 - 1 : n // 2 + 1].mean())
    model = Model(Linear(weight, -middle).eval(), spec, CLASSES, CrossEntropy())
    lead = score - middle
    return model, {"image": x}, (lead > 0).long(), lead, weight


def best_gain(x: Tensor, slope: Tensor, low: float, high: float, eps: float) -> np.ndarray:
    """The most that a linear score can gain within ball and box: the multiplier of the ball is found by bisection."""
    room = np.where(slope.numpy() > 0, high - x.double().flatten(1).numpy(), x.double().flatten(1).numpy() - low)
    size, gains = slope.abs().numpy(), []
    for row in room:
        a, b = 0.0, 1e6
        for _ in range(60):
            t = (a + b) / 2
            a, b = (t, b) if np.linalg.norm(np.minimum(t * size, row)) < eps else (a, t)
        gains.append((np.minimum(a * size, row) * size).sum())
    return np.array(gains)


# Closed forms of a linear network


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("span", [(0.0, 255.0), (0.0, 1.0)])
def test_linf_a_linear_network_falls_exactly_where_the_closed_form_says(name, span):
    low, high = span
    model, x, y, lead, slope = linear_case(1, low=low, high=high)
    towards = -lead.sign()[:, None] * slope.sign()
    turned = []
    for eps in (2.0, 8.0, 30.0):
        moved = (x["image"].double().flatten(1) + eps * (high - low) / 255 * towards).clamp(low, high)
        worst = (lead + (moved - x["image"].double().flatten(1)) @ slope) * lead.sign()
        result = evaluate(CORES[name], model, x, y, Threat(model.spec, eps=eps))
        clear = (worst.abs() > 1e-4 * (high - low)).numpy()
        assert np.array_equal(result.success[clear], (worst < 0).numpy()[clear])
        turned.append(result.success.sum())
    assert 0 < turned[0] < turned[1] < turned[2]


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_l2_a_linear_network_falls_just_above_the_distance_to_its_boundary_and_never_below(name):
    model, x, y, lead, slope = linear_case(2, n=40)
    inside = (x["image"] * 0.2 + 100).float()  # far from black and white, so that the box does not matter
    lead = inside.double().flatten(1) @ slope + model.module.bias.item()
    y, distance = (lead > 0).long(), lead.abs() / slope.norm()
    assert distance.max() < 90
    for i in range(0, 40, 4):
        row = {"image": inside[i : i + 1]}
        below, above = (
            evaluate(CORES[name], model, row, y[i : i + 1], Threat(model.spec, eps=float(distance[i]) * f, norm="l2"))
            for f in (0.999, 1.001)
        )
        assert not below.success.any() and above.success.all()
        assert above.distance[0] <= float(distance[i]) * 1.001 * (1 + 1e-9)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("seed", range(3))
def test_l2_the_box_is_used_up_to_the_last_pixel(name, seed):
    model, x, y, lead, slope = linear_case(seed)
    for eps in (20.0, 120.0, 400.0):
        sign = torch.where(lead > 0, -1.0, 1.0)
        gain = np.concatenate(
            [best_gain(x["image"][i : i + 1], slope * sign[i], 0.0, 255.0, eps) for i in range(len(y))]
        )
        left = lead.abs().numpy() - gain
        result = evaluate(CORES[name], model, x, y, Threat(model.spec, eps=eps, norm="l2"))
        clear = np.abs(left) > (0.01 if name == "fgsm" else 0.02 * gain)
        assert np.array_equal(result.success[clear], left[clear] < 0)
        assert clear.sum() > 60 and result.success.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_whole_pixels_are_attacked_as_floats_and_judged_as_whole_pixels(norm):
    model, x, y, lead, slope = linear_case(3, "uint8")
    result = evaluate(CORES["pgd"], model, x, y, Threat(model.spec, eps=9.0 if norm == "linf" else 60.0, norm=norm))
    assert result.x["image"].dtype == torch.uint8 and 0 < result.success.sum() < len(y)
    assert model.module.seen == {torch.uint8, torch.float32}
    assert np.array_equal(model.predict_encoded(result.x), result.after)
    assert result.n_clipped == 0, "our own attacks must return allowed images"
    if norm == "linf":
        moved = (x["image"].double().flatten(1) - 9 * lead.sign()[:, None] * slope.sign()).clamp(0, 255)
        worst = (lead + (moved - x["image"].double().flatten(1)) @ slope) * lead.sign()
        assert np.array_equal(result.success, (worst < 0).numpy())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_of_the_same_size_does_less_than_an_attack(norm):
    model, x, y, _, _ = linear_case(4, n=200)
    for eps in (10.0, 25.0) if norm == "linf" else (40.0, 100.0):
        threat = Threat(model.spec, eps=eps, norm=norm)
        noise, attack = (evaluate(CORES[name], model, x, y, threat) for name in ("noise", "fgsm"))
        assert noise.accuracy > attack.accuracy + 0.1
        assert noise.distance.max() > 0.5 * eps, "noise must have about the size it is said to have"


def test_pgd_is_at_least_as_strong_as_one_step_where_a_network_bends():
    torch.manual_seed(0)
    layers = (nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    net = nn.Sequential(nn.Flatten(), *layers).double()

    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            out: Tensor = self.net((x["image"].double() - 128) / 3)
            return out

    x = {"image": torch.randint(0, 256, (200, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)}
    model = Model(Bent().eval(), image_spec("uint8"), CLASSES, CrossEntropy())
    y = torch.from_numpy(model.predict_encoded(x).argmax(1))
    for norm, sizes in (("linf", (4.0, 12.0)), ("l2", (20.0, 60.0))):
        threats = [Threat(model.spec, eps=e, norm=norm) for e in sizes]
        one, many = (curve(CORES[name], model, x, y, threats) for name in ("fgsm", "pgd"))
        assert all(m.accuracy < o.accuracy - 0.05 for o, m in zip(one, many, strict=True))
        assert all((r.distance <= e).all() for r, e in zip(many, sizes, strict=True))


def test_images_that_are_broken_by_a_smaller_change_are_not_attacked_again():
    model, x, y, _, _ = linear_case(5)
    seen: list[int] = []

    def watched(net_outputs, loss, rows, wanted, threat, *, rng):
        seen.append(len(wanted))
        return attacks.fgsm(net_outputs, loss, rows, wanted, threat, rng=rng)

    results = curve(watched, model, x, y, [Threat(model.spec, eps=e) for e in (5.0, 20.0, 60.0)])
    assert seen == [len(y), *(len(y) - int(r.success.sum()) for r in results[:-1])]
    assert seen[0] > seen[1] > seen[2]


def test_many_pixels_go_through_a_network_in_smaller_parts():
    assert together({"image": torch.zeros(5000, 1, 28, 28)}) == 1024
    assert 16 <= together({"image": torch.zeros(3, 3, 512, 512)}) < 20
    assert together({"image": torch.zeros(5000, 1, 28, 28)}, values=200_000) == 255
    model, x, y, _, _ = linear_case(8, n=40)
    results, seen = [], list[int]()
    for size in (None, 7):

        def watched(net_outputs, loss, rows, *rest, **options):
            seen.append(len(rows["image"]))
            return CORES["pgd"](net_outputs, loss, rows, *rest, **options)

        results.append(evaluate(watched, model, x, y, Threat(model.spec, eps=8.0), batch_size=size))
    assert seen == [40, 7, 7, 7, 7, 7, 5]
    assert np.array_equal(results[0].success, results[1].success)


# The shell does not trust the core


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_without_a_bound_is_held_to_it(norm):
    model, x, y, _, slope = linear_case(6, "uint8")

    def cheat(net_outputs, loss, rows, wanted, threat, *, rng):
        return {
            "image": rows["image"].float() + 1e4 * (1 - 2.0 * wanted)[:, None, None, None] * slope.view(SHAPE).float()
        }

    threat = Threat(model.spec, eps=5.0, norm=norm)
    result = evaluate(cheat, model, x, y, threat)
    assert (threat.distance(result.x, x) <= 5.0).all() and result.n_clipped == len(y)
    assert result.success.sum() < len(y) / 2


def test_no_row_counts_whose_distance_exceeds_eps_even_where_the_projection_fails(monkeypatch):
    model, x, y, _, slope = linear_case(7, "uint8")
    monkeypatch.setattr(Box, "clip", lambda box, point: point.round().clamp(0, 255))

    def cheat(net_outputs, loss, rows, wanted, threat, *, rng):
        return {
            "image": rows["image"].float() + 1e4 * (1 - 2.0 * wanted)[:, None, None, None] * slope.view(SHAPE).float()
        }

    result = evaluate(cheat, model, x, y, Threat(model.spec, eps=5.0, norm="l2"))
    assert not result.success.any() and result.distance.max() == 0


# Units


def test_sizes_of_pixels_are_counted_in_grey_levels_and_said_so():
    unit, raw = Threat(image_spec(high=1.0), eps=8), Threat(image_spec("uint8"), eps=1)
    assert unit.unit == "grey levels" and unit.words == "every pixel may move by 8 grey levels of 255"
    assert raw.words == "every pixel may move by 1 grey level of 255"
    assert (
        Threat(image_spec(), eps=128, norm="l2").words
        == "an image may move by 128 grey levels of 255 in Euclidean norm"
    )
    x = {"image": torch.full((1, *SHAPE), 0.5)}
    moved = unit.boxes(x)["image"].far(torch.ones(1, *SHAPE))
    assert torch.allclose(moved, torch.tensor(0.5 + 8 / 255), atol=1e-6)


MIXED = InputSpec(
    fields=(
        NumberField(name="size", low=0.0, high=9.0, scale=2.0),
        CategoryField(name="colour", categories=("red", "blue")),
        ImageField(name="photo", height=4, width=4),
        TextField(name="words", words=("a",), chars="a", n_words=3, n_chars=9),
    )
)


def mixed_rows(n: int = 6) -> dict[str, Tensor]:
    return {
        "numbers": torch.full((n, 1), 4.0, dtype=torch.float64),
        "codes": torch.ones(n, 1, dtype=torch.int64),
        "photo": torch.full((n, 1, 4, 4), 100, dtype=torch.uint8),
        "words:words": torch.ones(n, 3, dtype=torch.int32),
        "words:chars": torch.ones(n, 9, dtype=torch.int32),
    }


def test_in_a_table_with_images_one_size_moves_numbers_or_pixels_and_never_both():
    x = mixed_rows()
    far = {name: tensor + 3 for name, tensor in x.items()}
    for on, tensor in ((None, "numbers"), ("numbers", "numbers"), ("pixels", "photo")):
        threat = Threat(MIXED, eps=1.0, on=on)
        point = threat.project(far, x)
        assert [name for name in x if not torch.equal(point[name], x[name])] == [tensor]
        assert threat.unit == ("grey levels" if tensor == "photo" else "spreads")
        assert (threat.distance(point, x) == 1.0).all()
    two = InputSpec(fields=(MIXED["photo"], MIXED["colour"]))
    assert Threat(two, eps=1.0).moved == "pixels"
    assert not Threat(MIXED, eps=1.0, on="pixels", immutable=("photo",)).boxes(x)


def test_plain_tensors_can_be_attacked_within_a_ball_too():
    spec = InputSpec(kind="vector", fields=(VectorField(name="x", shape=(3,), scale=2.0),))
    x = {"x": torch.zeros(1, 3)}
    point = Threat(spec, eps=0.5, norm="l2").project({"x": torch.tensor([[3.0, 4.0, 0.0]])}, x)["x"]
    assert point.tolist()[0] == pytest.approx([0.6, 0.8, 0.0])


# The probes


def subject(model: Model, x: dict[str, Tensor], y: Tensor) -> Subject:
    return Subject(model=model, data=Data.from_tensors(x, y, model.spec, model.target))


def probe(name: str, some: Subject, **options: Any) -> Finding:
    entry = ATTACKS[name]
    return entry.load()(some, budget_seconds=30, **{"seed": 0, **entry.options, **options})


@pytest.fixture(scope="module")
def linear_subject() -> Subject:
    return subject(*linear_case(8, "uint8", n=60)[:3])


IMAGE_ATTACKS = [entry.name for entry in ATTACKS.values() if entry.fits(kind="image", task="binary")]
"""All that can be asked about images."""


def test_images_have_four_attacks_and_none_of_tables_or_texts():
    assert IMAGE_ATTACKS == ["fgsm", "pgd", "fgsm-l2", "pgd-l2"]


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_every_attack_on_images_gives_a_curve_its_control_and_a_sheet_of_pictures(name, linear_subject):
    found = probe(name, linear_subject)
    assert found.probe == name and found.verdict in ("info", "warn") and "grey levels of 255" in found.title
    assert found.measured["judged_size_grey_levels"] == (128 if "l2" in name else 8)
    assert ("norm" in found.measured) == ("l2" in name)
    table, examples = found.tables
    scores = [row[1] for row in table.rows]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1.0 > scores[-1]
    assert table.columns[0] == "change (grey levels)" and "(grey levels)" in found.figures[0].x_label
    noise = found.figures[0].series[1].y
    assert all(n >= s for n, s in zip(noise, scores, strict=True)) and sum(noise) > sum(scores)
    sheet = found.figures[1]
    assert sheet.kind == "pictures" and len(sheet.pictures) == 3 * len(examples.rows) > 0


def pixels_of(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))).astype(int)


def test_the_sheet_shows_the_image_the_changed_one_and_their_difference_and_says_what_the_model_says(linear_subject):
    found = probe("pgd", linear_subject, eps=(8,))
    block, model, sheet = linear_subject.data.block("test"), linear_subject.model, found.figures[1]
    for k, row in enumerate(found.tables[1].rows):
        as_it_is, changed, difference = sheet.pictures[3 * k : 3 * k + 3]
        was, now = pixels_of(as_it_is.png), pixels_of(changed.png)
        assert np.array_equal(was, block.x["image"][int(row[0]), 0].numpy())
        assert 0 < np.abs(now - was).max() <= 8
        times = float(difference.caption.split("x ")[1])
        assert times == 15 == amplification(np.array([8.0]))
        assert np.abs(pixels_of(difference.png) - (127.5 + times * (now - was))).max() <= 0.5
        says = model.predict_encoded({"image": torch.tensor(now, dtype=torch.uint8)[None, None]})[0]
        assert model.target.classes[says.argmax()] == row[4] != row[1] == row[2]
        assert row[5] == pytest.approx(says.max()) and f"{row[4]} ({row[5]:.1%}".replace("%", " %") in changed.caption
        assert f"true {row[1]}" in as_it_is.caption and (as_it_is.mark, changed.mark) == ("good", "bad")
    assert "15 times" in sheet.caption


def test_colour_images_in_floats_and_a_number_as_target_are_shown_too():
    rng = torch.Generator().manual_seed(0)
    spec = image_spec(low=-1.0, high=1.0, shape=(3, 4, 4))
    weight = torch.randn(48, generator=rng)
    net = nn.Module()
    net.forward = lambda x: (x["image"].flatten(1) @ weight)[:, None]  # type: ignore[method-assign]
    x = {"image": torch.rand(50, 3, 4, 4, generator=rng) - 0.5}
    y = (x["image"].flatten(1) @ weight).double() + 0.1
    model = Model(net.eval(), spec, TargetSpec(name="z", task="number", unit="m"), SquaredError())
    found = probe("fgsm", subject(model, x, y), eps=(8,))
    assert found.measured["rmse_attacked"] == pytest.approx(0.1 + 8 * 2 / 255 * float(weight.abs().sum()), rel=0.01)
    assert (
        pixels_of(found.figures[1].pictures[0].png).shape == (4, 4, 3) and " m" in found.figures[1].pictures[1].caption
    )


def test_a_fragile_network_of_images_is_warned_about():
    model, x, y, lead, _ = linear_case(9, "uint8", n=60)
    near = {"image": x["image"][lead.abs() < lead.abs().median() / 4]}
    y = y[lead.abs() < lead.abs().median() / 4]
    assert len(y) > 5
    found = probe("pgd", subject(model, near, y))
    assert found.verdict == "warn" and "train with noise" in found.todo


def test_a_sturdy_one_has_no_pictures_and_no_advice():
    model, x, y, lead, _ = linear_case(10, "uint8", n=200)
    far = lead.abs() > lead.abs().median()
    found = probe("pgd", subject(model, {"image": x["image"][far]}, y[far]), eps=(1,))
    assert found.measured["accuracy_attacked"] == 1.0 and found.todo == "" and len(found.figures) == 1


def test_a_table_with_images_is_attacked_by_its_numbers_unless_pixels_are_asked_for():
    x, n = mixed_rows(40), 40
    rng = torch.Generator().manual_seed(0)
    x["photo"] = torch.randint(60, 200, (n, 1, 4, 4), generator=rng, dtype=torch.uint8)
    x["numbers"] = torch.rand(n, 1, generator=rng, dtype=torch.float64) * 9

    class Both(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            lead = (x["numbers"][:, 0] - 4.5) + (x["photo"].double().mean((1, 2, 3)) - 130) / 5
            return torch.stack([-lead, lead], 1)

    model = Model(Both().eval(), MIXED, CLASSES, CrossEntropy())
    y = torch.from_numpy(model.predict_encoded(x).argmax(1))
    numbers, pixels = (probe("pgd", subject(model, x, y), on=on) for on in (None, "pixels"))
    assert "spread" in numbers.title and len(numbers.figures) == 2 and numbers.figures[1].kind == "bar"
    assert "grey levels" in pixels.title and pixels.figures[1].kind == "pictures"
    assert 0 < numbers.measured["accuracy_attacked"] < 1 and 0 < pixels.measured["accuracy_attacked"] < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "l1"}, "norm"),
        ({"on": "pixel"}, "did you mean 'pixels'"),
        ({"eps": (0,)}, "grey levels"),
        ({"steps": 0}, "steps"),
    ],
)
def test_senseless_options_are_refused(options, words, linear_subject):
    with pytest.raises(UsageError, match=words):
        probe("pgd", linear_subject, **options)


def test_images_that_may_not_change_cannot_be_attacked(linear_subject):
    found = probe("pgd-l2", linear_subject, immutable=("image",))
    assert found.title == "not applicable: no image may change"


# Networks of other people


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_wrapped_network_is_attacked_in_its_own_layout_and_range(layout):
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(60, 3, 8, 8, generator=rng)
    weight = torch.randn(192, generator=rng)

    class Foreign(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            images = images if layout == "NCHW" else images.movedim(-1, 1)
            lead = (images - 0.5).flatten(1) @ weight
            return torch.stack([-lead, lead], 1)

    given = x if layout == "NCHW" else x.movedim(1, -1).contiguous()
    y = Foreign()(given).argmax(1)
    model = Model.wrap(Foreign(), loss="cross-entropy", x=given, y=y.numpy(), kind="image", low=0.0, high=1.0)
    data = Data.from_tensors(model.encode(given), y, model.spec, model.target)
    found = probe("fgsm", Subject(model=model, data=data), eps=(4,))
    lead = (x - 0.5).flatten(1).double() @ weight.double()
    moved = (x.flatten(1).double() - lead.sign()[:, None] * weight.double().sign() * 4 / 255).clamp(0, 1)
    stands = ((moved - 0.5) @ weight.double()) * lead.sign() > 0
    assert found.measured["accuracy_attacked"] == pytest.approx(float(stands.double().mean()))
    assert 0 < found.measured["accuracy_attacked"] < 1
