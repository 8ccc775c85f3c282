"""What a training costs: the line through times, the points of each curve, and the command that measures them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import linregress, t

from commandline import call, refused, unchanged
from conftest import TinyRun, make_frame
from netwright.core.files import read_json, write_json
from netwright.core.seed import numpy_generator
from netwright.core.spec import ImageField, InputSpec, TargetSpec
from netwright.data.data import Data
from netwright.recipes.recipe import Recipe
from netwright.train.settings import Training
from netwright.workflow import cost as module
from netwright.workflow.cost import Meter, n_weights
from netwright.workflow.cost_report import finding, in_words
from netwright.workflow.curves import Cost, Curve, Point, fit_line
from netwright.workflow.plans import StagePlan

SIZES = np.array(module.ROWS, dtype=float)
LITTLE = {"rows": (20, 200, 2_000, 20_000), "members": (1, 30, 1000)}


def tiny(**options: Any) -> Recipe:
    """A perceptron without blocks."""
    options = {"width": 4, "depth": 0, "number_dim": 2, "category_dim": 2, **options}
    return Recipe(
        name="tiny", template="residual-mlp", options=options, loss="cross-entropy", training=Training(batch_size=16)
    )


def measured(recipe: Recipe, data: Data, **settings: Any) -> Cost:
    """A measurement with all sizes, of as few steps as there can be."""
    meter = Meter(recipe, data, **{"minutes": 60.0, "most": 0.0, **settings})
    meter.run()
    return meter.cost


def curve(cost: Cost, against: str) -> Curve:
    return next(c for c in cost.curves if c.against == against)


# --- the line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(4e-4, 2e-8), (3.0, 5e-3), (1e-9, 1.0)])
def test_a_planted_constant_and_a_planted_price_are_found_again(a: float, b: float) -> None:
    line = fit_line(SIZES, a + b * SIZES)
    assert line is not None
    assert line.constant + line.each * SIZES == pytest.approx(a + b * SIZES, rel=1e-5)
    assert line.each == pytest.approx(b, rel=1e-5)
    assert line.r2 == pytest.approx(1, abs=1e-8)
    if a > 1e-3 * b * SIZES[0]:
        assert line.constant == pytest.approx(a, rel=1e-3)


@pytest.mark.slow
def test_a_line_under_noise_is_found_within_its_noise() -> None:
    a, b = 0.5, 1e-4
    rng, found = numpy_generator(0, "noise"), []
    for _ in range(100):
        line = fit_line(SIZES, (a + b * SIZES) * np.exp(0.05 * rng.normal(size=len(SIZES))))
        assert line is not None and line.r2 > 0.98
        found.append((line.constant, line.each))
    assert np.median(found, 0) == pytest.approx([a, b], rel=0.03)
    assert np.abs(np.log(found) - np.log([a, b])).max() < 0.25


def test_the_slope_and_its_interval_are_those_of_scipy() -> None:
    times = np.exp(0.1 * numpy_generator(1, "noise").normal(size=len(SIZES))) * SIZES**0.7
    line = fit_line(SIZES, times)
    assert line is not None and line.upper is not None
    for slope, many in ((line.slope, SIZES > 0), (line.upper, SIZES >= 10_000)):
        theirs = linregress(np.log(SIZES[many]), np.log(times[many]))
        half = t.ppf(0.975, many.sum() - 2) * theirs.stderr
        assert (slope.value, slope.low, slope.high) == pytest.approx(
            (theirs.slope, theirs.slope - half, theirs.slope + half)
        )


def test_neither_part_of_a_line_is_below_nothing() -> None:
    for power in (0.0, 1.5):
        line = fit_line(SIZES, 1e-3 * SIZES**power)
        assert line is not None and line.constant >= 0 and line.each >= 0
    assert line.constant == 0 and line.r2 < 0.98  # a power of 1.5 is no line


def test_two_points_make_no_line() -> None:
    assert fit_line([1, 10], [1.0, 2.0]) is None


def test_a_line_is_said_in_words() -> None:
    def of(against: str, sizes: Any, a: float, b: float) -> str:
        times = [a + b * n for n in sizes]
        points = [
            Point(size=int(n), seconds=s, low=s, high=s, steps=9, epoch_steps=9, repeats=3)
            for n, s in zip(sizes, times, strict=True)
        ]
        return in_words(
            Curve(against=against, of=module.AGAINST[against], points=tuple(points), line=fit_line(sizes, times))
        )

    words = of("weights", module.ROWS, 4e-4, 2e-8)
    assert words == "a step takes 400 µs whatever the size, and 20 µs per 1,000 weights"
    assert of("rows", module.ROWS, 1e-9, 2e-5) == "an epoch takes 20 ms per 1,000 rows"
    assert of("members", module.MEMBERS, 2e-3, 1e-3) == "a step takes 2 ms whatever their number, and 1 ms per member"
    assert "whatever the size, up to 1,000,000 weights" in of("weights", module.ROWS, 1.0, 1e-9)


# --- the points --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def little(binary_data: Data) -> Cost:
    """A measurement of a tiny network."""
    return measured(tiny(), binary_data, sizes=LITTLE)


@pytest.mark.slow
def test_every_curve_has_its_points_over_three_decades(little: Cost) -> None:
    assert [c.against for c in little.curves] == ["rows", "weights", "members"]
    for c in little.curves:
        assert not c.notes and c.line is not None
        assert c.line.decades > 2.97
        for p in c.points:
            assert 0 < p.low <= p.seconds <= p.high and p.repeats >= 3
    assert tuple(p.size for p in curve(little, "rows").points) == LITTLE["rows"]
    assert tuple(p.size for p in curve(little, "members").points) == LITTLE["members"]
    assert module.ROWS[0] == 1_000 and module.ROWS[-1] == 1_000_000
    assert module.MEMBERS[0] == 1 and module.MEMBERS[-1] == 1_000


@pytest.mark.slow
def test_the_weights_of_a_point_are_those_of_the_network_with_that_option(little: Cost, binary_data: Data) -> None:
    assert little.sized == "width"
    for p in curve(little, "weights").points:
        net = tiny(width=p.option).build(binary_data.spec, binary_data.target, 0)
        assert n_weights(net) == p.size
    sizes = [p.size for p in curve(little, "weights").points]
    assert np.array(sizes) / sizes[0] == pytest.approx(module.THOUSANDS, rel=0.1)


def test_a_square_of_the_width_is_hit_as_well(binary_data: Data) -> None:
    meter = Meter(tiny(depth=2), binary_data)
    for n in (3_000, 40_000, 1_000_000):
        assert meter._weights_at(meter._option_for(n)) == pytest.approx(n, rel=0.05)


@pytest.mark.slow
def test_an_epoch_is_that_of_the_drawn_rows(little: Cost) -> None:
    for p in curve(little, "rows").points:
        assert p.epoch_steps == max(1, p.size // 16)


def test_what_an_epoch_takes_is_counted_from_part_of_its_steps(
    binary_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps_of_a_second(*arguments: Any, **named: Any) -> tuple[np.ndarray, int]:
        return np.ones(12), len(arguments[2]) // 16

    monkeypatch.setattr(module, "step_times", steps_of_a_second)
    meter = Meter(tiny(), binary_data)
    for n, steps in ((48, 3), (1600, 100)):  # the first in whole epochs, the second in part
        (times, _, per_epoch), _, _ = meter._of_rows(n, 1.0)
        assert per_epoch == steps and set(times) == {float(steps)}


@pytest.mark.slow
def test_a_measurement_leaves_threads_and_random_numbers_alone(
    binary_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = StagePlan(threads=1, epoch_seconds=1.0, epochs=2)
    monkeypatch.setattr(module, "plan_memorising", lambda *arguments: plan)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    try:
        cost = measured(tiny(), binary_data, sizes={"rows": (20,), "weights": (200,), "members": (2,)})
        assert cost.threads == 1 and torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_a_size_is_left_out_whose_making_would_pass_the_deadline(
    binary_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def made_in_a_second_per_thousand(self: Meter, n: int, seconds: float) -> tuple[Any, int, None]:
        now[0] += n / 1000
        return (np.full(3, 1e-9), 3, 1), n, None

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Meter, "_of_rows", made_in_a_second_per_thousand)
    meter = Meter(tiny(), binary_data, minutes=0.5)
    meter._measure("rows", 30.0)
    assert [p.size for p in meter.points["rows"]] == [1_000, 3_000, 10_000]  # 16 seconds are left, and 30,000 take 30
    assert meter.notes["rows"] == ["left out: 30,000 rows would have taken longer than --minutes 0.5 leaves"]


def test_what_does_not_fit_the_time_is_left_out_and_named(binary_data: Data) -> None:
    cost = measured(tiny(), binary_data, minutes=1e-4, sizes=LITTLE)
    for c in cost.curves:
        assert len(c.points) < 3 and c.line is None
        assert any("left out" in note and "--minutes 0.0001" in note for note in c.notes)
        assert finding(c, cost).verdict == "info" and "too few points" in finding(c, cost).title


@pytest.mark.slow
def test_what_does_not_fit_a_quarter_of_the_memory_is_left_out_and_named(
    binary_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 200_000
    monkeypatch.setattr(module, "free_memory", lambda: 4 * room)
    cost = measured(tiny(), binary_data, sizes={"rows": (20, 200, 20_000), "members": (1, 3, 1000)})
    for c in cost.curves:
        assert c.points and any("a quarter of the free memory" in note for note in c.notes), c.against
    assert [p.size for p in curve(cost, "rows").points] == [20, 200]
    assert [p.size for p in curve(cost, "members").points] == [1, 3]
    largest = curve(cost, "weights").points[-1].size
    assert largest * 4 * module.COPIES < 1.1 * room < 10 * largest * 4 * module.COPIES


@pytest.mark.slow
def test_a_template_of_one_size_has_no_curve_of_weights_and_says_so(binary_data: Data) -> None:
    recipe = Recipe(name="line", template="linear", loss="cross-entropy")
    found = curve(measured(recipe, binary_data, sizes={"rows": (20,), "members": (2,)}), "weights")
    assert not found.points and "'linear' has no option" in found.notes[0]


def test_convolutions_are_measured_in_turn_and_say_so() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (40, 1, 8, 8), generator=rng, dtype=torch.uint8)
    y = torch.randint(0, 2, (40,), generator=rng)
    spec = InputSpec(kind="image", fields=(ImageField(height=8, width=8),))
    data = Data.from_tensors({"image": x}, y, spec, TargetSpec(name="y", task="binary", classes=("a", "b")))
    recipe = Recipe(name="c", template="residual-conv", options={"width": 2}, loss="cross-entropy")
    found = curve(measured(recipe, data, sizes={"rows": (8,), "weights": (500,), "members": (1, 3, 9)}), "members")
    assert "in turn" in found.notes[0] and "convolutions" in found.notes[0] and len(found.notes) == 1
    assert [p.size for p in found.points] == [1, 3, 9]
    seconds = [p.seconds for p in found.points]
    assert seconds == sorted(seconds)  # of nine networks the first three are those of before


# --- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to work in, few small sizes, and as few steps of each as there can be."""
    monkeypatch.setattr(module, "Meter", partial(Meter, most=0.0))
    monkeypatch.setattr(module, "ROWS", (20, 40, 80))
    monkeypatch.setattr(module, "MEMBERS", (1, 2, 3))
    monkeypatch.setattr(module, "THOUSANDS", (1, 2, 4))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_command_writes_its_figures_and_its_page(small: Path) -> None:
    ended = call("cost", "--minutes", "9", "--out", "out")
    assert ended.code == 0, ended.err
    cost = Cost.model_validate_json((small / "out" / "cost.json").read_text())
    assert {p.name for p in (small / "out").iterdir()} == {"cost.json", "report.html"}
    assert [len(c.points) for c in cost.curves] == [3, 3, 3]
    page = (small / "out" / "report.html").read_text()
    for against, of in module.AGAINST.items():
        assert f"Time of {of} against {against}" in page and f"cost-of-{against}" in ended.out
    assert page.count('class="figure"') == 3 and "netwright cost --minutes 9 --seed 0" in page
    assert "out/report.html" in ended.out


@pytest.mark.slow
def test_the_command_takes_a_run_or_rows_with_a_recipe(small: Path, tiny_run: TinyRun) -> None:
    with unchanged(tiny_run.folder):
        ended = call("cost", tiny_run.folder, "--minutes", "9", "--out", "of-run")
    assert ended.code == 0, ended.err
    own = Cost.model_validate_json((small / "of-run" / "cost.json").read_text())
    stored = Recipe.model_validate_json((tiny_run.folder / "recipe.json").read_text())
    assert own.recipe.options == stored.options and own.rows == len(read_json(tiny_run.folder / "split.json")["train"])

    make_frame(100).drop("z").write_csv(small / "rows.csv")
    write_json(small / "mine.json", tiny(width=7).model_dump(mode="json"))
    ended = call(
        "cost", "rows.csv", "--target", "y", "--recipe", "mine.json", "--minutes", "9", "--out", "runs/of-rows"
    )
    assert ended.code == 0, ended.err
    cost = Cost.model_validate_json((small / "runs" / "of-rows" / "cost.json").read_text())
    assert cost.recipe.options["width"] == 7 and cost.data == "rows"


@pytest.mark.slow
def test_ctrl_c_leaves_the_points_that_were_measured(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Meter, "_of_members", interrupt)
    ended = call("cost", "--minutes", "9", "--out", "out")
    assert ended.code == 130 and "out/report.html" in ended.err and "Traceback" not in ended.err
    cost = Cost.model_validate_json((small / "out" / "cost.json").read_text())
    assert [(c.against, len(c.points)) for c in cost.curves] == [("rows", 3), ("weights", 3)]

    monkeypatch.setattr(Meter, "_of_rows", interrupt)
    ended = call("cost", "--minutes", "9", "--out", "none")
    assert ended.code == 130 and "nothing" in ended.err and not (small / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--minutes", "0"], 2, ["--minutes 0", "above 0"]),
        (["--minutes", "nan"], 2, ["--minutes nan"]),
        (["--target", "y"], 2, ["--target y", "made-up rows"]),
        (["--out", "full"], 2, ["full exists already", "--out"]),
        (["--out", "rows.csv"], 2, ["rows.csv exists already"]),
        (["rows.csv"], 2, ["--target is missing", "rows.csv"]),
        (["rows.csv", "--target", "yy"], 3, ["'yy'", "'y'"]),
        (["row.csv", "--target", "y"], 3, ["row.csv", "rows.csv"]),
        (["--recipe", "none.json"], 3, ["--recipe none.json", "no such file"]),
        (["--recipe", "rows.csv"], 3, ["rows.csv", "JSON"]),
        (["--recipe", "list.json"], 3, ["list.json is no recipe"]),
        (["--recipe", "template.json"], 2, ["'residual-mlpp'", "'residual-mlp'"]),
        (["--recipe", "option.json"], 2, ["'widht'", "'width'"]),
        (["--recipe", "width.json"], 2, ["network cannot be made"]),
        (["--recipe", "loss.json"], 2, ["'squared-error'", "'binary'", "cross-entropy"]),
        (["--recipe", "images.json"], 2, ["'residual-conv'", "image"]),
        (["--recipe", "optimizer.json"], 2, ["'adamww'", "'adamw'"]),
    ],
)
def test_what_cannot_be_measured_is_refused_and_leaves_nothing(
    arguments: list[str], code: int, words: list[str], small: Path
) -> None:
    make_frame(60).drop("z").write_csv("rows.csv")
    (small / "full").mkdir()
    write_json(small / "full" / "file.json", {})
    good = tiny().model_dump(mode="json")
    for name, change in {
        "template": {"template": "residual-mlpp"},
        "option": {"options": {"widht": 4}},
        "width": {"options": {"width": "many"}},
        "loss": {"loss": "squared-error"},
        "images": {"template": "residual-conv", "options": {}},
        "optimizer": {"training": {"optimizer": "adamww"}},
    }.items():
        write_json(small / f"{name}.json", good | change)
    write_json(small / "list.json", [1])
    with unchanged(small):
        refused(call("cost", *arguments), code, *words)


def test_a_run_with_another_target_is_refused(tiny_run: TinyRun) -> None:
    refused(call("cost", tiny_run.folder, "--target", "z"), 2, "--target z", "leave --target out")
