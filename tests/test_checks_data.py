"""Checks of the data find what was planted, and nothing where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_data
from netwright.checks.columns import (
    constant_columns,
    few_rows,
    identifier_columns,
    imbalance,
    missing_cells,
    target_shape,
)
from netwright.checks.data import contradictions, duplicates, noise_floor, row_keys
from netwright.checks.entries import CHECKS
from netwright.checks.leak import _bent_line, leak, mean_auc, target_copy
from netwright.checks.shift import shift
from netwright.core.finding import Finding
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, VectorField
from netwright.data.batch import Block
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.infer import infer_kinds, infer_task
from netwright.data.read import read_table
from netwright.data.split import split_rows
from netwright.model import Subject

MODULES = ("netwright.checks.data", "netwright.checks.leak", "netwright.checks.columns", "netwright.checks.shift")
ENTRIES = {name: entry for name, entry in CHECKS.items() if entry.target.partition(":")[0] in MODULES}


def data_of(
    columns: Mapping[str, Any], target: str = "y", split: Mapping[str, Any] | None = None, **kinds: Any
) -> Data:
    """Data with guessed kinds (which `kinds` overrule); split 64/16/20 unless one is given."""
    frame = pl.DataFrame(columns)
    task, _ = infer_task(frame[target])
    guesses = {n: kinds.get(n, g.kind) for n, g in infer_kinds(frame, target=target).items()}
    used = {n: k for n, k in guesses.items() if k in ("number", "integer", "date", "category")}
    rows = split or split_rows(frame, target=target, task=task, seed=0)
    train = frame[rows["train"]]
    return Data(frame, fit_inputs(train, used), fit_target(train[target], task), rows)  # type: ignore[arg-type]


def ask(probe: Any, data: Data, seed: int = 0) -> Finding:
    finding: Finding = probe(Subject(data=data), budget_seconds=30.0, seed=seed)
    return finding


def noise(n: int = 600, seed: int = 0) -> dict[str, Any]:
    rng = numpy_generator(seed, "noise")
    return {"a": rng.normal(size=n), "b": rng.choice(["u", "v", "w"], n), "y": rng.choice(["no", "yes"], n)}


# Laws over the registry ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("task", ["binary", "classes", "number"])
def test_every_check_of_data_gives_a_whole_finding_of_its_own_name(name: str, task: str) -> None:
    data = make_data("number" if task == "number" else "binary")
    if task == "classes":
        three = pl.Series("y", [str(i % 3) for i in range(data.frame.height)])  # type: ignore[union-attr]
        frame = data.frame.with_columns(three)  # type: ignore[union-attr]
        data = Data(frame, data.spec, fit_target(three, "classes"), data.split)
    entry = ENTRIES[name]
    if not entry.fits(kind="table", task=task):
        pytest.skip("not for this task")
    finding = ask(entry.load(), data)
    assert finding.probe == name and finding.family == "checks" and finding.title and finding.why and finding.expected
    assert finding.verdict in ("pass", "info") or finding.todo
    assert Finding.model_validate_json(finding.model_dump_json()) == finding
    assert finding == ask(entry.load(), data)
    for table in finding.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if not e.kinds])
def test_checks_for_any_kind_work_on_rows_that_came_as_tensors(name: str) -> None:
    x = torch.randn(60, 2, 3, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 2
    spec = InputSpec(kind="vector", fields=(VectorField(name="x", shape=(2, 3)),))
    target = TargetSpec(name="y", task="binary", classes=("0", "1"), priors=(0.5, 0.5))
    split = {"train": np.arange(40), "valid": np.arange(40, 50), "test": np.arange(50, 60)}
    data = Data.from_tensors({"x": x}, y, spec, target, split)  # type: ignore[arg-type]
    if ENTRIES[name].fits(kind="vector", task="binary"):
        assert ask(ENTRIES[name].load(), data).probe == name


def test_only_certain_leaks_and_massive_copies_stop_a_run() -> None:
    assert {name for name, entry in ENTRIES.items() if entry.gate} == {"target-copy", "duplicates"}


def test_data_without_faults_passes() -> None:
    data = data_of(noise())
    for name, entry in ENTRIES.items():
        if entry.fits(kind="table", task="binary"):
            assert ask(entry.load(), data).verdict in ("pass", "info"), name


# Leaks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        lambda y: ["positive" if v == "yes" else "negative" for v in y],
        lambda y: [7 if v == "yes" else -3 for v in y],
        lambda y: [1.5 if v == "yes" else None for v in y],
        lambda y: ["called" if v == "yes" else None for v in y],
    ],
    ids=["words", "numbers", "gaps", "word or gap"],
)
def test_a_column_that_is_the_target_in_other_words_stops_the_run(copy: Any) -> None:
    columns = noise()
    columns["outcome"] = copy(columns["y"])
    finding = ask(target_copy, data_of(columns))
    assert finding.verdict == "fail" and "'outcome'" in finding.title
    assert "--drop outcome" in finding.todo and "--force" in finding.todo


@pytest.mark.parametrize(
    "copy", [lambda v: 3 * v - 7, lambda v: np.exp(v), lambda v: -(v**3)], ids=["line", "rising", "falling"]
)
def test_a_function_of_a_numeric_target_stops_the_run(copy: Any) -> None:
    v = numpy_generator(0, "v").normal(size=500)
    finding = ask(target_copy, data_of({"a": noise(500)["a"], "copy": copy(v), "v": v}, "v"))
    assert finding.verdict == "fail" and "'copy'" in finding.title
    noisy = copy(v) + 0.2 * np.std(copy(v)) * numpy_generator(1, "v").normal(size=500)
    assert ask(target_copy, data_of({"copy": noisy, "v": v}, "v")).verdict == "pass"


def test_a_column_that_determines_the_target_but_not_the_other_way_round_is_a_leak_but_stops_nothing() -> None:
    columns = noise()
    days = numpy_generator(0, "days").integers(1, 400, 600)
    columns["days_since"] = np.where(np.array(columns["y"]) == "yes", days, -days)
    data = data_of(columns)
    assert ask(target_copy, data).verdict == "pass"
    finding = ask(leak, data)
    assert finding.verdict == "fail" and "'days_since'" in finding.title and finding.measured["best_auc"] == 1.0


def test_several_labels_of_one_class_are_a_leak_but_no_copy() -> None:
    columns = noise()
    columns["reason"] = [f"{v}{i % 3}" for i, v in enumerate(columns["y"])]
    data = data_of(columns)
    assert ask(target_copy, data).verdict == "pass"
    assert ask(leak, data).verdict == "fail"


def test_a_good_column_is_no_leak_and_a_very_good_one_is_suspicious() -> None:
    y = np.array(noise(3000)["y"])
    rng = numpy_generator(0, "wrong")
    verdicts = []
    for wrong in (0.2, 0.01):
        flipped = np.where(rng.random(3000) < wrong, np.where(y == "yes", "no", "yes"), y)
        verdicts.append(ask(leak, data_of({**noise(3000), "hint": flipped})).verdict)
    assert verdicts == ["pass", "warn"]


@pytest.mark.parametrize(
    "bend", [lambda v: v + 1e-4, lambda v: v**2, lambda v: np.where(v > 1, np.nan, v)], ids=["line", "curve", "gaps"]
)
def test_a_leak_of_a_number_is_found_by_its_r2(bend: Any) -> None:
    v = np.abs(numpy_generator(0, "v").normal(size=2000))
    finding = ask(
        leak,
        data_of(
            {"a": noise(2000)["a"], "later": bend(v), "v": np.minimum(v, 1) if np.isnan(bend(v)).any() else v}, "v"
        ),
    )
    assert finding.verdict == "fail" and "'later'" in finding.title


def test_the_bent_line_meets_a_straight_one_everywhere_and_gaps_at_their_mean() -> None:
    x = numpy_generator(0, "x").normal(size=1000)
    at = np.array([-9.0, 0.123, 9.0, np.nan])
    line = _bent_line(np.append(x, [np.nan, np.nan]), np.append(2 * x + 1, [5.0, 7.0]), at)
    assert line == pytest.approx([-17.0, 1.246, 19.0, 6.0])


def test_few_validation_rows_prove_no_leak() -> None:
    columns = noise(60)
    columns["hint"] = np.where(np.array(columns["y"]) == "yes", 1, -1) * numpy_generator(0, "h").integers(1, 99, 60)
    assert ask(leak, data_of(columns)).verdict == "warn"


def test_a_check_out_of_time_says_what_it_left_out() -> None:
    finding = leak(Subject(data=data_of(noise())), budget_seconds=-1.0, seed=0)
    assert "1 column not examined" in finding.title


def test_mean_auc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = numpy_generator(0, "auc")
    y, p = rng.integers(0, 3, 200), rng.dirichlet([1, 1, 1], 200).round(1)
    p /= p.sum(1, keepdims=True)
    assert mean_auc(y, p) == pytest.approx(roc_auc_score(y, p, multi_class="ovr", average="macro"))
    assert mean_auc((y == 1).astype(int), p[:, :2]) == pytest.approx(
        roc_auc_score(y == 1, p[:, 1]) / 2 + roc_auc_score(y != 1, p[:, 0]) / 2
    )


# Copies and contradictions -------------------------------------------------------------------------------------------


def test_rows_copied_before_the_split_stop_the_run() -> None:
    once = noise(200)
    columns = {k: np.concatenate([v] * 4) for k, v in once.items()}
    columns["c"] = np.tile(numpy_generator(0, "c").normal(size=200), 4)
    finding = ask(duplicates, data_of(columns))
    assert finding.verdict == "fail" and finding.measured["test_copies_share"] > 0.9
    assert "--force" in finding.todo


def test_a_few_copies_are_a_warning_with_their_share() -> None:
    columns = noise(500)
    split = {"train": np.arange(300), "valid": np.arange(300, 400), "test": np.arange(400, 500)}
    for k in columns:
        columns[k][400:410] = columns[k][:10]
    finding = ask(duplicates, data_of(columns, split=split))
    assert finding.verdict == "warn" and finding.measured["test_copies_share"] == 0.1
    assert finding.measured["valid_copies_share"] == 0.0


def test_copies_that_chance_makes_are_no_fault() -> None:
    rng = numpy_generator(0, "xor")
    a, b = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    finding = ask(duplicates, data_of({"a": a, "b": b, "y": a ^ b}))
    assert finding.verdict == "info" and finding.measured["test_copies_share"] == 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40))
def test_the_noise_floor_is_the_error_of_the_best_function_of_the_inputs(rows: list[tuple[int, int]]) -> None:
    x, y = torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows])
    best = sum(max((y[x == v] == c).sum().item() for c in range(3)) for v in range(4))
    spec = InputSpec(kind="vector", fields=(VectorField(name="x", shape=(1,)),))
    classes = Data.from_tensors(
        {"x": x.unsqueeze(1).double()}, y, spec, TargetSpec(name="y", task="classes", classes=("0", "1", "2"))
    )
    assert noise_floor(classes) == pytest.approx(1 - best / len(rows))
    numbers = Data.from_tensors({"x": x.unsqueeze(1).double()}, y.double(), spec, TargetSpec(name="y", task="number"))
    within = sum(((y[x == v].double() - y[x == v].double().mean()) ** 2).sum().item() for v in set(x.tolist()))
    assert noise_floor(numbers) == pytest.approx((within / len(rows)) ** 0.5)


def test_contradicting_rows_are_counted() -> None:
    columns = {**noise(500), "b": np.array(["u"] * 500)}
    columns["a"][:40] = 1.0
    columns["y"][:40] = ["yes", "no"] * 20
    split = {"train": np.arange(400), "valid": np.arange(400, 450), "test": np.arange(450, 500)}
    finding = ask(contradictions, data_of(columns, split=split))
    assert finding.measured["contradicting_rows"] == 40
    assert finding.measured["noise_floor_error"] == pytest.approx(20 / 400)
    assert ask(contradictions, data_of(noise())).verdict == "pass"


def test_row_keys_see_every_cell_and_the_target() -> None:
    x = {
        "numbers": torch.tensor([[1.0, float("nan")], [1.0, float("nan")], [1.0, 0.0]]),
        "codes": torch.tensor([[1], [1], [1]]),
    }
    block = Block(x, torch.tensor([0, 1, 0]))
    plain, full = row_keys(block), row_keys(block, with_target=True)
    assert plain[0] == plain[1] != plain[2] and len(set(full.tolist())) == 3


# Columns and target --------------------------------------------------------------------------------------------------


def test_constant_and_nearly_constant_inputs_are_named() -> None:
    n = 4000
    columns = {**noise(n), "one": np.full(n, 5), "odd": np.zeros(n), "same": ["x"] * n}
    columns["odd"][7] = 1.0
    finding = ask(constant_columns, data_of(columns, one="number"))
    assert finding.verdict == "warn" and finding.measured == {"constant": 1, "nearly_constant": 1, "left_out": 1}
    assert "--drop one" in finding.todo


def test_identifiers_that_are_fed_to_the_network_are_warned_about() -> None:
    columns = {**noise(), "customer_id": range(600)}
    assert ask(identifier_columns, data_of(columns)).verdict == "info"
    finding = ask(identifier_columns, data_of(columns, customer_id="integer"))
    assert finding.verdict == "warn" and "--drop customer_id" in finding.todo


def test_missing_cells_are_counted_by_part_and_differences_reported() -> None:
    columns = noise(1000)
    split = {"train": np.arange(600), "valid": np.arange(600, 800), "test": np.arange(800, 1000)}
    columns["a"][:120] = np.nan
    columns["b"] = [None if i >= 900 else v for i, v in enumerate(columns["b"])]
    finding = ask(missing_cells, data_of(columns, split=split))
    table = {row[0]: row[1:] for row in finding.tables[0].rows}
    assert table == {"a": (0.2, 0.0, 0.0), "b": (0.0, 0.0, 0.5)}
    assert finding.verdict == "warn" and finding.measured["differing"] == 2
    assert finding.measured["missing_share"] == pytest.approx((120 + 100) / 2000)


def test_unequal_classes_are_warned_about_with_their_ratio() -> None:
    columns = noise(1000)
    columns["y"] = ["rare"] * 50 + ["common"] * 950
    finding = ask(imbalance, data_of(columns))
    assert finding.verdict == "warn" and finding.measured["ratio"] == pytest.approx(19, abs=0.5)
    assert "'common' has 95.0%" in finding.title


def test_caps_and_tails_of_a_numeric_target_are_named() -> None:
    v = numpy_generator(0, "v").normal(size=2000)
    assert ask(target_shape, data_of({"a": v, "v": v}, "v")).verdict == "pass"
    capped = ask(target_shape, data_of({"a": v, "v": np.minimum(v, 1.5)}, "v"))
    assert capped.verdict == "warn" and "highest value, 1.5" in capped.title
    tailed = ask(target_shape, data_of({"a": v, "v": np.exp(2 * v)}, "v"))
    assert tailed.verdict == "warn" and "upper tail" in tailed.title and "logarithm" in tailed.todo


def test_classes_with_few_rows_are_named() -> None:
    columns = noise(1000)
    columns["y"] = ["rare"] * 15 + ["b"] * 485 + ["c"] * 500
    finding = ask(few_rows, data_of(columns))
    assert finding.verdict == "warn" and "'rare'" in finding.title and finding.measured["rarest_class_rows"] == 10


# Shift ---------------------------------------------------------------------------------------------------------------


def test_a_moved_number_and_a_moved_category_are_found() -> None:
    columns, n = noise(2000), 2000
    split = {"train": np.arange(1200), "valid": np.arange(1200, 1500), "test": np.arange(1500, n)}
    assert ask(shift, data_of(columns, split=split)).verdict == "pass"
    columns["a"][1500:] += 1.0
    columns["b"] = ["u" if i >= 1500 and i % 2 else v for i, v in enumerate(columns["b"])]
    finding = ask(shift, data_of(columns, split=split))
    assert (
        finding.verdict == "warn"
        and finding.measured["moved_columns"] == 2
        and finding.measured["two_sample_auc"] > 0.7
    )


def test_rare_categories_are_no_shift_but_new_ones_are() -> None:
    columns = noise(2000)
    split = {"train": np.arange(1200), "valid": np.arange(1200, 1500), "test": np.arange(1500, 2000)}
    columns["town"] = [f"t{i}" for i in numpy_generator(0, "town").integers(0, 1500, 2000)]
    finding = ask(shift, data_of(columns, split=split, town="category"))
    assert finding.verdict == "pass", finding.title
    columns["town"] = [f"t{i % 30}" if i < 1500 or i % 5 else "new" for i in range(2000)]
    finding = ask(shift, data_of(columns, split=split))
    assert finding.verdict == "warn" and "'town' holds categories that training never saw" in finding.title


# Real files ----------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_an_honest_column_as_good_as_the_smell_of_mushrooms_stops_nothing(real_data: Path) -> None:
    data = data_of(read_table(real_data / "tables/mushroom.csv.gz").to_dict(), "class")
    assert ask(target_copy, data).verdict == "pass"
    finding = ask(leak, data)
    assert finding.verdict == "warn" and "'odor'" in finding.title
    assert ask(duplicates, data).verdict == "pass"


@pytest.mark.data
def test_repeated_wines_and_the_cap_of_house_values_are_found(real_data: Path) -> None:
    wine = ask(duplicates, data_of(read_table(real_data / "tables/wine_quality.csv.gz").to_dict(), "quality"))
    assert wine.verdict == "warn" and 0.2 < wine.measured["test_copies_share"] < 0.3  # type: ignore[operator]
    houses = ask(
        target_shape,
        data_of(read_table(real_data / "tables/california_housing.csv.gz").to_dict(), "median_house_value"),
    )
    assert houses.verdict == "warn" and "500001" in houses.title
