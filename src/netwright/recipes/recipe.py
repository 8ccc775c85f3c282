"""A recipe: all that is decided before a training, as frozen data. JSON both ways, registry names only, never a path."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from netwright.core.entry import Entry
from netwright.core.errors import UsageError, unknown
from netwright.core.frozen import Frozen
from netwright.core.seed import derive
from netwright.core.spec import InputSpec, TargetSpec
from netwright.losses.entries import LOSSES
from netwright.losses.loss import Loss
from netwright.nn.ensemble import Ensemble
from netwright.recipes.custom import as_template
from netwright.recipes.entries import TEMPLATES
from netwright.train.entries import OBJECTIVES
from netwright.train.objectives import Objective, Perturb
from netwright.train.settings import Training

Option = bool | int | float | str
Template = Callable[..., nn.Module]


class Recipe(Frozen):
    """Template + objective + settings of the training.

    Args:
        name: what to call it.
        template: an entry of TEMPLATES, or "custom" where the network comes from a user's function or module.
        options: keyword arguments of the template.
        loss: an entry of LOSSES. objective: an entry of OBJECTIVES.
        training: settings of the loop.
        members: networks whose outputs are averaged, each trained on its own from its own start.

    >>> recipe = Recipe(name="mine", template="residual-mlp", options={"width": 32}, loss="cross-entropy")
    >>> Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    True
    """

    name: str
    template: str
    options: dict[str, Option] = {}
    loss: str
    objective: str = "supervised"
    training: Training = Training()
    members: int = Field(default=1, ge=1, le=64)

    def build(self, spec: InputSpec, target: TargetSpec, seed: int, custom: Template | None = None) -> nn.Module:
        """A fresh network, its weights drawn from `seed`, its last bias at the best constant prediction.

        Args:
            custom: the template of a "custom" recipe, called as custom(spec, target); see `recipes.custom.as_template`.

        Raises:
            UsageError: the template does not fit the inputs, has no such option, or is a user's that cannot be called.
        """
        if self.members > 1:
            single = self.single
            return Ensemble(single.build(spec, target, member_seed(seed, k), custom) for k in range(self.members))
        if self.template == "custom" and custom is None:
            raise UsageError("this recipe's network came from a user's function; pass it again as template=")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            if custom is not None:
                return self.adopt(custom(spec, target), spec, target)
            template: Template = _fitting(self.template, spec).load()
            check_options(self.template, template, self.options)
            loss = self.make_loss(target)
            net = template(spec, target, n_out=loss.n_out(target), **self.options)
        start_at(net, loss.constant(target))
        return net

    def adopt(self, module: nn.Module, spec: InputSpec, target: TargetSpec) -> nn.Module:
        """A user's module as the network of this recipe."""
        return as_template(module, spec, target, self.make_loss(target).n_out(target))

    def make_loss(self, target: TargetSpec) -> Loss:
        """The loss, fitted to the target."""
        loss: Loss = LOSSES[self.loss].load()(target)
        return loss

    def make_objective(self, loss: Loss, perturb: Perturb | None = None) -> Objective:
        """The objective around a loss."""
        objective: Objective = OBJECTIVES[self.objective].load()(loss, perturb)
        return objective

    @property
    def single(self) -> Recipe:
        """The recipe of one member."""
        return self.model_copy(update={"members": 1})

    def resolved(self) -> Recipe:
        """The same recipe with every option of its template written out, so that it outlives a change of the defaults."""
        return self.model_copy(update={"options": {**self.defaults, **self.options}})

    @property
    def defaults(self) -> dict[str, Option]:
        """The options of the template with their defaults; none where the network is a user's own."""
        return {} if self.template == "custom" else options_of(TEMPLATES[self.template].load())

    def with_options(self, **options: Option) -> Recipe:
        """The same recipe with other options of its template."""
        return self.model_copy(update={"options": {**self.options, **options}})

    def with_training(self, **settings: Any) -> Recipe:
        """The same recipe with other settings of its training (checked again)."""
        return self.model_copy(update={"training": Training(**{**self.training.model_dump(), **settings})})


def _fitting(name: str, spec: InputSpec) -> Entry:
    """The entry of a template.

    Raises:
        UsageError: there is none of that name, or it is made for other inputs.
    """
    entry = TEMPLATES[name]
    has = {
        kind: any(f.kind == kind for f in spec.fields) for kind in ("image", "text", "series", "audio", "set", "tree")
    }
    has["sequence"] = has["series"] or has["text"] or has["audio"]
    if (entry.kinds and spec.kind not in entry.kinds) or not all(has.get(need, True) for need in entry.needs):
        fitting = [e.name for e in TEMPLATES.values() if (not e.kinds or spec.kind in e.kinds) and name != e.name]
        fitting = [n for n in fitting if all(has.get(need, True) for need in TEMPLATES[n].needs)]
        made = " with ".join(filter(None, (" or ".join(entry.kinds), " and ".join(entry.needs))))
        raise UsageError(
            f"the template {name!r} is made for inputs of kind {made}, and these are of kind {spec.kind}; "
            f"fitting are: {', '.join(fitting)}"
        )
    return entry


def member_seed(seed: int, k: int) -> int:
    """The seed of member k; the first member has the seed of the whole."""
    return derive(seed, "member", k) if k else seed


@contextmanager
def at_most(n_bytes: int, options: Mapping[str, Option]) -> Iterator[None]:
    """Within it no network of more than `n_bytes` of parameters is made: a recipe from a file may ask for any width.

    Raises:
        ValueError: at the first parameter that is too many, before its memory is touched.
    """
    if any(isinstance(v, int) and v > n_bytes for v in options.values()):
        raise ValueError(f"the recipe asks for more than the {n_bytes:,} bytes of its weights: {dict(options)}")
    here, used = threading.get_ident(), 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal used
        if parameter is None or threading.get_ident() != here:
            return
        used += parameter.numel() * parameter.element_size()
        if used > n_bytes:
            raise ValueError(f"the recipe asks for more than the {n_bytes:,} bytes of its weights: {dict(options)}")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def options_of(template: Template) -> dict[str, Any]:
    """The options of a template with their defaults: its keyword-only arguments but `n_out`."""
    parameters = inspect.signature(template).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "n_out"}


def check_options(name: str, template: Template, options: Mapping[str, Option]) -> None:
    """Refuse an option that a template does not have.

    Raises:
        UsageError: with the nearest names.
    """
    known = options_of(template)
    for option in options:
        if option not in known:
            raise UsageError(unknown(f"option of the template {name!r} called", option, known))


def start_at(net: nn.Module, constant: torch.Tensor) -> None:
    """Set the bias of the last linear layer, where its size fits, so that training starts at the best constant prediction.

    Source: Karpathy (2019), "A Recipe for Training Neural Networks".
    """
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1:]
    for layer in last:
        if layer.bias is not None and layer.bias.shape == constant.shape:
            with torch.no_grad():
                layer.bias.copy_(constant)
