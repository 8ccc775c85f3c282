"""Graphs of expressions and of modules: sums over paths against both passes, autograd and central differences; bad expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import UsageError
from netwright.nn.computation import MOST_PATHS, Graph
from netwright.nn.graph import graph
from netwright.nn.residual import ResidualMLP

SMOOTH = ("log", "exp", "sin", "cos", "tanh", "sigmoid", "sqrt")


def _of_numbers(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args: function(*(torch.as_tensor(a, dtype=torch.float64) for a in args))


TORCH = {name: _of_numbers(getattr(torch, name)) for name in (*SMOOTH, "relu", "abs")} | {
    "max": _of_numbers(torch.maximum),
    "min": _of_numbers(torch.minimum),
}


def expressions(functions: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Random expressions of u and w."""
    leaves = st.sampled_from(["u", "w", "u", "w", "2", "0.5", "-1.5", "3"])

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        powers = st.tuples(inner, st.sampled_from(["2", "3", "0.5", "w", "-1"])).map(lambda t: f"{t[0]} ** {t[1]}")
        calls = st.tuples(st.sampled_from(functions), inner).map(lambda t: f"{t[0]}({t[1]})")
        both = st.tuples(st.sampled_from(["max", "min"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})")
        return pairs | powers | calls | inner.map(lambda t: f"-{t}") | (both if "relu" in functions else calls)

    return st.recursive(leaves, grow, max_leaves=8)


def drawn(text: str, **values: float) -> Graph:
    """The graph; cases without a finite one, or so steep that rounding shows, are thrown away."""
    used = {name: value for name, value in values.items() if name in text.replace("relu", "")}
    try:
        found = graph(text, **used)
    except UsageError as error:
        assume("no finite" not in str(error) and "has no variable" not in str(error))
        raise
    assume(all(1e-9 < abs(v) < 1e4 or v == 0 for v in [float(n.value) for n in found.nodes]))
    assume(all(abs(float(e.derivative[0, 0])) < 1e4 for e in found.edges))
    return found


places = st.sampled_from([-2.0, -1.0, -0.3, 0.0, 0.25, 0.7, 1.0, 1.5, 3.0])


@settings(max_examples=300, deadline=None)
@given(expressions((*SMOOTH, "relu", "abs")), places, places)
def test_sums_over_paths_are_the_derivatives_of_autograd(text: str, u: float, w: float) -> None:
    found = drawn(text, u=u, w=w)
    tensors = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in (("u", u), ("w", w))}
    value = eval(text, {"__builtins__": {}}, TORCH | tensors)
    slopes = torch.autograd.grad(value, list(tensors.values()), allow_unused=True)
    assert float(found.output.value) == pytest.approx(value.item(), rel=1e-12, abs=1e-12)
    for name, slope in zip(tensors, slopes, strict=True):
        if name in found.inputs:
            wanted = 0.0 if slope is None else slope.item()
            assert found.gradient()[name] == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(expressions(SMOOTH), places, places)
def test_sums_over_paths_are_central_differences(text: str, u: float, w: float) -> None:
    found, h = drawn(text, u=u, w=w), 1e-5
    for name in found.inputs:
        sides = [drawn(text, **({"u": u, "w": w} | {name: {"u": u, "w": w}[name] + s * h})) for s in (-2, -1, 1, 2)]
        far, near, right, end = (float(side.output.value) for side in sides)
        assert found.gradient()[name] == pytest.approx(
            (far - 8 * near + 8 * right - end) / (12 * h), rel=1e-4, abs=1e-5 * (1 + abs(far))
        )


@settings(max_examples=100, deadline=None)
@given(expressions((*SMOOTH, "relu", "abs")), places, places)
def test_both_passes_and_the_paths_agree(text: str, u: float, w: float) -> None:
    found = drawn(text, u=u, w=w)
    backward, names = found.backward(), [node.name for node in found.nodes]
    for name in names:
        paths = found.paths(name)
        assert len(paths) == found.n_paths(name)
        assert sum(p.product.item() for p in paths) == pytest.approx(backward[name].item(), rel=1e-9, abs=1e-9)
        assert all(p.nodes[0] == name and p.nodes[-1] == found.output.name for p in paths)
    assert all(names.index(e.source) < names.index(e.target) for e in found.edges)
    assert len({(e.source, e.target) for e in found.edges}) == len(found.edges)


def test_the_worked_example_has_two_paths_whose_products_add_up() -> None:
    found = nw.graph("w1 = u**2; w2 = 4*u; v = log(w1) * w2", u=2.0)
    assert [node.name for node in found.nodes] == ["u", "w1", "w2", "n1", "v"]
    products = {p.nodes: p.product.item() for p in found.paths("u")}
    assert products == {
        ("u", "w1", "n1", "v"): pytest.approx(8.0),
        ("u", "w2", "v"): pytest.approx(4 * math.log(4)),
    }
    assert found.gradient() == {"u": pytest.approx(8 + 4 * math.log(4))}
    assert "u -> w1 -> n1 -> v  8 * 0.25 * 4 = 8" in str(found)


def test_an_argument_that_comes_twice_has_one_edge_with_both_derivatives() -> None:
    found = graph("u * u", u=3.0)
    assert [(e.source, e.target, e.derivative.item()) for e in found.edges] == [("u", "v", 6.0)]


def test_kinks_are_taken_as_torch_takes_them() -> None:
    for text, wanted in (("relu(u)", 0.0), ("abs(u)", 0.0), ("max(u, 0)", 0.5), ("max(u, -u, 0)", 0.0)):
        assert graph(text, u=0.0).gradient()["u"] == pytest.approx(wanted), text


def test_names_of_ones_own_are_kept_apart_from_made_ones() -> None:
    found = graph("n1 * sin(v * 2) + pi + e", n1=1.0, v=2.0, e=5.0)
    assert set(found.inputs) == {"n1", "v", "e"} and found.output.name == "out0"
    assert float(found.output.value) == pytest.approx(math.sin(4) + math.pi + 5)


def test_where_paths_are_too_many_the_backward_pass_answers() -> None:
    text = "; ".join(["z0 = sin(u)", *(f"z{k} = z{k - 1} * 0.5 + sin(z{k - 1})" for k in range(1, 15))])
    found = graph(text + "; z14", u=0.3)
    assert found.n_paths("u") == 2**14 > MOST_PATHS
    u = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    z = torch.sin(u)
    for _ in range(14):
        z = z * 0.5 + torch.sin(z)
    assert found.gradient()["u"] == pytest.approx(torch.autograd.grad(z, u)[0].item(), rel=1e-12)
    assert "16,384 paths, together" in str(found)
    with pytest.raises(UsageError, match="16,384 paths lead from u"):
        found.paths("u")


def test_a_diagram_has_every_node_and_edge_arguments_to_the_left() -> None:
    figure = graph("w1 = u**2; w2 = 4*u; v = log(w1) * w2", u=2.0).figure()
    level = {node.id: node.level for node in figure.nodes}
    assert figure.kind == "diagram" and all(level[link.source] < level[link.target] for link in figure.links)
    assert {(link.source, link.target): link.label for link in figure.links}["u", "w2"] == "4"
    assert next(node for node in figure.nodes if node.id == "w1").label == "w1 = u ** 2"


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("log(u**2 * 4", {"u": 1.0}, r"'\(' was never closed \(at position 4\)\n  log\(u\*\*2 \* 4\n     \^"),
        ("  u +", {"u": 1.0}, r"\(at position 6\)\n    u \+\n       \^"),
        ("z = u*2\n  z + [1]", {"u": 1.0}, r"not known here.*\(at line 2, position 7\)\n    z \+ \[1\]\n        \^"),
        ("log(u^2)", {"u": 1.0}, r"a power is written '\*\*' \(at position 7\)"),
        ("4(u)", {"u": 1.0}, r"is a '\*' missing"),
        ("lgo(u)", {"u": 1.0}, "no function 'lgo'; did you mean 'log'"),
        ("tanh(u, 2)", {"u": 1.0}, "tanh takes one argument, and 2 came"),
        ("max(u)", {"u": 1.0}, "max takes two or more arguments, and 1 came"),
        ("log", {}, r"'log' is a function; write log\(...\)"),
        ("u * w", {"u": 1.0}, r"'w' has no value; give it one: graph\(..., w=1.0\) \(at position 5\)"),
        ("u * 2", {"u": 1.0, "w": 2.0}, "has no variable 'w'; it has: u"),
        ("u", {"u": "much"}, "u is 'much'; expected a number"),
        ("u", {"u": math.inf}, "expected a finite number"),
        ("log(u)", {"u": -1.0}, r"log\(-1\) has no finite value"),
        ("2 / (u - 1)", {"u": 1.0}, r"2 / 0 has no finite value or no finite derivative \(at position 1\)"),
        ("sqrt(u)", {"u": 0.0}, "no finite derivative"),
        ("(-u) ** 0.5", {"u": 4.0}, "no finite value"),
        ("9**9**9 * u", {"u": 1.0}, "no finite value"),
        ("1" * 400 + " * u", {"u": 1.0}, "this number is too large"),
        ("", {}, "the expression is empty"),
        ("1 + 2", {}, "has no variable in it"),
        ("u; u", {"u": 1.0}, "expected 'name = expression'"),
        ("u = 2; u", {}, "u = 2"),
        ("u = 2; u * w", {"w": 1.0, "u": 1.0}, "'u' has a meaning already"),
        ("import os", {}, "expected 'name = expression'"),
        ("u.__class__", {"u": 1.0}, "not known here"),
        ("(lambda: u)()", {"u": 1.0}, "cannot be called"),
        ("u\0", {"u": 1.0}, "does not parse|null bytes"),
        ("-" * 1500 + "u", {"u": 1.0}, "nested too deeply"),
        ("(" * 300 + "u", {"u": 1.0}, "too many nested parentheses|nested too deeply"),
        ("u" + "+u" * 1500, {"u": 1.0}, "3,001 characters"),
        ("u" + "+u" * 300, {"u": 1.0}, "more than 200 operations"),
    ],
)  # fmt: skip
def test_a_bad_expression_is_refused_with_its_position(text: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        graph(text, **values)


def test_an_expression_of_thirty_variables_is_drawn() -> None:
    values = {f"x{k}": float(k) for k in range(30)}
    found = graph(" + ".join(f"sin({name})" for name in values), **values)
    assert found.gradient() == {name: pytest.approx(math.cos(v)) for name, v in values.items()}


# --- modules and functions --------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Branches, changes in place, several outputs of one call, batch norm, dropout, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x) * self.scale
        h += x
        one, two = h.chunk(2, 1)
        values, _ = two.max(1)
        out: Tensor = (
            self.drop(self.norm(h)).sum() + (one * two.mean()).tanh().sum() + (1 - values / 3).sum() + x.T[0, 0]
        )
        return out


class LastState(nn.Module):
    """torch's recurrent cell: many parameters, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cell(x)[0][-1]
        return out


class Tokens(nn.Module):
    """Whole numbers as input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(ids).mean(0))
        return out


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Softmax(-1)), (3,)),
    "mixed": (Mixed, (5, 4)),
    "residual": (lambda: ResidualMLP(3, 2, width=4, depth=1), (1, 3)),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        ),
        (1, 1, 6, 6),
    ),
    "gru": (LastState, (4, 1, 2)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), (1, 3, 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_jacobian_of_a_module_is_that_of_autograd(name: str) -> None:
    torch.manual_seed(0)
    make, shape = MODULES[name]
    net, x = make().double(), torch.randn(shape, dtype=torch.float64)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    found = graph(net, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    leaf = x.clone().requires_grad_()
    out = net(leaf)
    leaves = {"x" if "x" in found.inputs else "src": leaf, **dict(net.named_parameters())}
    gradient = found.gradient()
    assert gradient.keys() == leaves.keys()
    rows = [
        torch.autograd.grad(one, list(leaves.values()), retain_graph=True, allow_unused=True) for one in out.reshape(-1)
    ]
    for k, (key, tensor) in enumerate(leaves.items()):
        columns = [row[k] for row in rows]
        wanted = torch.stack([torch.zeros_like(tensor) if c is None else c for c in columns])
        np.testing.assert_allclose(
            np.reshape(gradient[key], (out.numel(), *tensor.shape)), wanted.numpy(), rtol=1e-9, atol=1e-12
        )


def test_a_module_keeps_its_parameters_names_and_is_drawn() -> None:
    torch.manual_seed(0)
    found = graph(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), [0.5, -1.0])
    assert found.inputs == ("x", "0.weight", "0.bias")
    assert [n.operation for n in found.nodes if n.operation] == ["linear(x, 0.weight, 0.bias)", "tanh(n1)"]
    assert found["n1"].shown.startswith("3, norm ") and "3 x 3 times 3 x 2: norm" in str(found)
    assert len(found.figure().nodes) == len(found.nodes)


def test_whole_numbers_go_in_without_a_derivative() -> None:
    found = graph(Tokens(), torch.tensor([1, 4]))
    assert "ids" not in found.inputs and found.gradient()["embed.weight"].shape == (2, 5, 3)  # type: ignore[union-attr]


def test_a_function_of_numbers_and_of_tensors_of_its_own() -> None:
    own = torch.tensor([1.0, 2.0], requires_grad=True)
    found = graph(lambda a, b: a / b + 1 / a - b**a + own.sum(), 2.0, b=3.0)
    a, b, gradient = 2.0, 3.0, found.gradient()
    assert gradient["a"] == pytest.approx(1 / b - 1 / a**2 - b**a * math.log(b))
    assert gradient["b"] == pytest.approx(-a / b**2 - a * b ** (a - 1))
    assert np.array_equal(gradient["w"], [1.0, 1.0])


@pytest.mark.parametrize(
    ("function", "x", "message"),
    [
        (lambda x: 3, 1.0, "int came that does not"),
        (lambda x: x > 0, 1.0, "a tensor of torch.bool came"),
        (nn.Linear(2000, 2000), torch.zeros(1, 2000), "a derivative of 4,000,000 entries"),
        (lambda x: sum(x.sin() for _ in range(300)), 1.0, "more than 200 operations"),
        (lambda x: (x * 2).view(-1)[:1].mul_(3).sum() + (x * 2).data.sum() * x.sum(), 1.0, None),
        (5, 1.0, "int came"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(function: Any, x: Any, message: str | None) -> None:
    if message is None:
        assert graph(function, x).gradient()["x"] == pytest.approx(8.0)
    else:
        with pytest.raises(UsageError, match=message):
            graph(function, x)


def test_a_change_through_a_view_is_found_out() -> None:
    def changed(x: Tensor) -> Tensor:
        y = x * 2
        y.view(-1).mul_(3)
        return y.sum()

    with pytest.raises(UsageError, match="not that of autograd"):
        graph(changed, [1.0, 2.0])


def test_values_of_an_expression_come_by_name() -> None:
    with pytest.raises(UsageError, match="given by name"):
        graph("u * 2", 1.0)
