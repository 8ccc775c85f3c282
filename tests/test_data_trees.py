"""Trees: every way of writing them, encoding and back, and a clear word on what is no tree."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import DataError
from netwright.core.spec import InputSpec, TreeField
from netwright.data.encode import decode_inputs, encode_inputs, fit_inputs
from netwright.data.infer import infer_kinds
from netwright.data.kinds import kind_of_cells
from netwright.data.read import look
from netwright.data.tree_notation import MAX_CHARS, from_brackets, from_python, to_brackets
from netwright.data.tree_tables import holds_sources, with_trees
from netwright.data.trees import (
    TREES,
    column_of_trees,
    cut_to,
    depths,
    encode_tree,
    fit_tree,
    tree_of,
    tree_of_children,
    trees_of,
)

DEEP = 50_000


@st.composite
def shapes(draw: st.DrawFn, most: int = 12) -> tuple[list[str], list[int]]:
    """A tree in depth-first order."""
    parents, path = [-1], [0]
    for node in range(1, draw(st.integers(1, most))):
        path = path[: draw(st.integers(1, len(path)))]
        parents.append(path[-1])
        path.append(node)
    labels = draw(st.lists(st.sampled_from("abc"), min_size=len(parents), max_size=len(parents)))
    return labels, parents


@settings(max_examples=50, deadline=None)
@given(shapes(), st.randoms())
def test_nodes_in_any_order_give_the_same_tree(shape: tuple[list[str], list[int]], random: object) -> None:
    labels, parents = shape
    children = [[k for k, p in enumerate(parents) if p == node] for node in range(len(labels))]
    names, above = tree_of_children(labels, children)
    assert (names, above.tolist()) == (labels, parents)
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {old: new for new, old in enumerate(order)}
    moved = [[place[c] for c in children[old]] for old in order]
    names, above = tree_of_children([labels[old] for old in order], moved)
    assert (names, above.tolist()) == (labels, parents)


@settings(max_examples=50, deadline=None)
@given(shapes())
def test_brackets_come_back(shape: tuple[list[str], list[int]]) -> None:
    labels, parents = shape
    names, above = from_brackets(to_brackets(labels, parents))
    assert (names, above.tolist()) == (labels, parents)


BAD_CHILDREN = {
    "cycle": (["a", "b", "c"], [[], [2], [1]], "cycle: node 1 -> node 2 -> node 1"),
    "a cycle through all": (["a", "b"], [[1], [0]], "cycle: node 0 -> node 1 -> node 0"),
    "its own child": (["a"], [[0]], "cycle: node 0 -> node 0"),
    "two roots": (["a", "b"], [[], []], "2 roots, nodes 0 and 1"),
    "out of range": (["a"], [[4]], "node 0 has the child 4, but there are only the nodes 0 to 0"),
    "negative": (["a"], [[-1]], "node 0 has the child -1"),
    "two parents": (["a", "b", "c"], [[1, 2], [2], []], "node 2 has two parents, 0 and 1"),
    "no nodes": ([], [], "no nodes"),
    "lengths": (["a", "b"], [[1]], "2 labels but 1 lists of children"),
}


@pytest.mark.parametrize("case", BAD_CHILDREN)
def test_what_is_no_tree_is_refused_with_row_and_node(case: str) -> None:
    labels, children, expected = BAD_CHILDREN[case]
    good = (["a"], [[]])
    frame = pl.DataFrame(
        {"nodes": [good[0], labels], "adj": [good[1], children]},
        schema={"nodes": pl.List(pl.String), "adj": pl.List(pl.List(pl.Int64))},
    )
    with pytest.raises(DataError, match=expected) as refused:
        with_trees(frame)
    assert "row 1" in str(refused.value)


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ([1, 0], "cycle"),
        ([-1, -1], "2 roots"),
        ([-1, 7], "the parent of node 1 is node 7"),
        ([-1], "1 parents"),
        ([0, 0], "cycle"),
    ],
)
def test_bad_parents_are_refused(parents: list[int], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        tree_of(["a", "b"], parents)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(S (NP dogs)", "1 bracket is still open"),
        ("(S (NP dogs", "2 brackets are still open"),
        ("(S) (T)", r"character 5: '\(' behind the end of the tree"),
        ("(S))", r"character 4: '\)' behind the end"),
        ("dogs", "character 1: 'dogs'; expected a tree such as"),
        (")", r"character 1: '\)'; expected a tree"),
        ("  ", "is empty"),
    ],
)
def test_brackets_that_do_not_match_are_refused_with_the_character(text: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        from_brackets(text)
    with pytest.raises(DataError, match="column 'parse', row 1"):
        trees_of(pl.Series("parse", ["(S (NP dogs))", text]), "brackets")


def test_brackets_as_treebanks_write_them() -> None:
    assert from_brackets("( (S\n  (NP dogs)))")[0] == ["", "S", "NP", "dogs"]
    assert from_brackets("()")[0] == [""]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = = 1", r"line 1, column 5 is no Python \(invalid syntax\): 'x = = 1'"),
        ("def f(:\n  pass", "line 1"),
        ("a\n b", "line 2.*unexpected indent"),
        ("x = 1\0", "no Python"),
        ("(" * 500 + ")" * 500, "no Python|nested too deeply"),
        ("-" * 30_000 + "1", "no Python|nested too deeply"),
    ],
)
def test_source_that_is_no_python_is_refused_with_its_place(source: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        from_python(source)


def test_source_is_parsed_and_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    labels, _ = from_python(f"open({str(witness)!r}, 'w').write('x')")
    assert "Call" in labels and not witness.exists()


def test_sizes_of_trees_in_writing_are_bounded() -> None:
    with pytest.raises(DataError, match="at most 1,000,000 are read"):
        from_brackets("(" + "a " * (MAX_CHARS // 2) + ")")
    with pytest.raises(DataError, match="nodes; at most"):
        from_brackets("(r" + " a" * (MAX_CHARS // 2 - 2) + ")")


def test_deep_trees_meet_no_limit_of_recursion() -> None:
    text = "(a " * DEEP + ")" * DEEP
    labels, parents = from_brackets(text)
    assert len(labels) == DEEP and parents[-1] == DEEP - 2
    assert to_brackets(["a"] * DEEP, parents.tolist()).count("(") == DEEP - 1  # a leaf needs none
    reversed_path = [*range(1, DEEP), -1]
    assert tree_of(["a"] * DEEP, reversed_path)[1].tolist() == parents.tolist()
    assert len(cut_to((labels, parents), 10)[0]) == 10


def test_a_tree_that_is_too_large_keeps_what_is_nearest_to_the_root() -> None:
    tree = tree_of_children(list("abcdef"), [[1, 4], [2], [3], [], [5], []])
    labels, parents = cut_to(tree, 4)
    assert (labels, parents.tolist()) == (["a", "b", "c", "e"], [-1, 0, 1, 0])
    assert depths(tree[1]).tolist() == [0, 1, 2, 3, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(shapes(), min_size=1, max_size=4))
def test_encoded_trees_come_back(rows: list[tuple[list[str], list[int]]]) -> None:
    column = column_of_trees((labels, np.array(parents, dtype=np.int32)) for labels, parents in rows)
    spec = fit_inputs(column.to_frame(), {"tree": "tree"})
    x = encode_inputs(column.to_frame(), spec)
    assert spec.kind == "tree" and kind_of_cells(column) is TREES
    assert x["tree:labels"].shape == x["tree:parents"].shape == (len(rows), max(len(labels) for labels, _ in rows))
    assert decode_inputs(x, spec)["tree"].to_list() == column.to_list()


def test_unknown_labels_and_padding_have_their_ids() -> None:
    field: TreeField = fit_tree(pl.Series("t", ["(a (b c))", "(a b)"]))
    assert field.labels[:2] == ("a", "b") and field.notation == "brackets"
    arrays = encode_tree(pl.Series("t", ["(new a)"]), field)
    assert arrays["t:labels"].tolist() == [[1, 2, 0]] and arrays["t:parents"].tolist() == [[-1, 0, -1]]
    spec = InputSpec(kind="tree", fields=(field,))
    assert decode_inputs(encode_inputs(pl.DataFrame({"t": ["(a (b c))"]}), spec), spec)["t"].to_list() == ["(a (b c))"]


def test_missing_trees_and_other_cells_are_refused() -> None:
    with pytest.raises(DataError, match="row 1: 1 tree missing"):
        fit_tree(pl.Series("t", ["(a)", None]))
    with pytest.raises(DataError, match="expected trees"):
        fit_tree(pl.Series("t", [1, 2]))


def test_json_lines_with_nodes_and_children_hold_trees(tmp_path: Path) -> None:
    lines = '{"nodes": ["S", "NP"], "adj": [[1], []], "label": 0}\n{"nodes": ["S"], "adj": [[]], "label": 1}\n'
    path = tmp_path / "trees.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    seen = look(path)
    assert seen.frame.columns == ["tree", "label"]
    assert seen.frame["tree"].to_list()[0] == {"labels": ["S", "NP"], "parents": [-1, 0]}
    assert any("'nodes' and 'adj' are read as the trees 'tree'" in note for note in seen.warnings)
    kinds = infer_kinds(seen.frame, target="label")
    assert (kinds["tree"].kind, kinds["tree"].reason) == ("tree", "trees of 1 to 2 nodes with 2 different labels")


@pytest.mark.parametrize(
    "line",
    [
        '{"labels": [7, 8], "children": [[1], []]}',
        '{"labels": ["7", "8"], "parents": [-1, 0]}',
        '{"parse": {"nodes": ["7", "8"], "children": [[1], []]}}',
        '{"nodes": ["8", "7"], "adj": [[], [0]]}',
    ],
)
def test_other_words_for_the_same_tree(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_text(line + "\n")
    (column,) = look(path).frame.get_columns()
    assert column.to_list() == [{"labels": ["7", "8"], "parents": [-1, 0]}]


def test_a_column_of_brackets_is_noticed_and_read_where_asked() -> None:
    frame = pl.DataFrame({"parse": ["(S (NP dogs) (VP bark))", "(S (NP cats) (VP sleep))"], "y": [0, 1]})
    assert any("--kind parse=tree" in w for w in infer_kinds(frame, target="y")["parse"].warnings)
    kinds = infer_kinds(frame, {"parse": "tree"}, target="y")
    field = fit_inputs(frame, {"parse": kinds["parse"].kind}).fields[0]
    assert isinstance(field, TreeField) and field.notation == "brackets" and field.n_nodes == 5


def programs(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_of_programs_has_a_class_a_folder(tmp_path: Path) -> None:
    folder = programs(
        tmp_path, {"loop/a.py": "for x in y: pass", "loop/deep/b.py": "while x: pass", "sum/c.py": "x = 1 + 2"}
    )
    assert holds_sources(folder)
    seen = look(folder)
    assert seen.frame["label"].cast(pl.String).to_list() == ["loop", "loop", "sum"]
    assert seen.target == "label" and seen.kinds == {"source": "tree"} and seen.split_column is None
    field = fit_inputs(seen.frame, {"source": "tree"}).fields[0]
    assert isinstance(field, TreeField) and field.notation == "python" and "While" in field.labels


def test_a_folder_of_programs_may_have_parts(tmp_path: Path) -> None:
    texts = {f"{part}/{label}/{k}.py": "x = 1" for part in ("train", "test") for label in "ab" for k in "12"}
    seen = look(programs(tmp_path, texts))
    assert seen.split_column == "split" and seen.frame["split"].value_counts().height == 2


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"a/x.py": "x = 1", "b/y.py": "if x\n  y"}, r"b/y\.py, line 1, column \d+ is no Python"),
        ({"a/x.py": "x = 1"}, "only the class 'a'"),
        ({"a/x.py": "x = 1", "b/y.tree": "(S)"}, "files of .py and .tree"),
    ],
)
def test_bad_folders_of_programs_are_refused(tmp_path: Path, texts: dict[str, str], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        look(programs(tmp_path, texts))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    programs(tmp_path, {"a/x.py": "x = 1", "b/y.py": ""})
    (tmp_path / "b" / "y.py").write_bytes(b"x = '\xff\xfe'")
    with pytest.raises(DataError, match=r"y\.py is no text in UTF-8"):
        look(tmp_path)
