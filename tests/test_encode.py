"""Encoding: what is fitted on training rows reads any other rows alike, in the user's units, and comes back by decoding."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from netwright.core.errors import DataError, UsageError
from netwright.core.spec import CategoryField, ColumnKind, InputSpec, NumberField, VectorField
from netwright.data import plain
from netwright.data.batch import Block, whole
from netwright.data.data import Data
from netwright.data.encode import decode_inputs, encode_inputs, encode_target, fit_inputs, fit_target
from netwright.data.fronts import TableFront, VectorFront
from netwright.data.targets import class_target, number_target

KINDS: dict[str, ColumnKind] = {"a": "number", "b": "integer", "colour": "category"}
FRAME = pl.DataFrame({"a": [1.5, None, -3.0], "b": [1, 2, 3], "colour": ["red", None, "blue"], "other": [1, 1, 1]})
SPEC = fit_inputs(FRAME, KINDS)


def number_spec(values: list[Any], kind: ColumnKind = "number") -> NumberField:
    field = fit_inputs(pl.DataFrame({"a": values}), {"a": kind}).fields[0]
    assert isinstance(field, NumberField)
    return field


def codes_of(train: list[Any], cells: list[Any]) -> list[int]:
    spec = fit_inputs(pl.DataFrame({"c": train}, strict=False), {"c": "category"})
    return encode_inputs(pl.DataFrame({"c": cells}, strict=False), spec)["codes"][:, 0].tolist()


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_a_number_field_holds_the_moments_of_its_training_rows() -> None:
    field = number_spec([1.0, 2.0, None, 6.0])
    assert (field.low, field.high, field.center, field.missing) == (1.0, 6.0, 3.0, True)
    assert field.scale == pytest.approx(np.std([1.0, 2.0, 6.0]))
    assert (field.knots[0], field.knots[-1]) == (1.0, 6.0) and list(field.knots) == sorted(set(field.knots))


@pytest.mark.parametrize(
    "cells", [[0.1] * 7, [0.1 + 0.2, 0.3], [1e9 + 0.1] * 3, [None, None], [0.0, 0.0], [5e-324, 0.0], [-0.0]]
)
def test_a_column_without_spread_has_scale_one(cells: list[Any]) -> None:
    assert number_spec(cells).scale == 1.0


def test_values_too_large_to_square_have_a_finite_scale() -> None:
    assert number_spec([1e300, -1e300, 1.0]).scale == pytest.approx(8.165e299, rel=1e-3)


def test_categories_are_ordered_by_frequency_then_name_whatever_the_column_is_called() -> None:
    for name in ("count", "rows", "label", "c"):
        field = fit_inputs(pl.DataFrame({name: ["b", "c", "c", "a", None]}), {name: "category"}).categories[0]
        assert field.categories == ("c", "a", "b", "")


def test_rare_categories_beyond_the_limit_share_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_CATEGORIES", 2)
    assert codes_of(["a", "a", "b", "b", "c", None], ["a", "b", "c", None]) == [1, 2, 0, 3]


@pytest.mark.parametrize("kind", ["identifier", "constant"])
def test_a_kind_that_no_network_eats_is_refused_with_advice(kind: ColumnKind) -> None:
    with pytest.raises(DataError, match="drop it or set --kind a=category"):
        fit_inputs(FRAME, {"a": kind})


def test_no_column_left_is_a_data_error() -> None:
    with pytest.raises(DataError, match="no column is left"):
        fit_inputs(FRAME, {})


# --- encoding ---------------------------------------------------------------------------------------------------------


def test_numbers_and_codes_keep_raw_units_and_mark_what_is_missing() -> None:
    x = encode_inputs(FRAME, SPEC)
    assert x["numbers"].dtype == torch.float64 and x["codes"].dtype == torch.int64
    np.testing.assert_array_equal(x["numbers"], [[1.5, 1], [math.nan, 2], [-3, 3]])
    assert [SPEC.categories[0].categories[c - 1] for c in x["codes"][:, 0]] == ["red", "", "blue"]


def test_unknown_categories_are_code_zero_and_missing_ones_too_where_training_had_none() -> None:
    assert codes_of(["x", "y"], ["y", "z", None, ""]) == [2, 0, 0, 0]
    assert codes_of(["x", None], ["x", "z", None, ""]) == [1, 0, 2, 2]


def test_a_category_reads_alike_as_number_string_or_boolean() -> None:
    assert codes_of([1, 2, 2], ["2", "1.0", " 1 ", "01"]) == [1, 2, 2, 0]
    assert codes_of(["1", "2", "2"], [2.0, 1.0, 3.0]) == [1, 2, 0]
    assert codes_of([True, True, False], ["TRUE", "false", "yes"]) == [1, 2, 0]


def test_columns_are_found_by_name_in_any_order_among_others() -> None:
    shuffled = FRAME.select("other", "colour", "b", "a")
    for name, tensor in encode_inputs(FRAME, SPEC).items():
        assert torch.equal(tensor.nan_to_num(9), encode_inputs(shuffled, SPEC)[name].nan_to_num(9))


def test_a_missing_column_is_named_with_its_nearest() -> None:
    with pytest.raises(DataError, match=r"lacks 1 of the columns .*'colour' \(is it 'color'\?\)"):
        encode_inputs(FRAME.rename({"colour": "color"}), SPEC)


def test_dates_are_days_since_1970_with_the_time_of_day() -> None:
    frame = pl.DataFrame({"d": [date(1970, 1, 2), date(2024, 2, 29), None]})
    spec = fit_inputs(frame, {"d": "date"})
    np.testing.assert_array_equal(encode_inputs(frame, spec)["numbers"][:, 0], [1.0, 19782.0, math.nan])
    times = pl.DataFrame({"d": [datetime(1970, 1, 1, 18), datetime(1969, 12, 31)]})
    assert encode_inputs(times, spec)["numbers"][:, 0].tolist() == [0.75, -1.0]
    words = pl.DataFrame({"d": ["2024-02-29", "29.02.2024", "soon"]})
    np.testing.assert_array_equal(encode_inputs(words, spec)["numbers"][:, 0], [19782.0, 19782.0, math.nan])


def test_a_row_encodes_alone_as_among_others() -> None:
    together = encode_inputs(FRAME, SPEC)
    for i in range(len(FRAME)):
        alone = encode_inputs(FRAME[i], SPEC)
        assert all(torch.equal(alone[k][0].nan_to_num(9), together[k][i].nan_to_num(9)) for k in together)


def test_no_rows_encode_to_no_rows() -> None:
    x = encode_inputs(FRAME.clear(), SPEC)
    assert x["numbers"].shape == (0, 2) and x["codes"].shape == (0, 1)


cells = st.lists(
    st.tuples(
        st.none() | st.floats(-1e300, 1e300),
        st.none() | st.integers(-(2**53), 2**53),
        st.none() | st.text(max_size=4) | st.integers(-9, 9).map(str),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(cells)
def test_decoding_and_encoding_again_changes_nothing(rows: list[tuple[float | None, int | None, str | None]]) -> None:
    schema = {"a": pl.Float64, "b": pl.Int64, "c": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    spec = fit_inputs(frame, {"a": "number", "b": "integer", "c": "category"})
    x = encode_inputs(frame, spec)
    decoded = decode_inputs(x, spec)
    again = encode_inputs(decoded, spec)
    assert decoded.columns == ["a", "b", "c"]
    assert_frame_equal(decoded.select("a"), frame.select("a"))
    np.testing.assert_array_equal(x["numbers"], again["numbers"])
    np.testing.assert_array_equal(x["codes"], again["codes"])
    assert (x["codes"] > 0).all()  # every training cell has a code of its own


def test_decoding_says_unknown_where_a_category_was_unknown() -> None:
    x = {"numbers": torch.zeros(1, 2, dtype=torch.float64), "codes": torch.tensor([[0]])}
    assert decode_inputs(x, SPEC)["colour"].to_list() == ["(unknown)"]


# --- targets ----------------------------------------------------------------------------------------------------------


def test_classes_are_in_the_order_of_numbers_then_of_words_with_their_shares() -> None:
    target = fit_target(pl.Series("count", ["10", "9", "nan", "inf", "b", "9"]), "classes")
    assert target.classes == ("9", "10", "b", "inf", "nan")
    assert target.priors == pytest.approx([2 / 6, *[1 / 6] * 4])


def test_class_numbers_follow_the_spec_whatever_the_type_of_a_cell() -> None:
    target = fit_target(pl.Series("y", [0, 1, 1]), "binary")
    for cells in ([1, 0], ["1", "0"], [1.0, 0.0]):
        assert encode_target(pl.Series("y", cells), target).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"classes that the training rows do not have: \['2'\]; known are \['0', '1'\]"):
        encode_target(pl.Series("y", [1, 2]), target)


def test_a_number_target_keeps_its_unit_and_refuses_what_is_not_finite() -> None:
    target = fit_target(pl.Series("y", [1.0, 3.0]), "number")
    assert (target.center, target.scale, target.low, target.high) == (2.0, 1.0, 1.0, 3.0)
    assert encode_target(pl.Series("y", ["2.5", "1,5"]), target).tolist() == [2.5, 1.5]
    with pytest.raises(DataError, match="holds 2 cells that are no finite number"):
        encode_target(pl.Series("y", [1.0, math.inf, None]), target)
    with pytest.raises(DataError, match="no finite number; remove those rows"):
        fit_target(pl.Series("y", [1.0, math.nan]), "number")


def test_weights_count_like_repeated_rows_in_a_target() -> None:
    codes, values = np.array([0, 1, 2, 1]), np.array([1.0, -2.0, 4.0, 8.0])
    weight = np.array([3, 1, 2, 1])
    labels = np.array(["a", "b", "c"])
    assert class_target("y", codes, labels, weight).priors == pytest.approx(
        class_target("y", codes.repeat(weight), labels).priors
    )
    one, repeated = number_target("y", values, weight), number_target("y", values.repeat(weight))
    assert (one.center, one.scale) == pytest.approx((repeated.center, repeated.scale))
    unweighted = fit_target(pl.Series("y", values), "number")
    assert number_target("y", values) == unweighted


# --- data and blocks --------------------------------------------------------------------------------------------------


def test_a_block_gives_rows_in_the_order_asked_for() -> None:
    block = Block({"x": torch.arange(4)}, torch.arange(4) * 10, torch.arange(4.0))
    batch = block.take(torch.tensor([3, 1]))
    assert (batch.x["x"].tolist(), batch.y.tolist(), batch.weight.tolist(), batch.rows.tolist()) == (  # type: ignore[union-attr]
        [3, 1],
        [30, 10],
        [3.0, 1.0],
        [3, 1],
    )
    assert len(whole(block)) == len(block) == 4


def test_parts_of_data_are_its_rows(binary_data: Data) -> None:
    assert binary_data.frame is not None
    for part in ("train", "valid", "test"):
        rows = binary_data.split[part]  # type: ignore[index]
        assert len(binary_data.block(part)) == len(rows)  # type: ignore[arg-type]
        wanted = (binary_data.frame["y"].to_numpy()[rows] == "yes").astype(int)
        np.testing.assert_array_equal(binary_data.y(part), wanted)  # type: ignore[arg-type]


def test_a_fingerprint_changes_with_any_cell_any_split_and_any_target(binary_data: Data) -> None:
    frame, split = binary_data.frame, binary_data.split
    assert frame is not None
    same = Data(frame, binary_data.spec, binary_data.target, split)
    other_cell = Data(frame.with_columns(a=pl.col("a") + 1e-9), binary_data.spec, binary_data.target, split)
    other_split = Data(frame, binary_data.spec, binary_data.target, {**split, "test": split["test"][:-1]})
    prints = [d.fingerprint for d in (binary_data, other_cell, other_split)]
    assert same.fingerprint == prints[0] and len(set(prints)) == 3
    x = {"x": torch.zeros(2, 1)}
    spec, target = InputSpec(kind="vector", fields=(VectorField(shape=(1,)),)), binary_data.target
    one, two = (Data.from_tensors(x, torch.tensor(y), spec, target).fingerprint for y in ([0, 1], [1, 0]))
    assert one != two


# --- fronts -----------------------------------------------------------------------------------------------------------


def test_large_timestamps_keep_their_differences() -> None:
    """Seconds since 1970 that differ by one second: float32 alone would merge 128 of them."""
    seconds = [1.7e9 + i for i in range(64)]
    frame = pl.DataFrame({"t": seconds})
    spec = fit_inputs(frame, {"t": "number"})
    vectors = TableFront(spec)(encode_inputs(frame, spec))
    steps = vectors[:, 0].diff()
    assert (steps > 0).all()
    assert steps[30:33].tolist() == pytest.approx([1 / spec.numbers[0].scale] * 3, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, -1e6, 1e20, -1e25, 1e300, -1e308])
def test_any_number_gives_a_finite_held_vector_and_gradient(value: float) -> None:
    front = TableFront(InputSpec(fields=(NumberField(name="a", center=2.0, scale=3.0, knots=(0.0, 1.0)),)))
    x = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    vector = front({"numbers": x})
    z = (value - 2) / 3
    held = z / math.sqrt(1 + min(z / 3, 1e100) ** 2) if abs(z) < 1e100 else math.copysign(3.0, z)
    assert vector[0, 0].item() == pytest.approx(held, rel=1e-5)
    (slope,) = torch.autograd.grad(vector.sum(), x)
    assert vector.isfinite().all() and slope.isfinite().all()


def test_a_missing_number_has_a_flag_no_slope_and_a_vector_of_its_own() -> None:
    front = TableFront(InputSpec(fields=(NumberField(name="a", knots=(0.0, 1.0)), NumberField(name="b"))))
    x = torch.tensor([[math.nan, 1.0], [0.5, 1.0]], dtype=torch.float64, requires_grad=True)
    vectors = front({"numbers": x})
    assert vectors[:, 2].tolist() == [1.0, 0.0]
    (slope,) = torch.autograd.grad(vectors.square().sum(), x)
    assert slope.isfinite().all() and slope[0, 0] == 0 and slope[1].abs().min() > 0
    assert not torch.equal(vectors[0, 4:16], vectors[1, 4:16])


def test_dates_know_the_day_of_the_week_and_the_season() -> None:
    front = TableFront(
        InputSpec(fields=(NumberField(name="d", kind="date", center=19000.0, scale=400.0),)), number_dim=0
    )
    vectors = front({"numbers": torch.tensor([[19000.0], [19007.0], [19003.5]], dtype=torch.float64)})
    assert front.n_out == vectors.shape[1] == 6
    assert vectors[1, 2:4].tolist() == pytest.approx(vectors[0, 2:4].tolist(), abs=1e-4)
    assert vectors[2, 2:4].tolist() == pytest.approx((-vectors[0, 2:4]).tolist(), abs=1e-4)
    assert vectors[:, 2:].square().reshape(3, 2, 2).sum(2).flatten().tolist() == pytest.approx([1.0] * 6)


def test_noise_moves_numbers_in_training_only_by_its_share_of_their_spread() -> None:
    front = TableFront(InputSpec(fields=(NumberField(name="a", scale=100.0),)), number_dim=0, noise=0.1)
    x = {"numbers": torch.tensor([[0.0]] * 4000 + [[math.nan]], dtype=torch.float64)}
    torch.manual_seed(0)
    moved = front.train()(x)[:, 0]
    assert moved[:-1].std().item() == pytest.approx(0.1, rel=0.05) and moved.isfinite().all()
    assert torch.equal(front.eval()(x)[:, 0], torch.zeros(4001))


def test_a_front_needs_something_to_eat() -> None:
    with pytest.raises(UsageError, match="needs numbers or categories"):
        TableFront(InputSpec(kind="vector", fields=(VectorField(shape=(2,)),)))


def test_vectors_of_any_shape_and_type_are_flattened_in_order() -> None:
    fields = (
        VectorField(name="a", shape=(2, 2)),
        VectorField(name="b", shape=()),
        VectorField(name="c", shape=(1,), dtype="int"),
    )
    front = VectorFront(InputSpec(kind="vector", fields=fields))
    x = {"c": torch.tensor([[7]]), "a": torch.arange(4.0).reshape(1, 2, 2), "b": torch.tensor([9.0])}
    assert front(x).tolist() == [[0, 1, 2, 3, 9, 7]] and front.n_out == 6
    assert front({k: v[:0] for k, v in x.items()}).shape == (0, 6)


def test_all_of_a_front_learns() -> None:
    fields = (NumberField(name="a", knots=(0.0, 1.0, 2.0)), CategoryField(name="c", categories=("x",)))
    front = TableFront(InputSpec(fields=fields))
    x = {"numbers": torch.tensor([[0.5], [math.nan]], dtype=torch.float64), "codes": torch.tensor([[1], [0]])}
    front(x).square().sum().backward()
    assert {n for n, p in front.named_parameters() if p.grad is None or not p.grad.any()} <= {"codes.table.weight"}
    assert front.codes is not None and front.codes.table.weight.grad is not None
    assert front.codes.table.weight.grad[1].any()


def test_rare_values_of_a_column_that_is_mostly_zero_get_knots_of_their_own() -> None:
    values = [0.0] * 950 + [float(v) for v in range(100, 5100, 100)]
    field = fit_inputs(pl.DataFrame({"gain": values}), {"gain": "number"}).numbers[0]
    assert len([k for k in field.knots if k > 0]) >= 20
    assert field.knots[0] == 0.0 and field.knots[-1] == 5000.0 and list(field.knots) == sorted(set(field.knots))
