"""The ball cut by a box: projections are the nearest allowed points, and whole pixels stay inside."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.robust.ball import reach
from netwright.robust.box import Box
from netwright.robust.threat import Threat
from test_robust_images import SHAPE, image_spec


def test_without_a_box_the_projection_shrinks_a_change_to_the_ball_and_leaves_one_inside():
    size, room = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64), torch.full((2, 2), 1e9).double()
    assert reach(size, room, 2.5).tolist() == pytest.approx([0.5, 1.0])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.sampled_from([1e-3, 0.3, 2.0, 50.0]), free=st.booleans())
def test_the_projection_is_the_nearest_point_of_ball_and_box(seed: int, radius: float, free: bool) -> None:
    """The first-order condition of a projection p of q onto a convex set: (q - p) . (z - p) <= 0 for all its z."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 6, generator=rng, dtype=torch.float64)
    low, high = (x - 1e6, x + 1e6) if free else (torch.zeros_like(x), torch.ones_like(x))
    box = Box(x, low, high, torch.tensor(1.0).double(), eps=radius, norm="l2")
    q = x + 3 * torch.randn(5, 6, generator=rng, dtype=torch.float64)
    p = box.hold(q)
    assert ((p - x).norm(dim=1) <= radius * (1 + 1e-12)).all() and ((p >= low) & (p <= high)).all()
    for _ in range(30):
        z = x + torch.randn(5, 6, generator=rng, dtype=torch.float64) * 10 ** (
            2 * torch.rand(1, generator=rng).double() - 1
        )
        z = torch.minimum(torch.maximum(z, low), high)
        z = x + (z - x) * (radius / (z - x).norm(dim=1, keepdim=True)).clamp(max=1.0)
        assert (((q - p) * (z - p)).sum(1) <= 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    eps=st.sampled_from([0.4, 1.0, 3.7, 40.0, 900.0]),
    dtype=st.sampled_from(["uint8", "float"]),
    norm=st.sampled_from(["linf", "l2"]),
    span=st.sampled_from([(0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)]),
)
def test_no_image_leaves_what_is_allowed_whatever_an_attack_returns(seed, eps, dtype, norm, span):
    low, high = (0.0, 255.0) if dtype == "uint8" else span
    rng = torch.Generator().manual_seed(seed)
    spec = image_spec(dtype, low, high)
    x = low + (high - low) * torch.rand(6, *SHAPE, generator=rng)
    x = x.round().to(torch.uint8) if dtype == "uint8" else x
    x.view(-1)[:3] = torch.tensor([low, high, high], dtype=x.dtype)
    point = (
        x.float()
        + torch.randn(6, *SHAPE, generator=rng) * (high - low) * 10 ** torch.randint(-4, 3, (6, 1, 1, 1)).float()
    )
    strange = torch.tensor([math.nan, math.inf, -math.inf])[torch.randint(0, 3, x.shape, generator=rng)]
    point = torch.where(torch.rand(x.shape, generator=rng) < 0.1, strange, point)
    threat = Threat(spec, eps=eps, norm=norm)
    kept = threat.project({"image": point}, {"image": x})
    assert kept["image"].dtype == x.dtype and kept["image"].shape == x.shape
    change = (kept["image"].double() - x.double()) * 255 / (high - low)
    size = change.flatten(1).abs().amax(1) if norm == "linf" else change.flatten(1).norm(dim=1)
    assert (size <= eps * (1 + 1e-9)).all()
    assert torch.allclose(threat.distance(kept, {"image": x}), size)
    assert kept["image"].min() >= low and kept["image"].max() <= high
    again = threat.project(kept, {"image": x})
    assert torch.equal(again["image"], kept["image"])


def test_whole_pixels_keep_as_much_of_a_change_as_the_ball_allows():
    """Rounding to the nearest may lead out of the ball; then no more pixels are rounded the other way than needed."""
    x = torch.full((1, 1, 1, 4), 100, dtype=torch.uint8)
    threat = Threat(image_spec("uint8", shape=(1, 1, 4)), eps=3.2, norm="l2")
    point = x.float() + torch.tensor([[[[1.6, 1.6, 1.6, 1.6]]]])
    kept = threat.project({"image": point}, {"image": x})["image"].double() - 100
    assert sorted(kept.flatten().tolist()) == [1.0, 1.0, 2.0, 2.0], "four twos would have the length 4, three 3.6"
