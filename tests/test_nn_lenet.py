"""LeNet-5 is what its paper says: shapes, counts, connections, codes, loss; and the form of today beside it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netwright as nw
from netwright.cli.main import main
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import ImageField, InputSpec, NumberField, TargetSpec
from netwright.losses.standard import CrossEntropy, RejectCrossEntropy
from netwright.model import Model
from netwright.nn.activations import activation
from netwright.nn.augment import Augment
from netwright.nn.codes import CODE_LENGTH, class_codes, digit_code
from netwright.nn.lenet import CONNECTIONS, LeNet5, LeNet1998, PartialConv, RadialBasis, Subsampling, framed
from netwright.recipes.book import named
from netwright.recipes.by_rule import by_rule
from netwright.recipes.convolution import BLACK, WHITE, lenet5_1998
from netwright.recipes.images import DISTORTIONS, lenet5
from netwright.recipes.images import lenet5_1998 as recipe_1998

DIGITS = tuple(str(digit) for digit in range(10))
CLASSES = TargetSpec(name="digit", task="classes", classes=DIGITS, priors=(0.1,) * 10)
NUMBER = TargetSpec(name="price", task="number", center=2.0, scale=3.0, low=0.0, high=9.0)
SPEC = InputSpec(kind="image", fields=(ImageField(height=28, width=28, center=(33.0,), spread=(78.0,)),))


def of_1998() -> LeNet1998:
    torch.manual_seed(0)
    return LeNet1998(1, class_codes(DIGITS))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_each_layer_of_1998_has_as_many_parameters_as_the_paper_counts() -> None:
    net = of_1998()
    found = {name: count(getattr(net, name)) for name in ("c1", "s2", "c3", "s4", "c5", "f6")}
    assert found == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert count(net.output) == 0


def test_the_maps_of_1998_have_the_sizes_of_the_paper() -> None:
    net, sizes = of_1998(), {}
    for name in ("c1", "s2", "c3", "s4", "c5"):
        getattr(net, name).register_forward_hook(lambda m, x, y, name=name: sizes.update({name: tuple(y.shape[1:])}))
    net(torch.zeros(1, 1, 28, 28))
    assert sizes == {"c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5), "c5": (120, 1, 1)}


def test_the_table_of_connections_treats_the_maps_of_s2_alike() -> None:
    assert [len(maps) for maps in CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(CONNECTIONS)) == 16
    assert [sum(k in maps for maps in CONNECTIONS) for k in range(6)] == [10] * 6
    contiguous = [tuple(sorted((k + i) % 6 for i in range(n))) for n in (3, 4) for k in range(6)]
    assert sorted(contiguous) == sorted(CONNECTIONS[:12])


def test_a_partial_convolution_is_a_sum_of_plain_ones_over_the_maps_it_sees() -> None:
    torch.manual_seed(0)
    layer, x = PartialConv(6, CONNECTIONS, 5).double(), torch.randn(2, 6, 9, 9, dtype=torch.float64)
    number, wanted = 0, []
    for k, maps in enumerate(CONNECTIONS):
        windows = layer.weight[number : number + len(maps)]
        number += len(maps)
        wanted.append(F.conv2d(x[:, list(maps)], windows[None]) + layer.bias[k])
    torch.testing.assert_close(layer(x), torch.cat(wanted, 1))


def test_no_gradient_reaches_a_map_that_is_not_seen() -> None:
    layer, x = PartialConv(6, CONNECTIONS, 5), torch.randn(1, 6, 5, 5, requires_grad=True)
    layer(x)[0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad[0, [0, 1, 2]] != 0).all() and (x.grad[0, [3, 4, 5]] == 0).all()


def test_subsampling_is_a_mean_times_a_number_plus_a_number() -> None:
    layer = Subsampling(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    assert layer(x).flatten().tolist() == [6.5, -1.0]


def test_the_scaled_tanh_keeps_one_and_bends_most_there() -> None:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64, requires_grad=True)
    y = activation("scaled-tanh")(x)
    slope = torch.autograd.grad(y.sum(), x, create_graph=True)[0]
    bend = torch.autograd.grad(slope.sum(), x)[0]
    assert abs(activation("scaled-tanh")(torch.tensor(1.0)).item() - 1) < 1e-3
    assert abs(abs(x[bend.abs().argmax()].item()) - 1) < 0.05


def test_radial_units_give_minus_the_squared_distance_to_their_code() -> None:
    codes = class_codes(DIGITS)
    outputs = RadialBasis(codes)(codes)
    assert (outputs.diagonal() == 0).all() and (outputs.argmax(1) == torch.arange(10)).all()
    assert outputs[0, 1].item() == -4 * (codes[0] != codes[1]).sum().item()


def test_the_codes_of_digits_are_seven_by_twelve_and_differ() -> None:
    codes = class_codes(DIGITS)
    assert codes.shape == (10, CODE_LENGTH) and set(codes.flatten().tolist()) == {-1.0, 1.0}
    assert digit_code(3).shape == (12, 7)
    differences = (codes[:, None] != codes).sum(2) + 99 * torch.eye(10, dtype=torch.int64)
    assert differences.min() >= 5


def test_codes_of_other_classes_depend_on_their_names_alone() -> None:
    some, more = class_codes(["cat", "dog"]), class_codes(["bird", "dog", "cat"])
    assert torch.equal(some[0], more[2]) and torch.equal(some[1], more[1])


def test_the_loss_of_1998_is_its_equation_nine() -> None:
    """E = y_D + log(exp(-j) + sum_i exp(-y_i)), with y_i squared distances, which are minus our outputs."""
    torch.manual_seed(0)
    distances, y, j = 5 * torch.rand(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1]), 1.5
    wanted = distances.gather(1, y[:, None])[:, 0] + (math.exp(-j) + (-distances).exp().sum(1)).log()
    torch.testing.assert_close(RejectCrossEntropy(reject=j).values(-distances, y), wanted)


def test_without_a_near_code_only_the_right_one_is_pulled() -> None:
    outputs = torch.full((1, 3), -200.0, requires_grad=True)
    RejectCrossEntropy(reject=20.0).values(outputs, torch.tensor([1])).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None and outputs.grad.tolist() == [[0.0, -1.0, 0.0]]
    outputs = torch.full((1, 3), -200.0, requires_grad=True)
    CrossEntropy().values(outputs, torch.tensor([1])).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None and outputs.grad[0, 0].item() > 0.3


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (20, 12), (8, 8), (64, 64), (300, 40), (1, 1)])
def test_any_size_comes_into_the_frame(size: tuple[int, int]) -> None:
    image = torch.rand(2, 1, *size)
    inside = framed(image)
    assert inside.shape == (2, 1, 32, 32)
    assert inside.min() >= image.min() - 1e-6 and inside.max() <= image.max() + 1e-6


def test_an_image_of_28_stands_in_the_middle_of_its_frame_and_its_edges_are_repeated() -> None:
    image = torch.rand(1, 1, 28, 28)
    inside = framed(image)
    assert torch.equal(inside[..., 2:30, 2:30], image)
    assert torch.equal(inside[..., 0, 2:30], image[..., 0, :])


def test_the_darkest_and_the_brightest_pixel_are_those_of_the_paper() -> None:
    net = lenet5_1998(SPEC, CLASSES)
    front = net.front
    assert isinstance(front, nn.Module)
    ends = front({"image": torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 28, 28)})
    assert ends[0].unique().tolist() == pytest.approx([WHITE]) and ends[1].unique().tolist() == pytest.approx([BLACK])


@pytest.mark.parametrize("options", [{}, {"activation": "tanh", "pool": "average"}, {"norm": True, "dropout": 0.3}])
def test_the_form_of_today_has_its_options(options: dict[str, object]) -> None:
    net = LeNet5(1, 10, **options)  # type: ignore[arg-type]
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert any(isinstance(m, nn.AvgPool2d) for m in net.modules()) == (options.get("pool") == "average")
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == bool(options.get("norm"))
    assert count(net) == 61_706 + (2 * (6 + 16 + 120) if options.get("norm") else 0)


def test_a_pool_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="average"):
        LeNet5(1, 10, pool="avrage")  # type: ignore[arg-type]


def test_a_number_needs_another_template_and_says_so() -> None:
    with pytest.raises(UsageError, match="take lenet5"):
        lenet5_1998(SPEC, NUMBER)
    with pytest.raises(UsageError, match="residual-conv"):
        more = InputSpec(fields=(*SPEC.fields, NumberField(name="age")))
        lenet5_1998(more, CLASSES)


def test_a_named_recipe_brings_its_loss_and_its_training_along() -> None:
    recipe = by_rule(SPEC, CLASSES, 50_000, template="lenet5-1998", asked={})
    assert recipe.loss == "reject-cross-entropy" and recipe.options == DISTORTIONS
    assert recipe.training.epochs == recipe_1998().training.epochs
    fewer = by_rule(SPEC, CLASSES, 50_000, template="lenet5", options={"shift": 0.0}, asked={"epochs": 3})
    assert fewer.training.epochs == 3 and fewer.options["shift"] == 0 and fewer.options["rotate"] == 10
    assert named("lenet5", SPEC, NUMBER) is None


def test_a_model_of_1998_is_stored_and_read_again(tmp_path: Path) -> None:
    recipe = recipe_1998()
    model = Model(recipe.build(SPEC, CLASSES, 0).eval(), SPEC, CLASSES, recipe.make_loss(CLASSES), recipe)
    model.save(tmp_path)
    again = Model.load(tmp_path)
    x = {"image": torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)}
    assert isinstance(again.loss, RejectCrossEntropy)
    np.testing.assert_allclose(again.predict_encoded(x), model.predict_encoded(x))


def test_distortions_move_training_images_and_no_others() -> None:
    net = lenet5().build(SPEC, CLASSES, 0)
    x = {"image": torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)}
    torch.manual_seed(0)
    front: nn.Module = net.front  # type: ignore[assignment]
    plain, again, changed = front.eval()(x), front.eval()(x), front.train()(x)
    assert torch.equal(plain, again) and not torch.equal(plain, changed)


def test_a_slant_moves_rows_against_each_other() -> None:
    x = torch.zeros(64, 1, 15, 15)
    x[..., 7] = 1
    torch.manual_seed(0)
    slanted = Augment(shear=20.0).train()(x)
    columns = torch.arange(15.0)
    at = (slanted * columns).sum(3) / slanted.sum(3).clamp(min=1e-6)
    lean: Tensor = (at[:, 0, 2] - at[:, 0, 12]).abs()
    assert lean.max() > 1.5 and (at[:, 0, 7] - 7).abs().max() < 1.0


@pytest.mark.slow
def test_both_forms_learn_bars_and_posts() -> None:
    rng = numpy_generator(0, "bars")
    x, y = rng.integers(0, 60, (160, 28, 28)), np.arange(160) % 2
    for k in range(160):
        at = int(rng.integers(4, 22))
        x[k, slice(at, at + 3) if y[k] else slice(None), slice(None) if y[k] else slice(at, at + 3)] += 150
    for template in ("lenet5", "lenet5-1998"):
        net = nw.Classifier(template=template, epochs=10, batch_size=16, learning_rate=5e-3, random_state=0).fit(
            x.astype(np.uint8), y
        )
        assert net.score(x.astype(np.uint8), y) > 0.9, template


def test_a_misspelt_template_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "digits.npz", "--template", "lenet"]) == 2
    assert "no template or recipe 'lenet'; did you mean 'lenet5'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_run_keeps_to_the_recipe_that_was_asked_for(tmp_path: Path) -> None:
    rng = numpy_generator(0, "asked")
    x, y = rng.integers(0, 60, (240, 12, 12)), np.arange(240) % 2
    for k in range(240):
        at = int(rng.integers(2, 8))
        x[k, slice(at, at + 3) if y[k] else slice(None), slice(None) if y[k] else slice(at, at + 3)] += 150
    np.savez(tmp_path / "bars.npz", x=x.astype(np.uint8), y=y)
    skip = ("baselines", "check", "attack", "explain")
    result = nw.run(tmp_path / "bars.npz", template="lenet5", quick=True, skip=skip, out=tmp_path / "run")
    assert result.model.recipe is not None and result.model.recipe.template == "lenet5"
    assert not any(f.probe == "choose-augmentation" for findings in result.findings.values() for f in findings)
    with pytest.raises(UsageError, match="for inputs of kind image, and"):
        nw.run({"a": list(range(50)), "b": [0, 1] * 25}, target="b", template="lenet5", out=tmp_path / "no")
    assert not (tmp_path / "no").exists()
