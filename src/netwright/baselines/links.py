"""Probes of predictions need to know what an output means; where it is unknown they say so."""

from __future__ import annotations

from netwright.core.finding import Finding
from netwright.model import Model


def unlinked(model: Model, probe: str) -> Finding | None:
    """The finding of a probe that cannot be asked of this model, or None where it can."""
    if model.loss.link != "unknown":
        return None
    return Finding(
        probe=probe,
        family="baselines",
        verdict="info",
        title="not applicable: what an output of this network means is not known",
        why="Probabilities or values are needed, and guessing how outputs become them could turn every figure around.",
        todo="Say it: losses.adapt(function, link='softmax' | 'sigmoid' | 'identity'), or name one of our losses.",
    )
