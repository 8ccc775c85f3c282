"""Sets: rows grouped by a key, encoding and back, what is refused, and networks to which the order of elements means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, SetField, TargetSpec
from netwright.data.encode import decode_inputs, encode_inputs, fit_inputs
from netwright.data.grouped import grouped_field, keyed, regrouped, sets_of
from netwright.data.kinds import kind_of_cells
from netwright.data.read import look
from netwright.data.set_front import SetFront
from netwright.data.sets import SETS, column_of_sets, encode_set, fit_set
from netwright.nn.sets import DeepSet
from netwright.recipes.custom import two_rows
from netwright.recipes.sets import set_classifier

ITEMS = pl.DataFrame(
    {
        "order": [3, 3, 1, 2, 2, 2],
        "price": [1.5, 2.0, 7.0, 4.0, None, 1.0],
        "colour": ["red", "blue", "red", "red", "red", None],
        "city": ["Rome", "Rome", "Oslo", "Bern", "Bern", "Bern"],
        "late": ["yes", "yes", "no", "no", "no", "no"],
    }
)
TARGET = TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.5, 0.5))


def made(sizes: list[int], seed: int = 0) -> pl.Series:
    """Sets of these sizes, of a number and a category."""
    rng, n = numpy_generator(seed, "sets"), sum(sizes)
    elements = pl.DataFrame({"a": rng.normal(5, 2, n), "c": rng.choice(["x", "y", "z"], n)})
    return column_of_sets(elements, np.array(sizes))


SETS_COLUMN = made([3, 1, 5, 2])
FIELD: SetField = fit_set(SETS_COLUMN)
SPEC = InputSpec(kind="set", fields=(FIELD,))


def turned(column: pl.Series, seed: int) -> pl.Series:
    """The same sets, their elements in another order."""
    return pl.Series(
        column.name, [cell.sample(fraction=1.0, shuffle=True, seed=seed + k) for k, cell in enumerate(column)]
    )


def test_rows_are_grouped_in_the_order_of_keys_and_constant_columns_stay_with_the_row() -> None:
    frame = sets_of(ITEMS, by="order", rows=["late"])
    assert frame.columns == ["order", "city", "late", "set"]
    assert frame["order"].to_list() == [3, 1, 2]
    assert frame["city"].to_list() == ["Rome", "Oslo", "Bern"]
    assert frame["set"].list.len().to_list() == [2, 1, 3]
    assert frame["set"][0].to_list() == [{"price": 1.5, "colour": "red"}, {"price": 2.0, "colour": "blue"}]
    assert kind_of_cells(frame["set"]) is SETS


def test_rows_of_a_key_need_not_stand_beside_each_other() -> None:
    mixed = ITEMS[[0, 2, 3, 1, 4, 5]]
    assert sets_of(mixed, by="order").sort("order").equals(sets_of(ITEMS, by="order").sort("order"))


def test_a_target_that_differs_within_a_key_is_refused_with_the_key() -> None:
    wrong = ITEMS.with_columns(late=pl.Series(["yes", "no", "no", "no", "no", "no"]))
    with pytest.raises(DataError, match=r"'late' must be the same .* such as 3 \('yes', 'no'\)"):
        sets_of(wrong, by="order", rows=["late"])


def test_a_missing_key_and_keys_that_all_come_once_are_refused() -> None:
    with pytest.raises(DataError, match="the key 'order' is missing in 1 row"):
        sets_of(ITEMS.with_columns(order=pl.Series([3, None, 1, 2, 2, 2])), by="order")
    with pytest.raises(DataError, match="there are no elements"):
        sets_of(ITEMS.with_columns(order=pl.Series(range(6))), by="order")


def test_kinds_of_elements_can_be_set_and_others_are_refused() -> None:
    coded = ITEMS.with_columns(price=pl.Series([1, 2, 1, 2, 1, 2]))
    elements = sets_of(coded, by="order", kinds={"price": "category"})["set"].explode().struct.unnest()
    assert elements["price"].to_list() == ["1", "2", "1", "2", "1", "2"]
    with pytest.raises(UsageError, match="is a column of elements"):
        sets_of(coded, by="order", kinds={"price": "text"})


def test_what_no_network_can_eat_is_left_out_of_the_elements_and_said() -> None:
    from netwright.data.grouped import grouped

    n = 60
    frame = pl.DataFrame(
        {"k": np.repeat(np.arange(20), 3), "name": [f"n{i}x{i * 7}" for i in range(n)], "v": np.arange(n) * 0.5}
    )
    found = grouped(frame, "k", kinds={})
    assert list(found.elements) == ["v"]
    assert any("left out of the elements: name (identifier" in w for w in found.warnings)


def test_an_encoded_set_is_padded_and_comes_back() -> None:
    arrays = encode_set(SETS_COLUMN, FIELD)
    assert arrays["set:numbers"].shape == (4, 5, 1) and arrays["set:codes"].shape == (4, 5, 1)
    assert arrays["set:length"].tolist() == [3, 1, 5, 2]
    assert np.isnan(arrays["set:numbers"][1, 1:]).all() and not arrays["set:codes"][1, 1:].any()
    back = decode_inputs(encode_inputs(SETS_COLUMN.to_frame(), SPEC), SPEC)["set"]
    assert back.to_list() == SETS_COLUMN.to_list()


def test_larger_sets_than_in_training_are_cut_and_unknown_cells_have_code_zero() -> None:
    new = column_of_sets(pl.DataFrame({"c": ["x", "new", "z"] * 3, "a": [None, 1.0, 2.0] * 3}), np.array([9]))
    arrays = encode_set(new, FIELD)
    assert arrays["set:length"].tolist() == [5]
    assert np.isnan(arrays["set:numbers"][0, 0, 0]) and arrays["set:codes"][0, 1, 0] == 0


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([[{"a": 1.0, "c": "x"}], []], "row 1: a set without elements"),
        ([[{"a": 1.0, "c": "x"}], None], "row 1: 1 set missing"),
        ([[{"b": 1.0}]], "lack 2 columns"),
    ],
)
def test_bad_sets_are_refused_with_their_row(cells: list[object], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        encode_set(pl.Series("set", cells), FIELD)


def test_a_column_that_holds_no_sets_is_refused() -> None:
    for use in (fit_set, lambda column: encode_set(column, FIELD)):
        with pytest.raises(DataError, match=r"sets were fitted|expected lists of elements"):
            use(pl.Series("set", ["a", "b"]))


def test_json_lines_of_lists_of_objects_are_sets(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(
        '{"items": [{"p": 1, "c": "x"}, {"p": 2, "c": "y"}], "y": 1}\n{"items": [{"p": 5, "c": "x"}], "y": 0}\n'
    )
    column = look(path).frame["items"]
    assert kind_of_cells(column) is SETS
    assert SETS.describe(column) == "sets of 1 to 2 elements, each of p, c"


def test_new_rows_are_grouped_as_the_model_was_trained() -> None:
    frame = sets_of(ITEMS, by="order", rows=["late"])
    spec = keyed(fit_inputs(frame, {"city": "category", "set": "set"}), "order", "set")
    field = grouped_field(spec)
    assert field is not None and field.key == "order"
    alone = ITEMS.drop("late")[[2]]  # a key of one element only: a set like others
    new = regrouped(alone, spec)
    assert new["set"].to_list() == [[{"price": 7.0, "colour": "red"}]] and new["city"].to_list() == ["Oslo"]
    assert encode_inputs(new, spec)["set:length"].tolist() == [1]
    with pytest.raises(DataError, match="grouped by 'order'; these lack 'order'"):
        regrouped(ITEMS.drop("order"), spec)
    with pytest.raises(DataError, match="'city' must be the same"):
        regrouped(ITEMS.with_columns(city=pl.Series(list("abcdef"))), spec)


def test_the_field_survives_json() -> None:
    assert SetField.model_validate_json(FIELD.model_dump_json()) == FIELD


def network(seed: int = 0, **options: object) -> torch.nn.Module:
    recipe = set_classifier(width=8).with_options(**options)  # type: ignore[arg-type]
    return recipe.build(SPEC, TARGET, seed).eval()


@pytest.mark.parametrize("pool", ["all", "sum", "mean", "max"])
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99))
def test_the_order_of_elements_and_padding_have_no_effect(pool: str, sizes: list[int], seed: int) -> None:
    net, column = network(pool=pool), made(sizes, seed)
    base = net(encode_inputs(column.to_frame(), SPEC))
    torch.testing.assert_close(net(encode_inputs(turned(column, seed).to_frame(), SPEC)), base, atol=1e-5, rtol=1e-4)
    for k in range(len(sizes)):
        torch.testing.assert_close(net(encode_inputs(column[[k]].to_frame(), SPEC))[0], base[k], atol=1e-5, rtol=1e-4)
    x = dict(encode_inputs(column.to_frame(), SPEC))
    behind = torch.arange(FIELD.n_elements) >= x["set:length"].unsqueeze(1)
    x["set:numbers"][behind], x["set:codes"][behind] = 1e6, 1
    torch.testing.assert_close(net(x), base, atol=1e-5, rtol=1e-4)


def test_a_sum_can_count_what_a_mean_cannot() -> None:
    one, two = made([1]), pl.Series("set", [[*made([1])[0].to_list()] * 3])
    for pool, same in (("mean", True), ("max", True), ("sum", False)):
        net = network(pool=pool)
        equal = torch.allclose(
            net(encode_inputs(one.to_frame(), SPEC)), net(encode_inputs(two.to_frame(), SPEC)), atol=1e-5
        )
        assert equal == same, pool


def test_the_front_trims_large_sets_to_the_longest_of_a_batch() -> None:
    column = made([40, 2, 3])
    field: SetField = fit_set(column)
    front = SetFront(field)
    vectors, lengths = front(encode_inputs(column[1:].to_frame(), InputSpec(kind="set", fields=(field,))))
    assert vectors.shape == (2, 3, front.n_out) and lengths.tolist() == [2, 3]
    assert not vectors[0, 2:].any()


def test_two_made_up_rows_go_through_the_network() -> None:
    assert network()(two_rows(SPEC)).isfinite().all()


@pytest.mark.parametrize(("options", "expected"), [({"pool": "sun"}, "sum"), ({"depth": 0}, "at least one layer")])
def test_options_that_make_no_network_are_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        DeepSet(3, **options)  # type: ignore[arg-type]
