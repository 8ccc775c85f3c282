"""The cores of the attacks and the shell around them, against closed forms, brute force and cheats."""

from __future__ import annotations

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.core.spec import CategoryField, InputSpec, NumberField, TargetSpec
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, fit
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import linear, residual_mlp
from netwright.robust import attacks
from netwright.robust.goal import ascent, judge, measured
from netwright.robust.shell import curve, evaluate, held, pruned
from netwright.robust.threat import Threat
from netwright.train.settings import Training
from test_robust_threat import assert_allowed

CORES = {
    "fgsm": attacks.fgsm,
    "pgd": partial(attacks.pgd, steps=5),
    "category-swap": attacks.category_swap,
    "table-attack": partial(attacks.table_attack, steps=3),
    "noise": attacks.noise,
}


class Raw(nn.Module):
    """Outputs that are linear in raw numbers: x @ weight + bias."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["numbers"] @ self.weight + self.bias


def columns(n: int, rng: torch.Generator, kind: str = "number", bound: float = 1e6) -> InputSpec:
    scales = (0.5 + 4 * torch.rand(n, generator=rng)).tolist()
    return InputSpec(
        fields=tuple(
            NumberField(name=f"n{i}", kind=kind, low=-bound, high=bound, scale=s) for i, s in enumerate(scales)
        )
    )


def linear_binary(seed: int, kind: str = "number") -> tuple[Model, dict[str, Tensor], Tensor, Tensor, Tensor]:
    """A linear classifier, rows, their margins (positive: right) and the change of margin per unit of each column."""
    rng = torch.Generator().manual_seed(seed)
    spec = columns(5, rng, kind)
    weight, bias = torch.randn(5, 2, generator=rng, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    x = torch.randn(200, 5, generator=rng, dtype=torch.float64) * 4
    x = x.round() if kind == "integer" else x
    y = torch.randint(0, 2, (200,), generator=rng)
    target = TargetSpec(name="y", task="binary", classes=("0", "1"), priors=(0.5, 0.5))
    model = Model(Raw(weight, bias).eval(), spec, target, CrossEntropy())
    slope = weight[:, 0] - weight[:, 1]
    return model, {"numbers": x}, y, (x @ slope) * (1 - 2 * y), slope


def numbers_model(function: nn.Module, spec: InputSpec) -> Model:
    return Model(function.eval(), spec, TargetSpec(name="z", task="number"), SquaredError())


@pytest.fixture(scope="module")
def trained(binary_data) -> Model:
    """A small network that has learned something."""
    recipe = Recipe(
        name="small",
        template="residual-mlp",
        options={"width": 16, "depth": 1},
        loss="cross-entropy",
        training=Training(epochs=15, batch_size=32),
    )
    return fit(recipe, binary_data, seed=0, metric="log-loss")[0]


def all_rows(data) -> tuple[dict[str, Tensor], Tensor]:
    block = data.block("train")
    return dict(block.x), block.y


# Laws of every core inside the shell


@pytest.mark.parametrize("name", CORES)
def test_an_attack_never_leaves_what_is_allowed(name, trained, binary_data):
    x, y = all_rows(binary_data)
    for eps, swaps in ((0.05, 0), (0.6, 1), (0.0, 1), (3.0, 1)):
        threat = Threat(trained.spec, eps=eps, swaps=swaps, immutable=("noise",))
        result = evaluate(CORES[name], trained, x, y, threat)
        assert_allowed(result.x, x, threat)
        assert (result.distance <= eps * (1 + 1e-9)).all()
        assert (result.swaps <= swaps).all()
        assert result.n_clipped == 0, "our own attacks must return allowed rows"


@pytest.mark.parametrize("name", CORES)
def test_a_larger_change_never_looks_safer_and_what_counts_is_what_the_model_says(name, trained, binary_data):
    x, y = all_rows(binary_data)
    threats = [Threat(trained.spec, eps=e, swaps=k) for e, k in ((0.1, 0), (0.3, 1), (0.6, 1), (1.0, 1))]
    results = curve(CORES[name], trained, x, y, threats)
    accuracies = [r.accuracy for r in results]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < float((~results[0].wrong).mean()), "an attack of a whole spread must turn something"
    for result in results:
        right = trained.predict_encoded(result.x).argmax(1) == y.numpy()
        assert np.array_equal(right, ~result.wrong & ~result.success)
        kept = torch.from_numpy(result.wrong)
        assert all(torch.equal(result.x[n][kept].nan_to_num(), x[n][kept].nan_to_num()) for n in x)


@pytest.mark.parametrize("name", CORES)
def test_an_attack_is_deterministic_and_leaves_no_trace(name, trained, binary_data):
    x, y = all_rows(binary_data)
    model = copy.deepcopy(trained)
    model.module.body.train()  # a network that somebody left half in training mode
    weights = {k: v.clone() for k, v in model.module.state_dict().items()}
    modes = [m.training for m in model.module.modules()]
    rows, state = {k: v.clone() for k, v in x.items()}, torch.random.get_rng_state()
    threat = Threat(model.spec, eps=0.4, swaps=1)
    first, second = (evaluate(CORES[name], model, x, y, threat, seed=3) for _ in range(2))
    assert all(torch.equal(first.x[n].nan_to_num(), second.x[n].nan_to_num()) for n in x)
    assert all(torch.equal(weights[k], v) for k, v in model.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.module.parameters())
    assert [m.training for m in model.module.modules()] == modes
    assert all(torch.equal(rows[n].nan_to_num(), x[n].nan_to_num()) for n in x)
    assert torch.equal(torch.random.get_rng_state(), state)


# Against closed forms


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_classifier_falls_exactly_where_the_closed_form_says(name, seed):
    model, x, y, margin, slope = linear_binary(seed)
    scale = torch.tensor([f.scale for f in model.spec.numbers], dtype=torch.float64)
    for eps in (0.05, 0.2, 0.7):
        worst = margin - eps * (scale * slope.abs()).sum()
        result = evaluate(CORES[name], model, x, y, Threat(model.spec, eps=eps))
        assert np.array_equal(~result.wrong & ~result.success, (worst > 0).numpy())


def test_fgsm_reaches_the_corner_of_a_linear_classifier_exactly_and_pgd_too_where_the_row_stands():
    model, x, y, margin, slope = linear_binary(7)
    threat = Threat(model.spec, eps=0.1)
    scale = torch.tensor([f.scale for f in model.spec.numbers], dtype=torch.float64)
    worst = margin - 0.1 * (scale * slope.abs()).sum()
    stands = worst > 0
    assert stands.any() and not stands.all()
    fgsm = evaluate(attacks.fgsm, model, x, y, threat)
    assert torch.from_numpy(-fgsm.price_after)[stands].numpy() == pytest.approx(worst[stands].numpy(), abs=1e-12)
    pgd = evaluate(attacks.pgd, model, x, y, threat)
    assert torch.from_numpy(-pgd.price_after)[stands].numpy() == pytest.approx(worst[stands].numpy(), abs=1e-5)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_whole_numbers_reach_the_best_whole_corner(name):
    model, x, y, margin, slope = linear_binary(3, "integer")
    scale = torch.tensor([f.scale for f in model.spec.numbers], dtype=torch.float64)
    worst = margin - ((0.45 * scale).floor() * slope.abs()).sum()
    result = evaluate(CORES[name], model, x, y, Threat(model.spec, eps=0.45))
    assert np.array_equal(~result.wrong & ~result.success, (worst > 0).numpy())


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_the_error_of_a_linear_regression_grows_by_the_closed_form_within_the_bounds(name):
    rng = torch.Generator().manual_seed(0)
    spec = columns(4, rng, bound=2.0)
    weight = torch.randn(4, 1, generator=rng, dtype=torch.float64)
    x = torch.randn(60, 4, generator=rng, dtype=torch.float64)
    y = torch.randn(60, generator=rng, dtype=torch.float64)
    model = numbers_model(Raw(weight, torch.zeros(1, dtype=torch.float64)), spec)
    residual = x @ weight[:, 0] - y
    scale, towards = torch.tensor([f.scale for f in spec.numbers]), residual.sign()[:, None] * weight[:, 0].sign()
    corner = x + 0.2 * scale * towards
    low, high = x.clamp(max=-2.0), x.clamp(min=2.0)
    corner = torch.minimum(torch.maximum(corner, low), high)
    result = evaluate(CORES[name], model, {"numbers": x}, y, Threat(spec, eps=0.2))
    assert result.price_after == pytest.approx((corner @ weight[:, 0] - y).abs().numpy(), abs=1e-5)
    assert result.rmse > float(np.sqrt(np.mean(result.price_before**2)))


def test_pgd_finds_a_peak_inside_the_box_that_one_long_step_jumps_over():
    class Peak(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return torch.exp(-10 * (x["numbers"] - 0.3) ** 2)

    spec = InputSpec(fields=(NumberField(name="a", low=-5.0, high=5.0, scale=1.0),))
    x, y = {"numbers": torch.zeros(4, 1, dtype=torch.float64)}, torch.zeros(4, dtype=torch.float64)
    model, threat = numbers_model(Peak(), spec), Threat(spec, eps=1.0)
    fgsm = evaluate(attacks.fgsm, model, x, y, threat)
    pgd = evaluate(partial(attacks.pgd, steps=40), model, x, y, threat)
    assert (fgsm.price_after == fgsm.price_before).all() and not fgsm.success.any()
    assert pgd.price_after == pytest.approx(np.ones(4), abs=0.02)


def test_steps_of_pgd_fall_from_that_of_fgsm_so_that_a_narrow_peak_is_found_that_steps_of_one_size_miss():
    class Narrow(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return torch.exp(-300 * (x["numbers"] - 0.305) ** 2)

    spec = InputSpec(fields=(NumberField(name="a", low=-5.0, high=5.0, scale=1.0),))
    x, y = {"numbers": torch.linspace(0, 0.2, 5, dtype=torch.float64)[:, None]}, torch.zeros(5, dtype=torch.float64)
    model, threat = numbers_model(Narrow(), spec), Threat(spec, eps=1.0)
    falling = evaluate(partial(attacks.pgd, steps=40, restarts=1), model, x, y, threat)
    fixed = evaluate(partial(attacks.pgd, steps=40, restarts=1, step_size=0.0625), model, x, y, threat)
    assert falling.price_after.min() > 0.99 > 0.9 > fixed.price_after.min()
    linear, rows, classes, *_ = linear_binary(1)
    one = evaluate(partial(attacks.pgd, steps=1, restarts=1), linear, rows, classes, Threat(linear.spec, eps=0.1))
    fgsm = evaluate(attacks.fgsm, linear, rows, classes, Threat(linear.spec, eps=0.1))
    assert one.price_after == pytest.approx(fgsm.price_after)


# Work that is not done


def test_rows_that_are_wrong_already_are_not_attacked_and_pgd_drops_rows_as_they_turn():
    model, x, y, margin, slope = linear_binary(5)
    seen: list[int] = []

    def watched(net_outputs, loss, rows, wanted, threat, *, rng):
        counted = lambda some: (seen.append(len(some["numbers"])), net_outputs(some))[1]  # noqa: E731
        return attacks.pgd(counted, loss, rows, wanted, threat, rng=rng, steps=10, step_size=threat.eps / 4)

    scale = torch.tensor([f.scale for f in model.spec.numbers], dtype=torch.float64)
    reach = 0.3 * (scale * slope.abs()).sum()
    evaluate(watched, model, x, y, Threat(model.spec, eps=0.3))
    # a step is a quarter of the box, so a row is gone after as many steps as its margin needs
    right = [int((margin > k * reach / 4).sum()) for k in range(5)]
    assert seen[:6] == [right[0], *right]
    assert right[0] > right[1] > right[4] > 0
    assert seen[11] == right[4], "the second start is for the rows that still stand"


# Against brute force


def category_model(template, swaps: int, seed: int) -> tuple[Model, dict[str, Tensor], Tensor, Threat]:
    spec = InputSpec(
        fields=(
            CategoryField(name="a", categories=("p", "q", "r", "s")),
            CategoryField(name="b", categories=("u", "v", "")),
            CategoryField(name="c", categories=("m", "n", "o")),
        )
    )
    target = TargetSpec(name="y", task="classes", classes=("0", "1", "2"), priors=(0.4, 0.3, 0.3))
    if template is linear:
        target = TargetSpec(name="y", task="binary", classes=("0", "1"), priors=(0.5, 0.5))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = template(spec, target)
        for p in net.parameters():
            nn.init.normal_(p) if p.dim() > 1 else nn.init.zeros_(p)
        for layer in net.modules():
            if isinstance(layer, nn.LayerNorm):
                nn.init.ones_(layer.weight)
    rng = torch.Generator().manual_seed(seed)
    x = {"codes": torch.stack([torch.randint(0, k, (40,), generator=rng) for k in (5, 4, 4)], 1)}
    model = Model(net.eval(), spec, target, CrossEntropy())
    return model, x, torch.from_numpy(model.predict_encoded(x).argmax(1)), Threat(spec, swaps=swaps)


@pytest.mark.parametrize(("template", "swaps"), [(residual_mlp, 1), (linear, 1), (linear, 2), (linear, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_category_swap_finds_what_brute_force_finds(template, swaps, seed):
    """For one swap always; for more where the network adds up its columns."""
    model, x, y, threat = category_model(template, swaps, seed)
    worst, turned = np.full(len(y), -np.inf), np.zeros(len(y), dtype=bool)
    for codes in itertools.product(range(1, 5), range(1, 3), range(1, 4)):
        for chosen in itertools.product((False, True), repeat=3):
            if sum(chosen) > swaps:
                continue
            point = torch.where(torch.tensor(chosen), torch.tensor(codes), x["codes"])
            price, wrong = judge(torch.from_numpy(model.predict_encoded({"codes": point})), y)
            worst, turned = np.maximum(worst, price.numpy()), turned | wrong.numpy()
    result = evaluate(attacks.category_swap, model, x, y, threat)
    assert np.array_equal(result.success, turned)
    if swaps == 1:
        assert result.price_after[~turned] == pytest.approx(worst[~turned])
    assert turned.any()


# The shell does not trust the core


def test_an_attack_that_cheats_is_clipped_and_measured_again(trained, binary_data):
    x, y = all_rows(binary_data)
    threat = Threat(trained.spec, eps=0.2, swaps=1, immutable=("noise",))

    def cheat(net_outputs, loss, rows, wanted, threat, *, rng):
        rows["numbers"] += 1e6  # in place, too
        rows["numbers"][0] = torch.nan
        return {"numbers": rows["numbers"].nan_to_num(0.5) - 0.25, "codes": rows["codes"] + 50}

    before = {n: t.clone() for n, t in x.items()}
    result = evaluate(cheat, trained, x, y, threat)
    assert_allowed(result.x, x, threat)
    assert all(torch.equal(before[n].nan_to_num(), x[n].nan_to_num()) for n in x)
    assert result.n_clipped == int((~result.wrong).sum())
    assert np.array_equal(trained.predict_encoded(result.x), result.after)
    assert result.swaps.max() == 0, "codes that do not exist go back"


def test_an_attack_that_only_makes_rows_safer_changes_nothing(trained, binary_data):
    x, y = all_rows(binary_data)

    def helper(net_outputs, loss, rows, wanted, threat, *, rng):
        boxes = threat.boxes(rows)
        gradients, _, _ = ascent(net_outputs, loss, rows, wanted, list(boxes))
        return {**rows, "numbers": rows["numbers"] - 0.001 * boxes["numbers"].spread * gradients["numbers"].sign()}

    result = evaluate(helper, trained, x, y, Threat(trained.spec, eps=0.001))
    assert (result.price_after >= result.price_before).all()
    assert result.accuracy == float((~result.wrong).mean())


def test_pruning_keeps_rows_wrong_and_only_puts_changes_back(trained, binary_data):
    x, y = all_rows(binary_data)
    result = evaluate(CORES["table-attack"], trained, x, y, Threat(trained.spec, eps=0.5, swaps=1))
    hit = torch.from_numpy(np.flatnonzero(result.success))
    near, far = ({n: t[hit] for n, t in some.items()} for some in (x, result.x))
    left = pruned(trained, near, y[hit], far)
    assert (trained.predict_encoded(left).argmax(1) != y[hit].numpy()).all()
    fewer = 0
    for name in x:
        same = (left[name] == far[name]) | (far[name].isnan() if far[name].is_floating_point() else False)
        back = (left[name] == near[name]) & ~same
        assert (same | back).all()
        fewer += int(back.sum())
    assert fewer > 0


# What is raised


def test_what_an_attack_raises_has_the_signs_of_cross_entropy():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 4, (50,), generator=rng)
    (ours,) = torch.autograd.grad(judge(logits.softmax(1), y)[0].sum(), logits)
    (theirs,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), logits)
    ratio = ours / theirs
    assert (ratio > 0).all()
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio)), "one positive factor a row"


def test_the_gradient_does_not_fade_where_a_network_is_very_sure():
    model, x, y, _, _ = linear_binary(0)
    with torch.no_grad():
        model.module.weight.mul_(8.0)
    prediction = model.predict_encoded(x)
    right = torch.from_numpy(prediction.argmax(1)) == y
    sure = right & (torch.from_numpy(prediction.max(1)) == 1.0)
    assert sure.sum() > 10
    gradients, _, _ = ascent(model.module, model.loss, x, y, ["numbers"])
    assert (gradients["numbers"][sure] != 0).all()


def test_a_prediction_that_is_not_finite_counts_as_wrong():
    price, wrong = judge(torch.tensor([[torch.nan, torch.nan], [0.9, 0.1]]), torch.tensor([0, 0]))
    assert wrong.tolist() == [True, False] and price[0] == torch.inf
    assert judge(torch.tensor([torch.nan, 1.0]), torch.tensor([0.0, 0.5]))[0].tolist() == [torch.inf, 0.5]


def test_measuring_agrees_with_the_gradient_pass_and_keeps_no_graph(trained, binary_data):
    x, y = all_rows(binary_data)
    with held(trained.module):
        price, wrong = measured(trained.module, trained.loss, x, y)
        _, again, wrong_again = ascent(trained.module, trained.loss, x, y, ["numbers"])
    assert not price.requires_grad and not again.requires_grad
    assert torch.equal(price, again) and torch.equal(wrong, wrong_again)
