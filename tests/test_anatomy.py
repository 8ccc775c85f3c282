"""A network looked at from inside: its shapes, connections, parameters and products are those that torch and paper say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from netwright.cli.galleries import galleries
from netwright.core.entry import Entry, Example, Whole, load
from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.nn.anatomy import MOST, anatomy, microseconds
from netwright.nn.calls import pass_of
from netwright.nn.entries import LAYERS
from netwright.nn.example import drawn, example_of
from netwright.recipes.built import FAMILIES, built, shown
from netwright.recipes.entries import RECIPES, TEMPLATES
from netwright.recipes.sample_specs import kind_for, sample_spec, sample_target


class Branches(nn.Module):
    """x -> first; second and third side by side on it; their sum with x's first half -> last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y: Tensor = self.last(self.second(x).tanh() + self.third(x) * 2 + x)
        return y


class Words(nn.Module):
    """Ids -> vectors, through no_grad and whole numbers, where autograd cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            vectors = self.table(x["ids"].clamp(0, 9)).mean(1)
        y: Tensor = self.head(vectors)
        return y


class InPlace(nn.Module):
    """Writes into a tensor that went into a module before."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        held = torch.zeros_like(x).detach()
        self.one(held)
        held += x.detach()
        return held


def arrows(found: Finding) -> set[tuple[str, str]]:
    return {(x.source.removeprefix("part "), x.target.removeprefix("part ")) for x in found.figures[0].links}


def test_arrows_are_the_way_of_the_numbers() -> None:
    assert arrows(anatomy(Branches(), torch.zeros(3, 4))) == {
        ("in", "first"),
        ("first", "second"),
        ("first", "third"),
        ("first", "last"),
        ("second", "last"),
        ("third", "last"),
        ("last", "out"),
    }


def test_parts_stand_behind_those_that_they_take_from() -> None:
    nodes = {node.label: node.level for node in anatomy(Branches(), torch.zeros(3, 4)).figures[0].nodes}
    assert nodes == {"input": 0, "first": 1, "second": 2, "third": 2, "last": 3, "output": 4}


def test_where_autograd_cannot_follow_a_part_takes_from_the_one_before() -> None:
    found = anatomy(Words(), {"ids": torch.ones(2, 5, dtype=torch.int32)})
    assert arrows(found) == {("in", "table"), ("table", "head"), ("head", "out")}


def test_a_module_that_writes_into_its_tensors_is_looked_at_all_the_same() -> None:
    assert anatomy(InPlace(), torch.zeros(3, 4)).measured["parameters"] == 0


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(6, 3)
    kept = x.clone()
    anatomy(net, x)
    assert net.training and all(part.training for part in net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters()) and torch.equal(x, kept) and not x.requires_grad
    assert not any(buffer.requires_grad for buffer in net.buffers())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize(
    ("net", "shape", "products"),
    [
        (nn.Linear(5, 7), (4, 5), 35),
        (nn.Linear(5, 7), (4, 6, 5), 6 * 35),
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 12), 8 * 3 * 9 * 10 * 12),
        (nn.Conv1d(4, 4, 5, groups=2), (2, 4, 20), 4 * 2 * 5 * 16),
        (nn.GRU(3, 6, batch_first=True), (2, 9, 3), 9 * 3 * 6 * (3 + 6)),
        (nn.LSTM(3, 6, batch_first=True, bidirectional=True), (2, 9, 3), 2 * 9 * 4 * 6 * (3 + 6)),
        (nn.ReLU(), (4, 5), 0),
    ],
)
def test_products_are_those_of_paper(net: nn.Module, shape: tuple[int, ...], products: int) -> None:
    assert anatomy(net, torch.zeros(shape)).measured["multiply_adds_per_row"] == products


def test_the_products_of_attention_are_counted() -> None:
    block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    linear = 7 * (16 * 48 + 16 * 16 + 2 * 16 * 32)
    assert anatomy(block, torch.zeros(3, 7, 16)).measured["multiply_adds_per_row"] == linear + 2 * 7 * 7 * 16


@pytest.mark.slow
def test_products_agree_with_torchs_own_counter() -> None:
    made = built("templates", TEMPLATES["residual-conv"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made.module(*made.inputs)
    n = anatomy(made.module, *made.inputs).measured["multiply_adds_per_row"]
    assert n == counter.get_total_flops() // 2 // 2, "two rows; two operations a multiply-add"


def test_the_table_adds_up_to_the_whole() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.weight = nn.Linear(4, 4), nn.Parameter(torch.zeros(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner(x) @ self.weight
            return y

    rows = anatomy(Own(), torch.zeros(2, 4)).tables[0].rows
    assert [row[:4] for row in rows] == [("inner", "4", 20, 16), ("(between them)", "", 12, 12)]


def test_shared_parameters_are_counted_once() -> None:
    one = nn.Linear(3, 3)
    found = anatomy(nn.Sequential(one, nn.ReLU(), one), torch.zeros(2, 3))
    assert found.measured["parameters"] == 12 == sum(int(row[2]) for row in found.tables[0].rows)  # type: ignore[arg-type]
    assert found.measured["multiply_adds_per_row"] == 18 == sum(int(row[3]) for row in found.tables[0].rows)  # type: ignore[arg-type]


class Again(nn.Module):
    """One activation behind each of two maps, or one map at each of many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.map, self.squash, self.steps = nn.Linear(3, 3), nn.Tanh(), steps

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = self.squash(self.map(x))
        return x


def test_a_module_called_a_few_times_is_shown_each_time() -> None:
    assert arrows(anatomy(Again(2), torch.zeros(2, 3))) == {
        ("in", "map"),
        ("map", "squash"),
        ("squash", "map (2)"),
        ("map (2)", "squash (2)"),
        ("squash (2)", "out"),
    }


def test_a_module_called_at_every_step_is_shown_once() -> None:
    found = anatomy(Again(20), torch.zeros(2, 3))
    assert [row[0] for row in found.tables[0].rows] == ["map", "squash"]
    assert [row[4] for row in found.tables[0].rows] == ["Linear (20 calls)", "Tanh (20 calls)"]


def test_of_a_deep_network_blocks_are_shown() -> None:
    net = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(MOST)])
    assert [n.label for n in anatomy(net, torch.zeros(2, 4)).figures[0].nodes] == [
        "input",
        *(str(k) for k in range(MOST)),
        "output",
    ]


def test_time_is_that_of_a_row() -> None:
    class Slow(nn.Module):
        rows = 0

        def forward(self, x: Tensor) -> Tensor:
            Slow.rows = len(x)
            return x

    _, timed = microseconds(Slow(), (torch.zeros(4, 3),), 4, 0.0)
    assert timed == Slow.rows == 64
    assert microseconds(Slow(), (torch.zeros(4, 3),), 4, 1e12)[1] == 4, "a heavy network is timed on few rows"


def test_every_call_is_written_down_in_order() -> None:
    done = pass_of(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1))), (torch.zeros(2, 2),))
    assert [(c.path, c.depth, c.inside) for c in done.calls] == [
        ("", 0, 4),
        ("0", 1, 0),
        ("1", 1, 2),
        ("1.0", 2, 0),
        ("1.1", 2, 0),
    ]


WITH_EXAMPLE = [entry for entry in LAYERS.values() if entry.example]


@pytest.mark.parametrize("entry", WITH_EXAMPLE, ids=[e.name for e in WITH_EXAMPLE])
def test_every_layer_with_an_example_is_built_and_called(entry: Entry) -> None:
    module, inputs = example_of(entry)
    assert type(module).__name__ == entry.target.partition(":")[2]
    done = pass_of(module, inputs)
    assert done.outputs and all(len(t) for t in done.outputs)


def test_an_example_is_drawn_from_its_seed() -> None:
    (one, x), (two, y), (other, _) = (example_of(LAYERS["residual-mlp"], seed) for seed in (3, 3, 4))
    assert torch.equal(one(*x), two(*y)) and not torch.equal(one(*x), other(*x))
    ids = drawn(Whole((50, 50), below=7, least=2), 0)
    assert (int(ids.min()), int(ids.max())) == (2, 6)


def test_an_entry_without_an_example_says_so() -> None:
    with pytest.raises(UsageError, match="'x' states no example"):
        example_of(Entry("x", "y", "z (2000)", "netwright.nn.residual:ResidualMLP"))
    with pytest.raises(UsageError, match="only layers, templates, recipes can be built"):
        built("losses", Entry("x", "y", "z (2000)", "m:f"))


EVERY = [(family, entry) for family in FAMILIES[1:] for entry in galleries()[family].values()]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "entry"), EVERY, ids=[f"{f}/{e.name}" for f, e in EVERY])
def test_every_template_and_recipe_can_be_looked_at(family: str, entry: Entry) -> None:
    found = shown(family, entry)
    assert found.measured["parameters"] == sum(int(row[2]) for row in found.tables[0].rows)  # type: ignore[arg-type]
    assert len(found.figures[0].nodes) > 2 and found.measured["built_for"]


@pytest.mark.parametrize("name", ["table-classifier", "image-regressor", "text-classifier"])
def test_a_recipe_is_shown_on_rows_of_its_kind(name: str) -> None:
    made = built("recipes", RECIPES[name])
    assert made.made_for.endswith("a number out" if name.endswith("regressor") else "classes out")
    outputs = made.module(*made.inputs)
    assert len(outputs) == 2 and outputs.isfinite().all()


def test_the_kind_is_that_of_the_example_or_that_which_is_needed() -> None:
    entry = Entry("x", "y", "z (2000)", "m:f", kinds=("table", "image"), needs=("image",))
    assert kind_for(entry) == "image"
    assert kind_for(Entry("x", "y", "z (2000)", "m:f", kinds=("set", "tree"))) == "set"
    assert kind_for(Entry("x", "y", "z (2000)", "m:f", kinds=("set",), example=Example(kind="tree"))) == "tree"
    assert kind_for(Entry("x", "y", "z (2000)", "m:f")) == "table"
    with pytest.raises(UsageError, match="no made-up inputs of kind 'smell'"):
        sample_spec("smell")


def test_options_of_an_example_reach_the_network() -> None:
    entry = TEMPLATES["residual-mlp"]
    small = Entry(entry.name, entry.summary, entry.reference, entry.target, example=Example({"width": 8, "depth": 1}))
    sizes = [sum(p.numel() for p in built("templates", e).module.parameters()) for e in (entry, small)]
    assert sizes[1] < sizes[0] / 10


def test_targets_have_as_many_classes_as_their_kind_has_in_the_wild() -> None:
    assert [len(sample_target(kind, "classes").classes) for kind in ("image", "text", "table")] == [10, 4, 3]
    assert sample_target("table", "number").is_number and len(sample_target("set", "binary").classes) == 2


def test_what_is_named_by_module_and_name_is_loaded() -> None:
    assert load("netwright.nn.residual:ResidualMLP").__name__ == "ResidualMLP"
