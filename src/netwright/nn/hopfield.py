"""A feedback net as a memory: patterns are stored in symmetric weights, and a noisy one falls back into the nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from netwright.core.errors import DataError, UsageError, unknown
from netwright.core.seed import generator

CAPACITY = 0.138
"""Random patterns a unit that Hebb's rule can store with few errors: Amit, Gutfreund and Sompolinsky (1985)."""
RULES = ("hebb", "storkey")
_TIE = 1e-9
"""A sum no larger than this is 0 but for rounding: the unit stays."""


@dataclass(frozen=True)
class Recall:
    """How states moved.

    Args:
        states: after each sweep over the units, (S + 1, N, n) of -1 and +1, float64; the first is what was given.
        energies: after each update of one unit, (S n + 1, N) float64.
        settled: whether the last sweep changed nothing.
    """

    states: Tensor
    energies: Tensor
    settled: bool


class Hopfield(nn.Module):
    r"""A net of n units of -1 and +1, each connected with every other one, that keeps P patterns.

    Hebb's rule: W = 1/n sum_p x_p x_p^T with an empty diagonal. Storkey's takes off what the net would say already, one pattern
    after the other: w_ij += (x_i x_j - x_i h_ji - h_ij x_j) / n, h_ij = sum_(k not i, j) w_ik x_k. A unit becomes the sign of what it
    gets, s_i = sign(sum_j w_ij s_j), and stays where that is 0. One unit at a time this never raises the energy
    E = -1/2 s^T W s.

    Args:
        patterns: (P, ...) of two values: -1 and +1, 0 and 1, or booleans; arrays or tensors, of any shape behind the first dimension.
        rule: "hebb" keeps about 0.138 n random patterns, "storkey" more of them, and of patterns that resemble each other.

    Raises:
        DataError: a pattern has other values. UsageError: there is none, or no such rule.

    Source: Hopfield (1982), "Neural networks and physical systems with emergent collective computational abilities"; Storkey (1997).

    >>> patterns = torch.tensor([[1, 1, 1, -1, -1, -1], [1, -1, 1, -1, 1, -1]])
    >>> net = Hopfield(patterns)
    >>> net.recall([[1, 1, 1, -1, -1, 1]]).tolist()
    [[1, 1, 1, -1, -1, -1]]
    """

    weight: Tensor

    def __init__(self, patterns: Any, *, rule: Literal["hebb", "storkey"] = "hebb") -> None:
        super().__init__()
        if rule not in RULES:
            raise UsageError(unknown("rule", rule, RULES))
        given = torch.as_tensor(patterns)
        if given.dim() < 2 or not given.numel() or given[0].numel() < 2:
            raise UsageError(
                f"patterns have the shape {tuple(given.shape)}; expected (P, ...), at least one pattern of two units or more"
            )
        self.shape = tuple(given.shape[1:])
        x, _ = _signs(given)
        self.n_patterns, self.n_units = x.shape
        self.register_buffer("weight", (hebb if rule == "hebb" else storkey)(x))

    @property
    def load(self) -> float:
        """Patterns a unit; above `CAPACITY` Hebb's rule loses most of what it stored."""
        return self.n_patterns / self.n_units

    def forward(self, states: Tensor) -> Tensor:
        """One step of all units at once, (N, n) of -1 and +1 -> (N, n): the feedback net unrolled by a level.

        So it may swing between two states; `recall` moves one unit at a time.
        """
        return _turned(states, states.double() @ self.weight)

    def energy(self, states: Tensor) -> Tensor:
        """E = -1/2 s^T W s of states (N, n): (N,) float64."""
        s = states.double()
        return -0.5 * ((s @ self.weight) * s).sum(-1)

    def recall(self, x: Any, *, sweeps: int = 100, seed: int = 0) -> Any:
        """What patterns (N, ...) become: of the shape, the values and the kind (array or tensor) in which they came.

        Args:
            sweeps: over all units, at most; it ends as soon as one changes nothing.
            seed: of the order in which units are updated, another one each sweep, the same for all rows.

        Raises:
            UsageError: of another size than the stored ones. DataError: with other values than two.
        """
        given = torch.as_tensor(x)
        ended = self.walk(given, sweeps=sweeps, seed=seed).states[-1]
        values = torch.where(ended > 0, 1.0, _signs(given)[1]).view(-1, *self.shape).to(given.dtype)
        return values.numpy() if hasattr(x, "__array_interface__") else values

    @torch.no_grad()
    def walk(self, x: Any, *, sweeps: int = 100, seed: int = 0) -> Recall:
        """The way of patterns (N, ...), sweep by sweep, with the energy after each update; arguments as of `recall`."""
        given = torch.as_tensor(x)
        if tuple(given.shape[1:]) != self.shape:
            shown = " x ".join(map(str, self.shape))
            raise UsageError(f"patterns have the shape {tuple(given.shape)}; expected (N, ...) with {shown} units each")
        (s, _), rng = _signs(given), generator(seed, "hopfield")
        states, energy = [s.clone()], self.energy(s)
        energies = [energy]
        settled = False
        for _ in range(sweeps):
            for i in torch.randperm(self.n_units, generator=rng).tolist():
                heard = s @ self.weight[i]
                new = _turned(s[:, i], heard)
                energy = energy - (new - s[:, i]) * heard
                s[:, i] = new
                energies.append(energy)
            states.append(s.clone())
            settled = bool((states[-1] == states[-2]).all())
            if settled:
                break
        return Recall(torch.stack(states), torch.stack(energies), settled)


def _turned(states: Tensor, heard: Tensor) -> Tensor:
    return torch.where(heard.abs() <= _TIE, states, heard.sign().to(states.dtype))


def _signs(given: Tensor) -> tuple[Tensor, float]:
    """Patterns as (N, n) of -1 and +1, float64, and the lower of the two values in which they came."""
    low = -1.0 if given.dtype != torch.bool and bool((given < 0).any()) else 0.0
    if given.dtype != torch.bool and not bool(((given == low) | (given == 1)).all()):
        raise DataError("patterns must have two values, -1 and 1 or 0 and 1; make them so, such as by x > threshold")
    return torch.where(given.reshape(len(given), -1) > 0, 1.0, -1.0).double(), low


def hebb(x: Tensor) -> Tensor:
    """1/n sum_p x_p x_p^T with an empty diagonal: patterns (P, n) -> (n, n). Source: Hebb (1949)."""
    weight = x.T @ x / x.shape[1]
    return weight.fill_diagonal_(0)


def storkey(x: Tensor) -> Tensor:
    """Storkey's rule, pattern by pattern: (P, n) -> (n, n) with an empty diagonal. Source: Storkey (1997)."""
    n = x.shape[1]
    weight = x.new_zeros(n, n)
    for pattern in x:
        heard = (weight @ pattern).unsqueeze(1) - weight * pattern  # by i, without what comes from i and j
        weight = weight + (torch.outer(pattern, pattern) - pattern.unsqueeze(1) * heard.T - heard * pattern) / n
        weight = weight.fill_diagonal_(0)
    return weight
