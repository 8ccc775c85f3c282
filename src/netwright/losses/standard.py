"""The standard losses as frozen data: JSON both ways, each with its link."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from netwright.core.frozen import Frozen
from netwright.core.spec import TargetSpec
from netwright.losses.loss import weighted


class CrossEntropy(Frozen):
    r"""Softmax cross-entropy: -(1 - s) log p_y - s/C sum_c log p_c, with p = softmax(outputs) and label smoothing s.

    Outputs (N, C); y (N,) int64. Source: Bridle (1990); smoothing: Szegedy et al. (2016).

    >>> CrossEntropy().predict(torch.zeros(1, 2)).tolist()
    [[0.5, 0.5]]
    """

    name: Literal["cross-entropy"] = "cross-entropy"
    link: Literal["softmax"] = "softmax"
    smoothing: float = 0.0

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Loss of each row (N,)."""
        if outputs.dim() == 2:  # a reshape to the same shape would take time in each step, forwards and backwards
            each = F.cross_entropy(outputs, y, reduction="none", label_smoothing=self.smoothing)
            return weighted(each, weight, mask)
        flat = F.cross_entropy(
            outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1), reduction="none", label_smoothing=self.smoothing
        )
        return weighted(flat.reshape(y.shape), weight, mask)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (N, C)."""
        return outputs.softmax(-1)

    def n_out(self, target: TargetSpec) -> int:
        """One output per class."""
        return len(target.classes)

    def constant(self, target: TargetSpec) -> Tensor:
        """Logarithms of the class shares."""
        return torch.tensor(target.priors).clamp(min=1e-6).log()


_PLAIN = CrossEntropy()


class RejectCrossEntropy(Frozen):
    r"""Cross-entropy beside one more class, "none of them", whose output is fixed: -z_y + log(e^{-reject} + sum_c e^{z_c}).

    With minus squared distances as outputs a row that is far from every code costs, and pulls at, its own code alone; the other
    codes are pushed off only where they are nearer than `reject`. Probabilities are those of the classes, without that one.

    Outputs (N, C); y (N,) int64. Source: LeCun et al. (1998), equation 9, whose j is our `reject` and has no value there.

    >>> loss = RejectCrossEntropy(reject=1.0)
    >>> round(loss.values(torch.tensor([[-1.0, -50.0]]), torch.tensor([0])).item(), 4)  # as near as "none of them": log 2
    0.6931
    """

    name: Literal["reject-cross-entropy"] = "reject-cross-entropy"
    link: Literal["softmax"] = "softmax"
    reject: float = 20.0

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Loss of each row (N,)."""
        none = torch.full_like(outputs[..., :1], -self.reject)
        return _PLAIN.values(torch.cat([outputs, none], -1), y, weight=weight, mask=mask)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (N, C)."""
        return outputs.softmax(-1)

    def n_out(self, target: TargetSpec) -> int:
        """One output per class."""
        return len(target.classes)

    def constant(self, target: TargetSpec) -> Tensor:
        """Logarithms of the class shares, all so far up that "none of them" costs nothing."""
        return _PLAIN.constant(target) + 40 - self.reject


class SquaredError(Frozen):
    """Squared error in units of the target's spread: (outputs - (y - center) / scale)^2; predicts center + scale * outputs.

    Outputs (N, 1) or (N,); y (N,) in the target's unit. Source: Gauss (1809).

    >>> loss = SquaredError(center=10.0, scale=2.0)
    >>> loss.predict(torch.tensor([[1.0]])).item(), loss.values(torch.tensor([[1.0]]), torch.tensor([10.0])).item()
    (12.0, 1.0)
    """

    name: Literal["squared-error"] = "squared-error"
    link: Literal["identity"] = "identity"
    center: float = 0.0
    scale: float = 1.0

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Loss of each row (N,)."""
        wanted = ((y - self.center) / self.scale).to(outputs.dtype)
        return weighted((outputs.reshape(y.shape) - wanted) ** 2, weight, mask)

    def predict(self, outputs: Tensor) -> Tensor:
        """Values (N,) in the target's unit."""
        outputs = outputs[..., 0] if outputs.dim() > 1 and outputs.shape[-1] == 1 else outputs
        return self.center + self.scale * outputs

    def n_out(self, target: TargetSpec) -> int:
        """One output."""
        return 1

    def constant(self, target: TargetSpec) -> Tensor:
        """The mean of the target, in spreads."""
        return torch.tensor([(target.center - self.center) / self.scale])


def for_cross_entropy(target: TargetSpec) -> CrossEntropy:
    """Cross-entropy for a target (nothing to fit)."""
    return CrossEntropy()


def for_reject_cross_entropy(target: TargetSpec) -> RejectCrossEntropy:
    """Cross-entropy with a class "none of them" (nothing to fit)."""
    return RejectCrossEntropy()


def for_squared_error(target: TargetSpec) -> SquaredError:
    """Squared error in units of this target's spread."""
    return SquaredError(center=target.center, scale=target.scale)
