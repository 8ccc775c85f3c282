"""The checks before training: each passes on a sound network and is seen red on the bug that it is there for."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from conftest import make_data
from netwright.checks.entries import CHECKS
from netwright.checks.finite import predictions_finite
from netwright.checks.fresh import best_constant, lowest_possible
from netwright.checks.gradients import gradients_flow
from netwright.checks.independence import rows_independent
from netwright.checks.overfit import distinct_rows, one_batch_overfits
from netwright.checks.rate import RangeTest, learning_rate_range, median_of
from netwright.checks.start import loss_at_start
from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.spec import InputSpec, NumberField
from netwright.data.data import Data
from netwright.explain.entries import EXPLANATIONS
from netwright.losses.loss import adapt
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.recipes.book import design
from netwright.recipes.recipe import Recipe
from netwright.train.settings import Training

START = [name for name, entry in CHECKS.items() if "network" in entry.needs]


def problem(n: int = 400, inputs: int = 6, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Gaussian rows whose class is the largest of the first columns."""
    x = torch.randn(n, inputs, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :classes].argmax(1)


def foreign(module: nn.Module, x: Tensor, y: Tensor, loss: object = "cross-entropy", **wrap: object) -> Subject:
    """Somebody's own module and rows as a subject."""
    model = Model.wrap(module, loss=loss, x=x, y=y, **wrap)  # type: ignore[arg-type]
    return Subject(model=model, data=Data.from_tensors({"x": x}, y, model.spec, model.target))


def perceptron(*extra: nn.Module, inputs: int = 6, width: int = 32, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes), *extra)


def designed(task: str) -> Subject:
    data = make_data(task)
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    return Subject(recipe=recipe, data=data)


@pytest.fixture(scope="module", params=["binary", "number"])
def sound(request: pytest.FixtureRequest) -> Subject:
    """A recipe of ours with the data it was designed for."""
    return designed(request.param)


# Laws over all of them.


@pytest.mark.parametrize("name", START)
def test_a_sound_recipe_passes(name: str, sound: Subject) -> None:
    finding = CHECKS[name].load()(sound, budget_seconds=60, seed=0)
    assert finding.verdict == "pass", finding.title
    assert finding.probe == name and finding.family == "checks"
    assert finding.measured and finding.expected and finding.why and finding.reference
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


@pytest.mark.parametrize("name", START)
def test_a_check_is_deterministic_and_leaves_random_numbers_alone(name: str) -> None:
    subject = designed("binary")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = CHECKS[name].load()(subject, budget_seconds=60, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert CHECKS[name].load()(subject, budget_seconds=60, seed=3) == first


@pytest.mark.parametrize("name", START)
def test_a_check_leaves_a_given_model_as_it_was(name: str) -> None:
    x, y = problem(200)
    net = perceptron(nn.BatchNorm1d(3), nn.Dropout(0.5))
    subject = foreign(net, x, y)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = copy.deepcopy(net)
    finding = CHECKS[name].load()(subject, budget_seconds=60, seed=0)
    assert isinstance(finding, Finding)
    for (key, now), then in zip(net.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(now, then), key
    assert [m.training for m in net.modules()] == [m.training for m in before.modules()]
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())
    assert [p.requires_grad for p in net.parameters()] == [True] * 6
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight)) and net[2].weight.grad is None


@pytest.mark.parametrize("name", START)
def test_a_check_works_where_the_link_is_not_known(name: str) -> None:
    x, y = problem(200)
    subject = foreign(perceptron(), x, y, loss=nn.functional.cross_entropy)
    assert CHECKS[name].load()(subject, budget_seconds=60, seed=0).verdict in ("pass", "info")


@pytest.mark.parametrize("name", START)
def test_a_check_says_what_is_missing(name: str) -> None:
    with pytest.raises(UsageError, match="this probe needs the"):
        CHECKS[name].load()(Subject(data=make_data()), budget_seconds=60, seed=0)


# The loss at the start.


def test_the_best_constant_costs_the_entropy_and_the_variance() -> None:
    y = torch.tensor([0] * 90 + [1] * 10)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert best_constant(CrossEntropy(), torch.zeros(100, 2), y) == pytest.approx(entropy, rel=1e-4)
    values = 1000 + 300 * torch.randn(500, generator=torch.Generator().manual_seed(0)).double()
    variance = values.var(correction=0).item()
    assert best_constant(SquaredError(), torch.zeros(500, 1), values) == pytest.approx(variance, rel=1e-4)


def test_the_lowest_possible_loss_is_zero_but_for_smoothed_labels() -> None:
    y = torch.tensor([0, 1, 2, 1])
    assert lowest_possible(CrossEntropy(), torch.zeros(4, 3), y) < 1e-3
    wanted = torch.tensor([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    assert lowest_possible(CrossEntropy(smoothing=0.1), torch.zeros(4, 3), y) == pytest.approx(
        -(wanted * wanted.log()).sum().item(), rel=1e-3
    )


def test_loss_at_start_knows_both_theoretical_values() -> None:
    finding = loss_at_start(designed("binary"))
    assert finding.measured["loss_of_zero_outputs"] == pytest.approx(math.log(2), rel=1e-5)
    y = torch.from_numpy(make_data("binary").y("train"))
    share = y.double().mean().item()
    entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert finding.measured["loss_of_best_constant"] == pytest.approx(entropy, rel=1e-4)
    assert loss_at_start(designed("number")).measured["loss_of_best_constant"] == pytest.approx(1.0, rel=1e-3)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_loss_at_start_fails_outputs_that_are_too_large() -> None:
    x, y = problem()
    assert loss_at_start(foreign(perceptron(), x, y)).verdict == "pass"
    finding = loss_at_start(foreign(perceptron(Times(100.0)), x, y))
    assert finding.verdict == "fail" and "more than three times" in finding.title


def test_loss_at_start_is_measured_without_dropout() -> None:
    x, y = problem()
    plain, dropped = (loss_at_start(foreign(perceptron(*extra), x, y)) for extra in ([], [nn.Dropout(0.9)]))
    assert plain.measured == dropped.measured


def test_loss_at_start_fails_a_loss_that_is_not_finite() -> None:
    x, y = problem()
    assert loss_at_start(foreign(perceptron(Times(math.inf)), x, y)).verdict == "fail"


def test_loss_at_start_warns_of_a_softmax_before_the_loss() -> None:
    x, y = problem()
    finding = loss_at_start(foreign(perceptron(nn.Softmax(-1)), x, y))
    assert finding.verdict == "warn" and "applied twice" in finding.title


def test_loss_at_start_warns_where_the_last_bias_ignores_rare_classes() -> None:
    x, _ = problem(1000)
    y = (torch.arange(1000) % 100 == 0).long()
    finding = loss_at_start(foreign(perceptron(classes=2), x, y))
    assert finding.verdict == "warn" and "bias" in finding.todo


def test_loss_at_start_warns_of_a_network_that_knows_the_target_already() -> None:
    x, y = problem()

    class Peeks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def reset_parameters(self) -> None:
            with torch.no_grad():
                self.layer.weight.copy_(5 * torch.eye(3, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    net = Peeks()
    net.layer.reset_parameters = net.reset_parameters  # type: ignore[method-assign]
    net.reset_parameters()
    finding = loss_at_start(foreign(net, x, y))
    assert finding.verdict == "warn" and "less than the best constant" in finding.title


def test_the_weights_of_a_trained_module_are_drawn_again_and_those_of_an_untrained_one_kept() -> None:
    x, y = problem()
    net = perceptron()
    assert "as given" in loss_at_start(foreign(net, x, y)).expected
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert nn.functional.cross_entropy(net(x), y) < 0.3
    finding = loss_at_start(foreign(net, x, y))
    assert finding.verdict == "pass" and "drawn again" in finding.expected
    assert abs(float(finding.measured["loss"] or 0) - math.log(3)) < 0.3

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(50 * torch.eye(6, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    finding = loss_at_start(foreign(Bare(), x, y))
    assert finding.verdict == "info", "a module that cannot be drawn again must not be failed for being trained"


# One batch.


def test_the_batch_has_distinct_inputs_and_all_classes() -> None:
    x, y = problem(300)
    x[:250] = x[0]
    batch = distinct_rows(foreign(perceptron(), x, y), 32, 0)
    assert len({tuple(row.tolist()) for row in batch.x["x"]}) == len(batch) == 32
    assert set(batch.y.tolist()) == {0, 1, 2}  # type: ignore[union-attr]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_batch_is_learned_by_a_sound_module(smoothing: float) -> None:
    x, y = problem()
    finding = one_batch_overfits(foreign(perceptron(nn.Dropout(0.9)), x, y, loss=CrossEntropy(smoothing=smoothing)))
    assert finding.verdict == "pass" and finding.measured["accuracy"] == 1.0
    losses = finding.figures[0].series[0].y
    assert losses[0] > losses[-1] and len(losses) == int(finding.measured["steps"] or 0) + 1


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Deaf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def _frozen() -> nn.Module:
    return perceptron().requires_grad_(False)


def _deaf() -> nn.Module:
    return nn.Sequential(Deaf(), perceptron())


@pytest.mark.parametrize("build", [_frozen, _deaf, lambda: perceptron(Detached())])
def test_one_batch_fails_on_a_network_that_cannot_learn(build) -> None:  # type: ignore[no-untyped-def]
    x, y = problem()
    finding = one_batch_overfits(foreign(build(), x, y), budget_seconds=60, steps=150)
    assert finding.verdict == "fail" and "cannot be learned" in finding.title


def test_one_batch_fails_on_bounded_outputs_though_every_class_is_right() -> None:
    x, y = problem()
    finding = one_batch_overfits(foreign(perceptron(nn.Softmax(-1)), x, y), budget_seconds=60)
    assert finding.verdict == "fail" and "bounded" in finding.title and finding.measured["accuracy"] == 1.0


@pytest.mark.slow
def test_one_batch_explains_the_variance_of_a_number_or_fails() -> None:
    x, _ = problem()
    y = (x[:, 0] * x[:, 1]).double()
    good = one_batch_overfits(foreign(perceptron(classes=1), x, y, loss="squared-error"), budget_seconds=60)
    assert good.verdict == "pass" and float(good.measured["r2"] or 0) >= 0.99
    bad = one_batch_overfits(
        foreign(perceptron(nn.ReLU(), classes=1), x, -y.abs(), loss="squared-error"), budget_seconds=60
    )
    assert bad.verdict == "fail"


def test_one_batch_warns_of_a_network_that_is_too_small_for_it() -> None:
    x, _ = problem()
    y = torch.randint(0, 2, (len(x),), generator=torch.Generator().manual_seed(1))  # no plane divides 32 such rows
    finding = one_batch_overfits(foreign(nn.Linear(6, 2), x, y), budget_seconds=60)
    assert finding.verdict == "warn" and "4 rows are learned by heart, but 32 are not" in finding.title


def test_one_batch_says_when_the_clock_ended_it() -> None:
    x, y = problem()
    finding = one_batch_overfits(foreign(perceptron(), x, y), budget_seconds=0.0)
    assert finding.verdict == "warn" and "out of time" in finding.title


# Gradients.


class TwoPaths(nn.Module):
    """One path that learns, and one that a bug cuts off."""

    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug, self.used, self.other = bug, nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.bug == "detached":
            return self.used(x) + self.other(x).detach()
        if self.bug == "never called":
            return self.used(x)
        if self.bug == "not finite":
            return self.used(x) + (self.other(x) * 0).sqrt()
        return self.used(x) + self.other(x)


@pytest.mark.parametrize(
    ("bug", "words"), [("detached", "no gradient"), ("never called", "no gradient"), ("not finite", "not finite")]
)
def test_gradients_flow_names_what_is_cut_off(bug: str, words: str) -> None:
    x, y = problem()
    finding = gradients_flow(foreign(TwoPaths(bug), x, y))
    assert finding.verdict == "fail" and words in finding.title and "other.weight" in finding.title
    assert gradients_flow(foreign(TwoPaths(""), x, y)).verdict == "pass"


def test_gradients_flow_warns_of_frozen_parameters_and_fails_where_all_are() -> None:
    x, y = problem()
    net = perceptron()
    net[0].weight.requires_grad_(False)
    finding = gradients_flow(foreign(net, x, y))
    assert finding.verdict == "warn" and "0.weight" in finding.title and finding.measured["frozen"] == 1
    assert gradients_flow(foreign(_frozen(), x, y)).verdict == "fail"


def test_gradients_flow_warns_of_vanishing_gradients() -> None:
    x, y = problem()
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Linear(6, 6), nn.Sigmoid())]
    finding = gradients_flow(foreign(nn.Sequential(*layers, nn.Linear(6, 3)), x, y))
    assert finding.verdict == "warn" and float(finding.measured["gradient_ratio"] or 0) > 1e4


def test_gradients_flow_excuses_branches_that_start_at_zero() -> None:
    class ZeroStart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
            nn.init.zeros_(self.outer.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.outer(self.inner(x).relu()))

    x, y = problem(600)
    assert gradients_flow(foreign(ZeroStart(), x, y)).verdict == "pass"


def test_gradients_flow_counts_dead_units() -> None:
    x, y = problem()
    net = perceptron()
    with torch.no_grad():
        net[0].bias[:20] = -100.0
    finding = gradients_flow(foreign(net, x, y))
    assert finding.measured["dead_relu_share"] == 20 / 32 and finding.verdict == "warn"


def test_gradients_flow_does_not_blame_what_waits_for_missing_cells_or_rare_categories() -> None:
    data = make_data("binary")
    frame = data.frame.drop_nulls()  # type: ignore[union-attr]
    spec = InputSpec(fields=tuple(f.model_copy(update={"missing": False}) for f in data.spec.fields))
    import numpy as np

    rows = np.arange(len(frame))
    whole = Data(frame, spec, data.target, {"train": rows, "valid": rows, "test": rows})
    recipe, _ = design(spec, data.target, len(frame))
    finding = gradients_flow(Subject(recipe=recipe, data=whole))
    assert finding.verdict == "pass"
    status = {row[0]: row[-1] for row in finding.tables[0].rows}
    assert status["front.embed.absent"] == "learns from missing or unknown cells"
    assert int(finding.measured["embedding_rows_reached"] or 0) == 3 < int(finding.measured["embedding_rows"] or 0)


def test_gradients_flow_takes_sparse_embeddings() -> None:
    net = nn.Sequential(nn.Embedding(50, 4, sparse=True), nn.Flatten(), nn.Linear(12, 2))
    x = torch.randint(0, 40, (200, 3), generator=torch.Generator().manual_seed(0))
    subject = foreign(net, x, (x[:, 0] > 20).long())
    finding = gradients_flow(subject)
    assert finding.verdict == "pass" and finding.measured["embedding_rows_reached"] == 40
    assert one_batch_overfits(subject, budget_seconds=60).verdict == "pass"


# Independence of rows.


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Squeezed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze() if len(x) > 1 else x.squeeze()[:2]


class Positional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, len(x)).unsqueeze(1)


class WrongAxis(nn.Module):
    """A recurrent network that takes the batch for time: a row sees the rows before it, never those after it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.cell(x.unsqueeze(1))
        return self.head(outputs[:, 0])


@pytest.mark.parametrize("leak", [Centred(), Squeezed(), Positional(), WrongAxis()])
def test_rows_independent_fails_on_a_leak_between_rows(leak: nn.Module) -> None:
    x, y = problem()
    net = leak if isinstance(leak, WrongAxis) else perceptron(leak)
    finding = rows_independent(foreign(net, x, y))
    assert finding.verdict == "fail" and "evaluation mode" in finding.title


def test_rows_independent_tells_apart_what_comes_before_a_row_and_what_after() -> None:
    x, y = problem()
    table = rows_independent(foreign(WrongAxis(), x, y)).tables[0]
    outcome = {(row[0], row[1]): row[-1] for row in table.rows}
    for mode in ("evaluation", "training"):
        assert outcome[mode, "later rows replaced"] == "same"
        assert outcome[mode, "earlier rows replaced"] == "changed"


def test_rows_independent_excuses_batch_norm_with_a_warning_and_dropout_without() -> None:
    x, y = problem()
    warned = rows_independent(foreign(perceptron(nn.BatchNorm1d(3)), x, y))
    assert warned.verdict == "info" and "by batch norm" in warned.title and "module.3" in warned.title
    passed = rows_independent(foreign(perceptron(nn.LayerNorm(3), nn.Dropout(0.5)), x, y))
    assert passed.verdict == "pass" and passed.measured["largest_change_training"] == 0.0


def test_rows_independent_sees_a_leak_of_a_millionth_part() -> None:
    class Faint(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1e-4 * x.double().mean(0)

    x, y = problem()
    assert rows_independent(foreign(perceptron(Faint()), x, y)).verdict == "fail"


# Finite outputs.


def test_predictions_finite_names_the_input_and_the_edge() -> None:
    data = make_data("binary")

    class NoMissing(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            z = x["numbers"].nan_to_num(0.0).clone()
            z[:, 1] = x["numbers"][:, 1]
            return z[:, :2].float()

    model = Model(NoMissing(), data.spec, data.target, CrossEntropy())
    finding = predictions_finite(Subject(model=model, data=data))
    assert finding.verdict == "fail" and finding.title == "outputs are not finite where b is missing"
    assert finding.measured["rows_not_finite"] == 0
    assert finding.tables[0].rows == (("b", "missing", 1.0),)


def test_predictions_finite_sees_a_single_row_away_from_all_edges() -> None:
    x, y = problem()

    class Pole(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given[:, :3] / (given[:, :1] - x[5, 0])

    finding = predictions_finite(foreign(Pole(), x, y))
    assert finding.verdict == "fail" and finding.measured["rows_not_finite"] == 1
    assert finding.measured["edge_cases_not_finite"] == 0 and not finding.tables


def test_predictions_finite_counts_training_rows_with_infinite_outputs() -> None:
    class Log(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=0).log()

    x, y = problem()
    finding = predictions_finite(foreign(nn.Sequential(Log(), nn.Linear(6, 3)), x, y))
    wrong = int((x <= 0).any(1).sum())
    assert finding.verdict == "fail" and finding.measured["rows_not_finite"] == wrong


# The learning rate.


def quadratic(curvature: float, n: int = 512) -> Subject:
    """Least squares with one weight: gradient descent is stable exactly below 2 / curvature of the loss."""
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(1)).sign() * math.sqrt(curvature / 2)
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 3.0)
    model = Model.wrap(net, loss="squared-error", x=x, y=x[:, 0].double())
    recipe = Recipe(
        name="mine",
        template="custom",
        loss="squared-error",
        training=Training(optimizer="sgd", batch_size=n, clip_norm=None, learning_rate=1e-3),
    )
    data = Data.from_tensors({"x": x}, x[:, 0].double(), model.spec, model.target)
    return Subject(model=model, recipe=recipe, data=data)


@pytest.mark.parametrize("curvature", [2.0, 20.0, 200.0])
def test_the_highest_stable_rate_of_a_quadratic_is_the_one_of_theory(curvature: float) -> None:
    finding = learning_rate_range(quadratic(curvature), budget_seconds=60, steps=240, rows=512)
    bound = 2 * (1 + 0.9) / curvature  # with momentum 0.9: Polyak (1964)
    highest = float(finding.measured["highest_stable_learning_rate"] or 0)
    assert 0.5 * bound < highest < 2 * bound
    assert finding.measured["suggested_learning_rate"] == highest / 10
    assert finding.figures[0].log_x


def test_a_loss_that_gives_back_half_of_its_gain_has_diverged_and_a_single_spike_has_not() -> None:
    rates = tuple(float(10.0**k) for k in range(-12, 0))
    losses = (0.9, 0.8, 5.0, 0.7, 0.6, 0.5, 0.5, 0.6, 0.7, 0.85, 0.85, 0.85)
    found = RangeTest(rates, losses, start=1.0)
    assert found.smooth[2] == 0.8 and found.gain == pytest.approx(0.4)
    assert found.smooth.tolist()[-5:] == [0.6, 0.7, 0.85, 0.85, 0.85]
    assert found.highest_stable == rates[8], "the smoothed loss, down from 1 to 0.6, first rises above 0.8 after it"
    assert RangeTest(rates, losses[:8] + (0.6,) * 4, start=1.0).highest_stable == rates[-1]


def test_the_median_of_runs_counts_one_that_ended_early_as_infinite() -> None:
    rates = (1.0, 2.0, 3.0)
    runs = [
        RangeTest(rates[:n], losses, 1.0)
        for n, losses in ((1, (9.0,)), (3, (0.5, 0.6, 0.7)), (3, (0.6, 0.8, math.nan)))
    ]
    found = median_of(runs)
    assert found.losses == (0.6, 0.8, math.inf) and found.rates == rates and found.runs == 3


@pytest.mark.slow
def test_a_planned_rate_above_the_highest_stable_one_is_warned_about() -> None:
    subject = designed("binary")
    assert subject.recipe is not None
    wild = Subject(recipe=subject.recipe.with_training(learning_rate=5.0), data=subject.data)
    finding = learning_rate_range(wild, budget_seconds=60)
    assert finding.verdict == "warn" and "above the highest stable" in finding.title


def test_a_network_that_does_not_learn_has_no_suggested_rate() -> None:
    x, y = problem()
    finding = learning_rate_range(foreign(perceptron(Detached()), x, y), budget_seconds=60)
    assert finding.verdict == "warn" and finding.measured["suggested_learning_rate"] is None


def test_a_loss_that_may_be_negative_can_be_range_tested() -> None:
    x, y = problem()
    shifted = adapt(lambda o, t: nn.functional.cross_entropy(o, t, reduction="none") - 5.0)
    finding = learning_rate_range(foreign(perceptron(), x, y, loss=shifted), budget_seconds=60)
    assert finding.verdict == "info" and float(finding.measured["highest_stable_learning_rate"] or 0) > 1e-3


def test_every_field_is_tried_at_its_edges() -> None:
    data = make_data("number")
    recipe, _ = design(data.spec, data.target, 240)
    numbers = sum(isinstance(f, NumberField) for f in data.spec.fields)
    finding = predictions_finite(Subject(recipe=recipe, data=data))
    assert finding.measured["edge_cases"] == 5 * numbers + len(data.spec.categories)


@pytest.mark.slow
def test_all_start_checks_and_explanations_work_on_a_keras_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend")
    layers = [keras.layers.Input((6,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dropout(0.3)]
    net = keras.Sequential([*layers, keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    x, y = problem(300)
    subject = foreign(net, x, y)
    before = [w.copy() for w in net.get_weights()]
    found = {name: CHECKS[name].load()(subject, budget_seconds=60, seed=0).verdict for name in START}
    assert set(found.values()) <= {"pass", "info"}, found
    for entry in (e for e in EXPLANATIONS.values() if "vector" in e.kinds):
        finding = entry.load()(subject, budget_seconds=60, seed=0)
        assert any(str(row[0]) == "x[0]" for table in finding.tables for row in table.rows)
    assert all((now == then).all() for now, then in zip(net.get_weights(), before, strict=True))
