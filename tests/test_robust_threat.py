"""What an attacker may change: the projection never lets anything else through, whatever an attack returns."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netwright.core.errors import UsageError
from netwright.core.spec import CategoryField, InputSpec, NumberField, VectorField
from netwright.robust.threat import Threat

TABLE = InputSpec(
    fields=(
        NumberField(name="size", low=-2.0, high=3.0, scale=1.7),
        CategoryField(name="colour", categories=("red", "green", "blue", "")),
        NumberField(name="rooms", kind="integer", low=1, high=9, scale=2.3),
        NumberField(name="sold", kind="date", low=0.0, high=20_000.0, scale=900.0),
        NumberField(name="income", low=0.0, high=1e6, scale=4e4),
        CategoryField(name="city", categories=("Bern", "Rome")),
        CategoryField(name="heating", categories=("gas", "oil", "wood")),
    )
)
VECTOR = InputSpec(
    kind="vector",
    fields=(
        VectorField(name="x", shape=(2, 3), low=-1.0, high=1.0, scale=0.37),
        VectorField(name="ids", shape=(4,), dtype="int"),
    ),
)


def table_rows(rng: torch.Generator, n: int = 12) -> dict[str, Tensor]:
    """Rows of TABLE, some cells missing, beyond the training range, or unknown; whole numbers are mostly whole."""
    numbers = torch.randn(n, 4, generator=rng, dtype=torch.float64) * torch.tensor([2.0, 4.0, 5e3, 3e5])
    numbers[:, 1] = numbers[:, 1].round() + 0.5 * (torch.rand(n, generator=rng) < 0.1)
    numbers[torch.rand(n, 4, generator=rng) < 0.2] = math.nan
    return {"numbers": numbers, "codes": torch.stack([torch.randint(0, k, (n,), generator=rng) for k in (5, 3, 4)], 1)}


def anything(x: Tensor, rng: torch.Generator) -> Tensor:
    """What a careless attack might return."""
    if not x.is_floating_point():
        return torch.randint(-3, 9, x.shape, generator=rng)
    point = x + torch.randn(x.shape, generator=rng, dtype=x.dtype) * 10 ** torch.randint(-3, 8, x.shape, generator=rng)
    strange = torch.tensor([math.nan, math.inf, -math.inf, 0.0], dtype=x.dtype)
    drawn = strange[torch.randint(0, 4, x.shape, generator=rng)]
    return torch.where(torch.rand(x.shape, generator=rng) < 0.3, drawn, point)


def assert_allowed(point: dict[str, Tensor], x: dict[str, Tensor], threat: Threat) -> None:
    """Every rule of a threat, written out a second time."""
    for field in threat.spec.fields:
        tensor, column = threat.spec.locate(field.name)
        was, now = (v[tensor] if column is None else v[tensor][:, column] for v in (x, point))
        fixed = field.name in threat.immutable or field.kind == "date"
        if isinstance(field, CategoryField):
            changed = now != was
            allowed = [k + 1 for k, label in enumerate(field.categories) if label]
            assert all(int(code) in allowed for code in now[changed])
            fixed = fixed or threat.swaps == 0
        elif isinstance(field, VectorField) and field.dtype == "int":
            fixed, changed = True, now != was
        else:
            assert torch.equal(was.isnan(), now.isnan())
            there = ~was.isnan()
            was, now = was[there].double(), now[there].double()
            changed = now != was
            assert ((now - was).abs() <= threat.eps * field.scale * (1 + 1e-12)).all()
            assert field.low is None or (now >= torch.minimum(was, torch.tensor(field.low, dtype=now.dtype))).all()
            assert field.high is None or (now <= torch.maximum(was, torch.tensor(field.high, dtype=now.dtype))).all()
            if field.kind == "integer":
                assert (now[changed] == now[changed].round()).all()
        assert not (fixed and changed.any()), field.name
    if "codes" in x:
        assert ((point["codes"] != x["codes"]).sum(1) <= threat.swaps).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    eps=st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0]),
    swaps=st.integers(0, 3),
    immutable=st.sets(st.sampled_from(TABLE.names)),
    norm=st.sampled_from(["linf", "l2"]),
)
def test_the_projection_lets_nothing_through_that_is_not_allowed(seed, eps, swaps, immutable, norm):
    rng = torch.Generator().manual_seed(seed)
    x, threat = table_rows(rng), Threat(TABLE, eps=eps, swaps=swaps, immutable=tuple(immutable), norm=norm)
    point = threat.project({name: anything(tensor, rng) for name, tensor in x.items()}, x)
    assert_allowed(point, x, threat)
    assert (threat.distance(point, x) <= eps * (1 + 1e-9)).all()
    again = threat.project(point, x)
    for name, tensor in point.items():  # scaling to a length rounds, so that a second time may move the last bits
        torch.testing.assert_close(again[name], tensor, rtol=1e-12, atol=1e-12, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    eps=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    far=st.sampled_from([1.0, 1e3, 1e6]),
    norm=st.sampled_from(["linf", "l2"]),
)
def test_a_float32_tensor_never_leaves_its_box_by_rounding(seed, eps, far, norm):
    rng = torch.Generator().manual_seed(seed)
    x = {"x": torch.randn(9, 2, 3, generator=rng) * far, "ids": torch.randint(0, 9, (9, 4), generator=rng)}
    threat = Threat(VECTOR, eps=eps, norm=norm)
    point = threat.project({name: anything(tensor, rng) for name, tensor in x.items()}, x)
    assert_allowed(point, x, threat)
    assert (threat.distance(point, x) <= eps * (1 + 1e-12)).all()


def test_a_row_beyond_the_training_range_may_stay_but_not_go_further():
    spec = InputSpec(fields=(NumberField(name="a", low=0.0, high=1.0, scale=1.0),))
    x = {"numbers": torch.tensor([[3.0], [-2.0]], dtype=torch.float64)}
    point = Threat(spec, eps=0.5).project({"numbers": torch.tensor([[9.0], [-9.0]])}, x)
    assert point["numbers"].flatten().tolist() == [3.0, -2.0]
    back = Threat(spec, eps=0.5).project({"numbers": torch.tensor([[0.0], [0.0]])}, x)
    assert back["numbers"].flatten().tolist() == [2.5, -1.5]


def test_whole_numbers_stay_where_the_box_holds_no_other_whole_number():
    spec = InputSpec(fields=(NumberField(name="n", kind="integer", low=0, high=9, scale=2.0),))
    x = {"numbers": torch.tensor([[4.0]], dtype=torch.float64)}
    assert not Threat(spec, eps=0.49).boxes(x)["numbers"].moves.any()
    assert Threat(spec, eps=0.5).project({"numbers": torch.tensor([[9.0]])}, x)["numbers"].item() == 5.0


def test_a_row_that_is_not_whole_where_numbers_are_whole_is_not_led_out_of_the_ball():
    fields = (NumberField(name="a", low=-9.0, high=9.0), NumberField(name="n", kind="integer", low=0.0, high=9.0))
    threat = Threat(InputSpec(fields=fields), eps=0.6, norm="l2")
    x = {"numbers": torch.tensor([[0.0, -0.5], [0.0, 2.5]], dtype=torch.float64)}
    point = threat.project({"numbers": x["numbers"] + torch.tensor([9.0, 1.0])}, x)
    assert (threat.distance(point, x) <= 0.6 * (1 + 1e-9)).all()
    assert (point["numbers"][:, 0] > 0.3).all() and ((point["numbers"] == x["numbers"]) | (point["numbers"] % 1 == 0))[
        :, 1
    ].all()


def test_dates_move_only_when_told_to():
    x = table_rows(torch.Generator().manual_seed(1))
    far = {**x, "numbers": x["numbers"] + 1e9}
    column = TABLE.locate("sold")[1]
    assert torch.equal(
        Threat(TABLE, eps=1.0).project(far, x)["numbers"][:, column].nan_to_num(), x["numbers"][:, column].nan_to_num()
    )
    moved = Threat(TABLE, eps=1.0, dates=True).project(far, x)["numbers"][:, column] != x["numbers"][:, column]
    assert moved[~x["numbers"][:, column].isnan()].any()


def test_distances_and_swaps_are_measured_over_fixed_fields_too():
    x = table_rows(torch.Generator().manual_seed(2))
    x["numbers"] = x["numbers"].nan_to_num()
    point = {"numbers": x["numbers"].clone(), "codes": x["codes"].clone()}
    point["numbers"][0, 2] += 1800.0
    point["codes"][1, :2] += 1
    threat = Threat(TABLE, eps=0.1, immutable=("sold",))
    assert threat.distance(point, x)[:2].tolist() == pytest.approx([2.0, 0.0])
    assert threat.swapped(point, x)[:2].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": -0.1}, "at least 0"),
        ({"eps": math.nan}, "finite"),
        ({"swaps": -1}, "whole number"),
        ({"immutable": ("colur",)}, "did you mean 'colour'"),
    ],
)
def test_a_senseless_threat_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Threat(TABLE, **options)


def test_an_answer_of_the_wrong_shape_is_refused():
    x = table_rows(torch.Generator().manual_seed(3))
    with pytest.raises(UsageError, match="in the shape"):
        Threat(TABLE, eps=0.1).project({**x, "numbers": x["numbers"][:3]}, x)
