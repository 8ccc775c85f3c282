"""Threshold nets: any expression and any table, against Python's own reading of it and against plain sums written out here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.core.errors import UsageError
from netwright.nn.boolean import MAX_LENGTH, MAX_NESTING, parse
from netwright.nn.circuit import WIDEST_PARITY, Unit
from netwright.nn.cover import irredundant, symmetric, two_layers
from netwright.nn.threshold import ThresholdNet

NAMES = "abcdef"


def by_hand(units: list[Unit], names: list[str], row: Mapping[str, int]) -> dict[str, int]:
    """The value of every unit, from its definition."""
    values = [row[name] for name in names]
    for unit in units:
        total = sum(w * values[s] for s, w in zip(unit.sources, unit.weights, strict=True))
        values.append(int(total >= unit.threshold))
    return dict(zip([*names, *(u.name for u in units)], values, strict=True))


def rows_of(names: tuple[str, ...]) -> list[dict[str, int]]:
    return [dict(zip(names, bits, strict=True)) for bits in itertools.product((0, 1), repeat=len(names))]


def inputs(n: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0, 1), repeat=n)), dtype=torch.int64).reshape(1 << n, n)


# --- expressions ------------------------------------------------------------------------------------------------------


def expressions() -> st.SearchStrategy[tuple[str, str]]:
    """Random expressions in our notation, and in Python's with parentheses everywhere."""
    leaves = st.sampled_from([(n, n) for n in NAMES] + [("0", "0"), ("1", "1"), ("true", "1"), ("FALSE", "0")])
    signs = {
        "and": (["&", "&&", "and", "AND", "∧"], "({} & {})"),
        "or": (["|", "||", "or", "∨"], "({} | {})"),
        "xor": (["^", "!=", "xor", "⊕"], "({} ^ {})"),
        "implies": (["->", "=>", "implies"], "((1 - {}) | {})"),
        "iff": (["==", "<->", "iff"], "(1 - ({} ^ {}))"),
    }

    def grow(part: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
        pair = st.sampled_from(sorted(signs)).flatmap(
            lambda k: st.tuples(st.sampled_from(signs[k][0]), st.just(signs[k][1]), part, part)
        )
        binary = pair.map(lambda p: (f"({p[2][0]}) {p[0]} ({p[3][0]})", p[1].format(p[2][1], p[3][1])))
        sign = st.sampled_from(["~", "!", "not ", "¬"])
        return binary | st.tuples(sign, part).map(lambda p: (f"{p[0]}({p[1][0]})", f"(1 - {p[1][1]})"))

    return st.recursive(leaves, grow, max_leaves=14)


@settings(max_examples=50, deadline=None)
@given(expressions())
def test_a_net_gives_what_python_gives_on_every_input(both: tuple[str, str]) -> None:
    ours, theirs = both
    net = ThresholdNet.from_expression(ours, names=NAMES)
    code = compile(theirs, "", "eval")
    wanted = [eval(code, {}, dict(row)) for row in rows_of(tuple(NAMES))]
    assert net(inputs(6)).flatten().tolist() == wanted
    assert net.prove() and net.truth_table().flatten().tolist() == wanted
    assert {w for unit in net.units for w in unit.weights} <= {-1, 1}
    assert all(len(set(unit.sources)) == len(unit.sources) and isinstance(unit.threshold, int) for unit in net.units)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "~"]), st.sampled_from(NAMES), st.sampled_from("&|^")), min_size=1, max_size=12
    )
)
def test_operators_bind_as_in_python(parts: list[tuple[str, str, str]]) -> None:
    text = " ".join(f"{sign}{name} {operator}" for sign, name, operator in parts)[:-1]
    names = tuple(NAMES)
    wanted = [eval(text, {}, row) & 1 for row in rows_of(names)]
    assert ThresholdNet.from_expression(text, names=NAMES)(inputs(6)).flatten().tolist() == wanted


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a -> b -> c", "a -> (b -> c)"),
        ("a | b -> c", "(a | b) -> c"),
        ("a -> b == c", "(a -> b) == c"),
        ("a == b == c", "(a == b) == c"),
        ("a == b == c == d", "~(a ^ b ^ c ^ d)"),
        ("not a & b", "(~a) & b"),
        ("~~~a", "~a"),
        ("a ^ a", "0"),
        ("a | ~a | b", "1"),
        ("a\n\t& b", "a&b"),
        ("größe & _x1", "_x1 & größe"),
        ("a ^ b ^ 1", "a == b"),
        ("nothing and order", "order & nothing"),
    ],
)
def test_two_ways_to_write_the_same(text: str, same: str) -> None:
    net = ThresholdNet.from_expression(text)
    other = ThresholdNet.from_expression(same, names=net.names)
    assert net.prove(same) and net.prove(other) and other.prove(text)


@pytest.mark.parametrize(
    ("text", "position", "why"),
    [
        ("a b", 3, "expected an operator or the end, found 'b'"),
        ("a & | b", 5, "expected a variable, 0, 1, ~ or (, found '|'"),
        ("(a & (b | c)", 13, "expected an operator or the ) of position 1, found the end"),
        ("a)", 2, "found ')'"),
        ("a & 2", 5, "the only numbers are 0 and 1"),
        ("a & $", 5, "'$' has no meaning here"),
        ("a = b", 3, "equality is written =="),
        ("a - b", 3, "negation is written ~"),
        ("a &   ", 4, "found the end"),
        ("()", 2, "found ')'"),
        ("f(a)", 2, "expected an operator or the end, found '('"),
        ("a.b", 2, "'.' has no meaning"),
        ("__import__('os')", 12, "has no meaning here"),
        ("(" * 150 + "a" + ")" * 150, MAX_NESTING + 1, "more than 100 parentheses are open"),
    ],
)
def test_what_does_not_parse_is_refused_with_its_position(text: str, position: int, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        ThresholdNet.from_expression(text)
    first, shown, caret = str(caught.value).splitlines()
    assert f"at position {position}:" in first and why in str(caught.value)
    under = shown[caret.index("^") :][:1].strip()
    assert under == text[position - 1 : position].strip()


@pytest.mark.parametrize("text", ["", "  \n", None, 3, "a" * (MAX_LENGTH + 1), {}])
def test_what_is_no_expression_is_refused(text: object) -> None:
    with pytest.raises(UsageError, match=r"expression"):
        ThresholdNet.from_expression(text)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab01()~&|^->=! \nnotrue", max_size=25))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        net = ThresholdNet.from_expression(text)
    except UsageError:
        return
    assert net.prove()


def test_long_chains_and_deep_parentheses_are_read() -> None:
    wide = ThresholdNet.from_expression(" & ".join(f"~x{i}" for i in range(3000)))
    assert len(wide.units) == 1 and wide.depth == 1
    assert wide(torch.zeros(1, 3000)).item() == 1 and wide(torch.eye(3000)[:5]).sum() == 0
    deep = "a"
    for k in range(MAX_NESTING - 1):
        deep = f"~({'b' if k % 2 else 'c'} {'&|^'[k % 3]} {deep})"
    assert ThresholdNet.from_expression(deep).prove()
    assert ThresholdNet.from_expression("~" * 20_001 + "a").prove("~a")
    assert parse(" -> ".join(["a"] * 5000)).evaluate({"a": 0}, 1) == 1


@pytest.mark.parametrize("n", [2, 3, 5, WIDEST_PARITY, WIDEST_PARITY + 1, 20])
def test_a_chain_of_xor_counts(n: int) -> None:
    net = ThresholdNet.from_expression(" ^ ".join(f"x{i}" for i in range(n)))
    assert net.prove()
    if n <= WIDEST_PARITY:
        assert (len(net.units), net.depth) == (n + 1, 2)


def test_a_very_wide_xor_stays_small() -> None:
    net = ThresholdNet.from_expression(" ^ ".join(f"x{i}" for i in range(500)))
    x = torch.randint(0, 2, (50, 500), generator=torch.Generator().manual_seed(0))
    assert torch.equal(net(x)[:, 0], x.sum(1) % 2)
    assert sum(len(unit.sources) for unit in net.units) < 500 * (WIDEST_PARITY + 4)


def test_several_outputs_share_their_units() -> None:
    net = ThresholdNet.from_expression({"sum": "a ^ b ^ c", "carry": "(a & b) | (c & (a ^ b))", "none": "~(a & b)"})
    assert list(net.outputs) == ["sum", "carry", "none"] and net.prove()
    a, b, c = inputs(3).T
    total = a + b + c
    assert net(inputs(3)).T.tolist() == [(total % 2).tolist(), (total // 2).tolist(), (1 - a * b).tolist()]
    assert len({(u.sources, u.weights, u.threshold) for u in net.units}) == len(net.units)


def test_names_give_the_order_of_the_inputs_and_are_checked() -> None:
    net = ThresholdNet.from_expression("b & ~a", names=["a", "unused", "b"])
    assert net(torch.tensor([[0, 1, 1], [1, 0, 1]])).flatten().tolist() == [1, 0]
    with pytest.raises(UsageError, match="no variable 'income'; did you mean 'incom'"):
        ThresholdNet.from_expression("income", names=["incom"])
    with pytest.raises(UsageError, match="'a' is named twice"):
        ThresholdNet.from_expression("a", names=["a", "a"])
    with pytest.raises(UsageError, match="name of a variable"):
        ThresholdNet.from_expression({"a": "~a"})
    assert list(ThresholdNet.from_expression("y & h1").outputs) == ["y_"]
    taken = ThresholdNet.from_expression("(h1 | h2) & y")
    assert len({*taken.names, *(u.name for u in taken.units)}) == 5 and taken.prove()


# --- tables -----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 6).flatmap(lambda n: st.lists(st.integers(0, 1), min_size=1 << n, max_size=1 << n)))
def test_a_net_gives_its_table_in_two_layers(table: list[int]) -> None:
    net = ThresholdNet.from_truth_table(table)
    n = len(net.names)
    assert 1 << n == len(table) and net.depth <= 2
    assert net(inputs(n)).flatten().tolist() == table and net.truth_table().flatten().tolist() == table
    assert net.prove()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_every_table_of_up_to_three_variables(n: int) -> None:
    for number in range(1 << (1 << n)):
        net = ThresholdNet.from_truth_table(f"{number:0{1 << n}b}")
        assert "".join(map(str, net(inputs(n)).flatten().tolist())) == f"{number:0{1 << n}b}"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, (1 << (1 << n)) - 1))))
def test_no_product_and_no_literal_of_a_cover_can_be_left_out(case: tuple[int, int]) -> None:
    n, table = case

    def covers(terms: list[tuple[int, int]]) -> int:
        found = 0
        for r in range(1 << n):
            on = sum((r >> (n - 1 - i) & 1) << i for i in range(n))
            found |= any(on & ones == ones and not on & zeros for ones, zeros in terms) << r
        return found

    terms = irredundant(table, n)
    assert covers(terms) == table
    for k, (ones, zeros) in enumerate(terms):
        rest = terms[:k] + terms[k + 1 :]
        assert covers(rest) != table
        for i in range(n):
            if (ones | zeros) >> i & 1:
                assert covers([*rest, (ones & ~(1 << i), zeros & ~(1 << i))]) != table


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=5), st.integers(-6, 6))
def test_whatever_one_unit_computes_is_found_as_one_unit(weights: list[int], threshold: int) -> None:
    n = len(weights)
    table = sum(
        (sum(w * (r >> (n - 1 - i) & 1) for i, w in enumerate(weights)) >= threshold) << r for r in range(1 << n)
    )
    assert two_layers(table, n).hidden == () and symmetric(table, n) is not None


@pytest.mark.parametrize("n", [2, 5, 9])
def test_parity_takes_n_and_one_unit_and_majority_one(n: int) -> None:
    parity = ThresholdNet.from_truth_table([r.bit_count() % 2 for r in range(1 << n)])
    assert (len(parity.units), parity.depth) == (n + 1, 2) and parity.prove()
    majority = ThresholdNet.from_truth_table([int(2 * r.bit_count() > n) for r in range(1 << n)])
    assert len(majority.units) == 1 and majority.units[0].threshold == n // 2 + 1


def test_xor_is_the_net_that_everybody_knows() -> None:
    for net in (ThresholdNet.from_truth_table("0110"), ThresholdNet.from_expression("x1 ^ x2")):
        first, second, last = net.units
        assert first == Unit("h1", (0, 1), (1, 1), 1) and second == Unit("h2", (0, 1), (1, 1), 2)
        assert last == Unit("y", (2, 3), (1, -1), 1)
        assert [net.values((a, b)) for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))] == [
            {"x1": 0, "x2": 0, "h1": 0, "h2": 0, "y": 0},
            {"x1": 1, "x2": 0, "h1": 1, "h2": 0, "y": 1},
            {"x1": 0, "x2": 1, "h1": 1, "h2": 0, "y": 1},
            {"x1": 1, "x2": 1, "h1": 1, "h2": 1, "y": 0},
        ]


@pytest.mark.parametrize(
    "table",
    ["0110", [0, 1, 1, 0], (False, True, True, False), np.array([0.0, 1.0, 1.0, 0.0]), torch.tensor([0, 1, 1, 0])],
)
def test_a_table_comes_in_many_forms(table: object) -> None:
    assert ThresholdNet.from_truth_table(table).prove("x1 ^ x2")


def test_tables_of_several_outputs() -> None:
    table = np.array([[0, 0], [1, 0], [1, 0], [0, 1]])
    net = ThresholdNet.from_truth_table(table, names=["a", "b"])
    assert net.truth_table().tolist() == table.tolist() and list(net.outputs) == ["y1", "y2"]
    named = ThresholdNet.from_truth_table({"sum": "0110", "carry": "0001"})
    assert named.prove({"sum": "x1 ^ x2", "carry": "x1 & x2"}) and len(named.units) == 4


class Untouchable:
    """A table that says how long it is and may not be read."""

    def __len__(self) -> int:
        return 1 << 21

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise AssertionError("memory was allocated")

    def __getitem__(self, _: object) -> int:
        raise AssertionError("the table was read")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("011", "3 rows; n variables have 2"),
        ("", "0 rows"),
        ("0120", "row 2 holds '2'"),
        ([0, 1, None, 1], "row 2 holds None"),
        ([0, 1, float("nan"), 1], "row 2 holds nan"),
        (iter([0, 1]), "a sequence or an array; this is list_iterator"),
        (7, "this is int"),
        (np.zeros((4, 0)), "has \\(4, 0\\)"),
        (np.zeros((2, 2, 2)), "has \\(2, 2, 2\\)"),
        ({}, "there is no table"),
        ({"a": "01", "b": "0110"}, "have \\[1, 2\\] of them"),
        (Untouchable(), "more than 20 variables"),
    ],
)
def test_what_is_no_truth_table_is_refused(table: object, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ThresholdNet.from_truth_table(table)


def test_names_of_a_table_are_as_many_as_its_variables() -> None:
    with pytest.raises(UsageError, match="4 rows, that is 2 variables; names has 3"):
        ThresholdNet.from_truth_table("0110", names=["a", "b", "c"])


# --- evaluated --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(expressions())
def test_every_unit_has_the_value_of_its_definition(both: tuple[str, str]) -> None:
    net = ThresholdNet.from_expression(both[0], names=NAMES)
    for row in rows_of(tuple(NAMES))[::7]:
        assert net.values(row) == by_hand(list(net.units), list(net.names), row)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64])
def test_outputs_have_the_type_of_the_inputs(dtype: torch.dtype) -> None:
    y = ThresholdNet.from_expression("a & b")(torch.tensor([[1, 1], [0, 1]]).to(dtype))
    assert y.dtype == dtype and y.flatten().int().tolist() == [1, 0]


def test_many_rows_go_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    net = ThresholdNet.from_expression("(a ^ b) | c")
    x = torch.randint(0, 2, (1000, 3), generator=torch.Generator().manual_seed(0))
    whole = net(x)
    monkeypatch.setattr("netwright.nn.threshold.MAX_VALUES", 7 * len(net.levels))
    assert torch.equal(net(x), whole) and net(x[:0]).shape == (0, 1)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(3),
        torch.zeros(2, 4),
        torch.full((1, 3), 0.5),
        torch.full((1, 3), torch.nan),
        -torch.ones(1, 3),
    ],
)
def test_inputs_that_are_not_zeros_and_ones_are_refused(x: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected inputs|takes zeros and ones"):
        ThresholdNet.from_expression("a & b & c")(x)


def test_values_of_one_input_are_asked_for_by_name() -> None:
    net = ThresholdNet.from_expression("alpha & beta")
    with pytest.raises(UsageError, match="no value for beta"):
        net.values({"alpha": 1})
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        net.values({"alpa": 1, "beta": 1})
    with pytest.raises(UsageError, match="zeros and ones"):
        net.values({"alpha": 1, "beta": 2})


# --- proven -----------------------------------------------------------------------------------------------------------


def test_twenty_variables_are_proven() -> None:
    carry = "0"
    for k in range(10):
        carry = f"(a{k} & b{k}) | ((a{k} | b{k}) & ({carry}))"
    net = ThresholdNet.from_expression(carry)
    proof = net.prove()
    assert proof and proof.rows == 1 << 20 and str(proof) == "equal on all 1,048,576 inputs"
    names = [f"{letter}{k}" for letter in "ab" for k in range(9, -1, -1)]
    other = ThresholdNet.from_expression(carry, names=names)
    a, b = np.divmod(np.arange(1 << 20), 1 << 10)
    assert (other.truth_table()[:, 0] == (a + b >= 1 << 10)).all()


def test_thirty_variables_are_compiled_and_evaluated_but_not_proven() -> None:
    net = ThresholdNet.from_expression(" & ".join(f"(x{i} | ~x{i + 1})" for i in range(29)))
    assert len(net.names) == 30 and net(torch.ones(1, 30)).item() == 1
    for ask in (net.prove, net.truth_table):
        with pytest.raises(UsageError, match=r"30 variables have 2\^30 inputs; .* up to 20 variables .* Ask the net"):
            ask()


@settings(max_examples=50, deadline=None)
@given(expressions(), st.data())
def test_a_net_with_a_planted_fault_is_not_proven(both: tuple[str, str], data: st.DataObject) -> None:
    net = ThresholdNet.from_expression(both[0], names=NAMES)
    k = data.draw(st.integers(0, len(net.units) - 1))
    unit = net.units[k]
    faults = [replace(unit, threshold=unit.threshold + 1), replace(unit, threshold=unit.threshold - 1)]
    if unit.weights:
        faults.append(replace(unit, weights=(-unit.weights[0], *unit.weights[1:])))
    units = list(net.units)
    units[k] = data.draw(st.sampled_from(faults))
    broken = ThresholdNet(net.names, units, net.outputs)
    wanted, found = net.truth_table(), broken(inputs(6)).numpy()
    proof = broken.prove(both[0])
    assert proof.differences == (wanted != found).sum() and bool(proof) == (wanted == found).all()
    if not proof:
        first = int((wanted != found).any(1).argmax())
        assert proof.first == rows_of(net.names)[first]


@pytest.mark.parametrize("rows", [64, 128, 1 << 18])
def test_the_first_difference_is_found_in_any_run_of_rows(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netwright.nn.proof.CHUNK_ROWS", rows)
    net = ThresholdNet.from_expression(" & ".join(f"x{i}" for i in range(10)))
    proof = net.prove("x0 & x1 & x2 & x3 & x4 & x5 & x6 & x7 & x8")
    assert (proof.differences, proof.rows) == (1, 1024)
    assert proof.first == {f"x{i}": int(i < 9) for i in range(10)}
    assert "different on 1 of 1,024 inputs, first where x0 = 1" in str(proof)


def test_sums_between_all_and_any_are_counted_in_words() -> None:
    for n, least in itertools.product((3, 7, 11), range(-1, 13)):
        unit = Unit("y", tuple(range(n)), (-1,) + (1,) * (n - 1), least)
        net = ThresholdNet([f"x{i}" for i in range(n)], [unit], {"y": n})
        total = inputs(n).sum(1) - 2 * inputs(n)[:, 0]
        assert (net.truth_table()[:, 0] == (total >= least).numpy()).all(), (n, least)


def test_a_proof_asks_for_the_right_outputs_and_variables() -> None:
    net = ThresholdNet.from_expression({"p": "a & b", "q": "a | b"})
    with pytest.raises(UsageError, match="the outputs are p, q"):
        net.prove("a & b")
    with pytest.raises(UsageError, match="no variable 'c'"):
        net.prove({"p": "a & c", "q": "a"})
    with pytest.raises(UsageError, match="expected a net of the inputs a, b"):
        net.prove(ThresholdNet.from_expression("a & b"))
    with pytest.raises(UsageError, match="came none"):
        ThresholdNet(["a"], [Unit("y", (0,), (1,), 1)], {"y": 1}).prove()


@pytest.mark.slow
def test_a_random_table_of_twenty_variables_is_built_and_proven() -> None:
    table = np.random.default_rng(0).integers(0, 2, 1 << 20, dtype=np.uint8)
    net = ThresholdNet.from_truth_table(table)
    assert net.depth == 2 and net.prove()


# --- shown ------------------------------------------------------------------------------------------------------------


def test_the_diagram_has_every_unit_every_weight_and_the_values() -> None:
    net = ThresholdNet.from_expression("(a & ~b) | c")
    plain, valued = net.diagram(), net.diagram({"a": 1, "b": 1, "c": 0})
    assert [(n.id, n.note, n.level) for n in plain.nodes] == [
        ("a", "", 0), ("b", "", 0), ("c", "", 0), ("h1", "θ = 1", 1), ("y", "θ = 1", 2),
    ]  # fmt: skip
    assert {(x.source, x.target, x.label) for x in plain.links} == {
        ("a", "h1", "+1"), ("b", "h1", "−1"), ("h1", "y", "+1"), ("c", "y", "+1"),
    }  # fmt: skip
    assert [(n.note, n.mark) for n in valued.nodes] == [
        ("1", "good"), ("1", "good"), ("0", "bad"), ("0 < 1 gives 0", "bad"), ("0 < 1 gives 0", "bad"),
    ]  # fmt: skip
    assert [x.mark for x in valued.links] == ["good", "bad", "", ""]


def test_a_net_that_is_too_large_to_draw_says_so_and_is_printed_in_part() -> None:
    net = ThresholdNet.from_truth_table(np.random.default_rng(0).integers(0, 2, 1 << 11))
    with pytest.raises(UsageError, match="a diagram shows 64 in all"):
        net.diagram()
    lines = str(net).splitlines()
    assert len(lines) == 202 and lines[-1] == f"  and {len(net.units) - 200} more"


def test_it_is_in_the_front_and_in_a_state() -> None:
    net = nw.ThresholdNet.from_expression("a | b")
    assert "2 inputs, 1 units, depth 1, 1 outputs" in repr(net)
    other = nw.ThresholdNet.from_expression("a & b")
    other.load_state_dict(net.state_dict())
    assert other(inputs(2)).flatten().tolist() == [0, 1, 1, 1]
