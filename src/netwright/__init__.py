"""netwright: labelled data to a neural network that its owner can trust.

>>> import netwright as nw
>>> sorted(nw.__all__)[:3]
['Classifier', 'Forecaster', 'Hopfield']
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netwright.data.grouped import sets_of as sets_of
    from netwright.estimators.classifier import Classifier as Classifier
    from netwright.estimators.regressor import Regressor as Regressor
    from netwright.explain.through_time import gradient_over_time as gradient_over_time
    from netwright.linear.perceptron import Perceptron as Perceptron
    from netwright.model import Model as Model
    from netwright.nn.graph import graph as graph
    from netwright.nn.hopfield import Hopfield as Hopfield
    from netwright.nn.threshold import ThresholdNet as ThresholdNet
    from netwright.sequences.compare import compare_forecasts as compare_forecasts
    from netwright.sequences.forecaster import Forecaster as Forecaster
    from netwright.sequences.tagger import Tagger as Tagger
    from netwright.workflow.main import resume as resume
    from netwright.workflow.main import run as run
    from netwright.workflow.probing import attack as attack
    from netwright.workflow.probing import check as check
    from netwright.workflow.probing import explain as explain
    from netwright.workflow.topology import search_topology as search_topology

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "netwright.estimators.classifier",
    "Forecaster": "netwright.sequences.forecaster",
    "Hopfield": "netwright.nn.hopfield",
    "Regressor": "netwright.estimators.regressor",
    "Model": "netwright.model",
    "Perceptron": "netwright.linear.perceptron",
    "ThresholdNet": "netwright.nn.threshold",
    "Tagger": "netwright.sequences.tagger",
    "attack": "netwright.workflow.probing",
    "check": "netwright.workflow.probing",
    "compare_forecasts": "netwright.sequences.compare",
    "explain": "netwright.workflow.probing",
    "graph": "netwright.nn.graph",
    "gradient_over_time": "netwright.explain.through_time",
    "resume": "netwright.workflow.main",
    "run": "netwright.workflow.main",
    "search_topology": "netwright.workflow.topology",
    "sets_of": "netwright.data.grouped",
}
"""Public name -> module. Nothing is imported before it is asked for, so that `import netwright` needs no torch."""

__all__ = [
    "Classifier",
    "Forecaster",
    "Hopfield",
    "Model",
    "Perceptron",
    "Regressor",
    "Tagger",
    "ThresholdNet",
    "__version__",
    "attack",
    "check",
    "compare_forecasts",
    "explain",
    "gradient_over_time",
    "graph",
    "load",
    "resume",
    "run",
    "search_topology",
    "sets_of",
]


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("netwright.model").Model.load
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'netwright' has no attribute {name!r}")


class _Explain(ModuleType):
    """The package `netwright.explain`, which can be called: as soon as it is imported it stands where the function stood."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module("netwright.workflow.probing").explain(*args, **kwargs)


class _Front(ModuleType):
    """This package: a subpackage that bears the name of a function remains that function too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "explain" and isinstance(value, ModuleType):
            value.__class__ = _Explain
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Front


def __dir__() -> list[str]:
    return sorted(__all__)
