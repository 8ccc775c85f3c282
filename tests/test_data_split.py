"""Which rows train, validate and test."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.data.data import PARTS
from netwright.data.split import FRACTIONS, plan_split, split_rows


def frame_of(n: int, seed: int = 0, n_groups: int = 30) -> pl.DataFrame:
    rng = numpy_generator(seed, "frame")
    return pl.DataFrame(
        {
            "y": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
            "v": rng.normal(size=n) ** 3,
            "g": [f"g{i}" for i in rng.integers(0, n_groups, n)],
            "t": rng.integers(0, max(n // 3, 3), n),
            "s": rng.choice(["Train", "VAL", "test"], n, p=[0.6, 0.2, 0.2]),
        }
    )


WAYS: list[dict[str, Any]] = [{}, {"group": "g"}, {"time": "t"}, {"split_column": "s"}]
TARGETS: list[dict[str, Any]] = [{"target": "y", "task": "classes"}, {"target": "v", "task": "number"}]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_row_is_in_one_part_and_the_seed_decides(way: dict[str, Any], target: dict[str, Any]) -> None:
    frame = frame_of(500)
    first = split_rows(frame, seed=0, **target, **way)
    assert list(first) == list(PARTS)
    for rows in first.values():
        assert rows.dtype == np.int64 and (np.diff(rows) > 0).all() and len(rows)
    assert sorted(np.concatenate(list(first.values())).tolist()) == list(range(500))
    again = split_rows(frame, seed=0, **target, **way)
    assert all((first[part] == again[part]).all() for part in PARTS)
    other = split_rows(frame, seed=1, **target, **way)
    if not way or "group" in way:
        assert not all(np.array_equal(first[part], other[part]) for part in PARTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=2, max_size=6), st.integers(0, 5))
def test_each_class_gets_its_share_of_each_part_and_a_training_row(sizes: list[int], seed: int) -> None:
    y = np.repeat(np.arange(len(sizes)), sizes)
    if len(y) < 10:
        return
    y = numpy_generator(seed, "order").permutation(y)
    rows = split_rows(pl.DataFrame({"y": y}), target="y", task="classes", seed=seed)
    for part, share in zip(PARTS, FRACTIONS, strict=True):
        assert abs(len(rows[part]) - share * len(y)) <= 1 + len(sizes)
        counts = np.bincount(y[rows[part]], minlength=len(sizes))
        assert (np.abs(counts - share * np.array(sizes)) <= 2.5).all()
        assert len(rows[part]) > 0
    assert (np.bincount(y[rows["train"]], minlength=len(sizes)) > 0).all()


def test_parts_of_a_numeric_target_have_the_same_distribution() -> None:
    from scipy.stats import ks_2samp

    frame = frame_of(3000)
    v = frame["v"].to_numpy()
    rows = split_rows(frame, target="v", task="number", seed=0)
    for part in ("valid", "test"):  # random parts of this size lie about 0.03 apart
        assert ks_2samp(v[rows["train"]], v[rows[part]]).statistic < 0.005


def test_rows_of_one_target_are_drawn_at_random() -> None:
    frame = pl.DataFrame({"y": ["a", "b"] * 500})
    chosen = [frozenset(split_rows(frame, target="y", task="binary", seed=s)["test"].tolist()) for s in range(20)]
    share = np.mean([[r in c for r in range(1000)] for c in chosen], 0)
    assert len(set(chosen)) == 20 and share.max() < 0.7 and abs(share.mean() - 0.2) < 1e-9


def test_no_group_is_in_two_parts_and_classes_keep_their_shares() -> None:
    frame = frame_of(2000, n_groups=100)
    plan = plan_split(frame, target="y", task="classes", seed=0, group="g")
    groups = {part: set(frame["g"].gather(rows).to_list()) for part, rows in plan.rows.items()}
    assert not (
        groups["train"] & groups["test"] or groups["train"] & groups["valid"] or groups["valid"] & groups["test"]
    )
    y = frame["y"].to_numpy()
    for part, share in zip(PARTS, FRACTIONS, strict=True):
        assert abs(len(plan.rows[part]) / 2000 - share) < 0.03
        assert abs((y[plan.rows[part]] == "a").mean() - 0.6) < 0.06
    assert "100" in plan.how


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    frame = pl.DataFrame({"y": ["a", "b"] * 30, "g": ["x"] * 20 + [None] * 40})
    rows = split_rows(frame, target="y", task="binary", seed=0, group="g")
    homes = [part for part in PARTS if set(rows[part].tolist()) & set(range(20))]
    assert len(homes) == 1 and all(len(rows[part]) for part in PARTS)


def test_training_rows_are_older_than_validation_rows_and_these_older_than_test_rows() -> None:
    frame = frame_of(600).with_columns(when=pl.lit("2024-01-01").str.to_date() + pl.duration(days=pl.col("t")))
    for column in ("t", "when"):
        rows = split_rows(frame, target="v", task="number", seed=0, time=column)
        t = frame["t"].to_numpy()
        assert t[rows["train"]].max() < t[rows["valid"]].min() and t[rows["valid"]].max() < t[rows["test"]].min()
        assert abs(len(rows["test"]) - 120) < 10 and abs(len(rows["valid"]) - 96) < 10
    text = frame.with_columns(pl.col("when").cast(pl.String))
    assert (split_rows(text, target="v", task="number", seed=0, time="when")["test"] == rows["test"]).all()


def test_a_split_column_is_followed_whatever_its_case() -> None:
    words = ["train"] * 30 + [" Training "] * 10 + ["DEV"] * 5 + ["validation"] * 5 + ["Test"] * 10
    frame = pl.DataFrame({"y": ["a", "b"] * 30, "s": words})
    rows = split_rows(frame, target="y", task="binary", seed=0, split_column="s")
    assert rows["train"].tolist() == list(range(40))
    assert rows["valid"].tolist() == list(range(40, 50)) and rows["test"].tolist() == list(range(50, 60))


@pytest.mark.parametrize(("given", "absent"), [("test", "valid"), ("valid", "test")])
def test_a_part_that_the_column_lacks_is_a_fifth_of_the_training_rows_and_said(given: str, absent: str) -> None:
    frame = pl.DataFrame({"y": ["a", "b"] * 100, "s": ["train"] * 150 + [given] * 50})
    plan = plan_split(frame, target="y", task="binary", seed=0, split_column="s")
    assert plan.rows[given].tolist() == list(range(150, 200))  # type: ignore[index]
    assert len(plan.rows[absent]) == 30 and plan.rows[absent].max() < 150  # type: ignore[index]
    assert f"{absent} is 30 of its training rows" in plan.how
    assert abs(np.bincount(plan.rows[absent] % 2)[0] - 15) <= 1  # type: ignore[index]


def test_groups_stay_whole_where_a_part_is_taken_from_the_training_rows() -> None:
    frame = pl.DataFrame(
        {"y": ["a", "b"] * 100, "s": ["train"] * 150 + ["test"] * 50, "g": [i // 5 for i in range(200)]}
    )
    rows = split_rows(frame, target="y", task="binary", seed=0, split_column="s", group="g")
    assert not set((rows["train"] // 5).tolist()) & set((rows["valid"] // 5).tolist())


@pytest.mark.parametrize("n", [10, 12, 20])
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_small_data_is_split_into_three_parts(n: int, target: dict[str, Any]) -> None:
    rows = split_rows(frame_of(n).with_columns(y=pl.Series(["a", "b"] * (n // 2))), seed=0, **target)
    assert all(len(rows[part]) for part in PARTS) and len(rows["train"]) > n / 2


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({}, {"group": "g", "time": "t"}, UsageError, "choose one"),
        ({}, {"fractions": (0.5, 0.5, 0.5)}, UsageError, "sum is 1"),
        ({}, {"group": "q"}, DataError, "there is no group column 'q'"),
        ({}, {"split_column": "y"}, UsageError, "is the target itself"),
        ({"g": ["one"] * 60}, {"group": "g"}, DataError, "1 group; at least 3"),
        ({"t": [None, *range(59)]}, {"time": "t"}, DataError, "1 cell no date or number (row 1: None)"),
        ({"t": ["2024-01-01", "soon"] * 30}, {"time": "t"}, DataError, "(row 1"),
        ({"t": [1, 2] * 30}, {"time": "t"}, DataError, "2 different times"),
        (
            {"s": ["train", "tset"] * 30},
            {"split_column": "s"},
            DataError,
            "'tset'; recognised are train, training, valid",
        ),
        ({"s": ["train", None] * 30}, {"split_column": "s"}, DataError, "30 cells missing"),
        ({"s": ["test", "val"] * 30}, {"split_column": "s"}, DataError, "0 training rows"),
        ({"s": ["train"] * 5 + ["test"] * 55}, {"split_column": "s"}, DataError, "5 training rows; at least 10"),
        (
            {"y": ["a"] * 50 + ["b"] * 10, "t": list(range(60))},
            {"time": "t"},
            DataError,
            "no training row has the target's class 'b'",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(
    change: dict[str, Any], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    frame = frame_of(60).with_columns(**{k: pl.Series(v) for k, v in change.items()})
    with pytest.raises(error) as caught:
        split_rows(frame, target="y", task="classes", seed=0, **options)
    assert words in str(caught.value)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="9 rows; at least 10"):
        split_rows(frame_of(9), target="v", task="number", seed=0)
