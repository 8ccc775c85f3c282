"""Dropout, norms, residual connections and pooling are options of every template where they make sense, and each does something."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.seed import generator
from netwright.core.spec import TargetSpec
from netwright.data.batch import Inputs
from netwright.recipes.custom import two_rows
from netwright.recipes.entries import TEMPLATES
from netwright.recipes.recipe import Recipe
from netwright.recipes.sample_specs import kind_for, sample_spec, sample_target

WINDOWS, STEPS = ("max", "average", "min", "none"), ("mean", "max", "both")
NORMS = ("batch", "layer", "none")
VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "residual-mlp": {"norm": NORMS, "dropout": (0.5,), "activation": ("tanh",)},
    "mlp": {"batch_norm": (True,), "dropout": (0.5,), "residual": (True,), "activation": ("tanh",)},
    "residual-conv": {"norm": (True, False), "pool": WINDOWS, "dropout": (0.5,), "activation": ("elu",)},
    "residual-conv-3d": {"norm": (True, False), "pool": WINDOWS, "dropout": (0.5,), "activation": ("elu",)},
    "conv": {"norm": (True, False), "pool": WINDOWS, "dropout": (0.5,), "residual": (True,), "activation": ("elu",)},
    "lenet5": {"norm": (True, False), "pool": ("max", "average"), "dropout": (0.5,), "activation": ("tanh",)},
    "ngram-bag": {"dropout": (0.5,)},
    "word-conv": {"norm": NORMS, "pool": STEPS, "dropout": (0.5,), "activation": ("tanh",)},
    "char-conv": {"norm": NORMS, "pool": STEPS, "dropout": (0.5,), "activation": ("tanh",)},
    "char-cnn": {"norm": (True, False), "dropout": (0.5,)},
    "series-resnet": {"norm": NORMS, "pool": STEPS, "dropout": (0.5,)},
    "series-inception": {"norm": NORMS, "pool": STEPS, "dropout": (0.5,)},
    "audio-conv": {"norm": NORMS, "pool": STEPS, "dropout": (0.5,)},
    "recurrent": {"norm": ("none", "layer"), "pool": ("last", "mean", "max"), "dropout": (0.5,), "residual": (True,)},
    "transformer": {"norm": ("before", "after"), "pool": ("attention", "mean"), "dropout": (0.5,)},
    "attention-pooling": {"norm": (True, False), "dropout": (0.5,)},
    "deep-sets": {"norm": NORMS, "pool": ("all", "sum", "mean", "max"), "dropout": (0.5,), "residual": (True,)},
    "tree-lstm": {"pool": ("root", "mean", "max", "all"), "dropout": (0.5,)},
    "tree-esn": {"pool": ("root", "mean", "max", "all"), "dropout": (0.5,)},
}
AS_PUBLISHED = {"lenet5-1998": "its parts are those of the paper", "linear": "it has no hidden layer"}
CASES = [(t, o, v) for t, options in VALUES.items() for o, values in options.items() for v in values]
SMALL = {"char-cnn": {"length": 123, "width": 8, "hidden": 8}}


def built(template: str, **options: Any) -> tuple[nn.Module, Inputs]:
    spec, target = sample(template)
    chosen = SMALL.get(template, {}) | options
    if options.get("residual") and template in ("mlp", "recurrent"):
        chosen["depth"] = 2  # a layer as wide as the one before it
    recipe = Recipe(name="r", template=template, options=chosen, loss="cross-entropy")
    x = two_rows(spec)
    pixels = {k: torch.randint(0, 256, v.shape, generator=generator(0)) for k, v in x.items() if v.dtype == torch.uint8}
    return recipe.build(spec, target, 0), x | {k: v.to(torch.uint8) for k, v in pixels.items()}


def sample(template: str) -> tuple[Any, TargetSpec]:
    kind = kind_for(TEMPLATES[template])
    return sample_spec(kind), sample_target(kind, "classes")


def test_every_template_has_its_options_listed_here() -> None:
    assert VALUES.keys() | AS_PUBLISHED.keys() == set(TEMPLATES)
    has = {name: Recipe(name="r", template=name, loss="cross-entropy").defaults.keys() for name in TEMPLATES}
    wanted = {"dropout", "norm", "batch_norm", "pool", "residual", "activation"}
    for name, options in has.items():
        assert name in AS_PUBLISHED or options & wanted == VALUES[name].keys(), name


@pytest.mark.parametrize(("template", "option", "value"), CASES)
def test_a_network_with_the_option_answers_and_every_weight_of_it_learns(
    template: str, option: str, value: Any
) -> None:
    net, x = built(template, **{option: value})
    outputs: Tensor = net.train()(x)
    assert outputs.isfinite().all()
    (outputs * torch.randn(outputs.shape, generator=generator(0))).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    assert net.eval()(x).isfinite().all()


@pytest.mark.parametrize(("template", "option", "value"), CASES)
def test_the_option_changes_what_the_network_computes(template: str, option: str, value: Any) -> None:
    default = Recipe(name="r", template=template, loss="cross-entropy").defaults[option]
    if value == default:
        pytest.skip("it is the default")
    outputs = []
    for chosen in (value, default):
        net, x = built(template, **{option: chosen})
        for k, p in enumerate(chain(net.parameters(), net.buffers())):  # so that the same weights are compared
            if p.is_floating_point() and p.requires_grad:
                p.data.normal_(0.0, 0.3, generator=generator(k))
        torch.manual_seed(0)
        outputs.append(net.train()(x).detach())
    assert outputs[0].shape == outputs[1].shape and not torch.allclose(*outputs)


@pytest.mark.parametrize(("template", "option"), [(t, o) for t, o, v in CASES if isinstance(v, str)])
def test_a_value_that_there_is_not_is_refused_with_those_that_there_are(template: str, option: str) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        built(template, **{option: "nonsense"})
