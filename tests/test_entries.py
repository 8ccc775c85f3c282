"""Entries and code agree: every member of every gallery is what its entry says, and no probe is left out of its gallery."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from netwright.core.entry import Entry, Gallery
from netwright.core.finding import Finding
from netwright.core.spec import TargetSpec, Task
from netwright.losses.loss import Loss
from netwright.model import Subject
from netwright.recipes.recipe import Recipe

SOURCE = Path(__file__).resolve().parent.parent / "src" / "netwright"
EXPECTED = {
    "checks": ["CHECKS"],
    "baselines": ["BASELINES"],
    "robust": ["ATTACKS"],
    "explain": ["EXPLANATIONS"],
    "recipes": ["RECIPES", "TEMPLATES"],
    "losses": ["LOSSES", "METRICS"],
    "nn": ["LAYERS"],
    "linear": ["LINEAR"],
}
"""Galleries that must be there, by package; others may be."""
PROBES = {"checks", "baselines", "robust", "explain", "search"}
"""Packages whose public functions of a probe's shape belong in a gallery."""
KINDS = {"table", "vector", "image", "text", "series", "audio", "tree", "set", "volume"}
NEEDS = (
    {f.name for f in fields(Subject)}
    | {n for n, v in vars(Subject).items() if isinstance(v, property)}
    | {"link", "split", "images", "texts", "attention", "recurrence"}
)
TARGETS = {
    "binary": TargetSpec(name="y", task="binary", classes=("a", "b"), priors=(0.5, 0.5)),
    "classes": TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.5, 0.25, 0.25)),
    "number": TargetSpec(name="y", task="number", center=3.0, scale=2.0, low=0.0, high=9.0),
}


def galleries() -> dict[str, Gallery]:
    """Every gallery of the house as "package.NAME"."""
    found = {}
    for path in sorted(SOURCE.rglob("entries.py")):
        package = ".".join(path.relative_to(SOURCE).parts[:-1])
        module = importlib.import_module(f"netwright.{package}.entries")
        found |= {f"{package}.{name}": g for name, g in vars(module).items() if isinstance(g, Gallery)}
    return found


GALLERIES = galleries()
MEMBERS = [(name, entry) for name, gallery in GALLERIES.items() for entry in gallery.values()]
every_entry = pytest.mark.parametrize(("gallery", "entry"), MEMBERS, ids=[f"{g}/{e.name}" for g, e in MEMBERS])


def members(*names: str) -> Any:
    """A parametrisation over the entries of some galleries, or of all galleries of probes."""
    wanted = [(g, e) for g, e in MEMBERS if g in names or (not names and g.split(".")[0] in PROBES)]
    return pytest.mark.parametrize("entry", [e for _, e in wanted], ids=[f"{g}/{e.name}" for g, e in wanted])


def complaints(package: str, entry: Entry) -> list[str]:
    """What is wrong with an entry, its code included."""
    found = []
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name):
        found.append("the name is not lower case with dashes")
    if not entry.summary.strip() or entry.summary != entry.summary.strip():
        found.append("the summary is empty, or has space around it")
    elif entry.summary.endswith(".") or re.search(r"\. [A-Z]", entry.summary) or "\n" in entry.summary:
        found.append("the summary is not one sentence without a full stop")
    if not re.search(r"\d{4}", entry.reference):
        found.append("the reference names no year")
    if not set(entry.kinds) <= KINDS:
        found.append(f"unknown kinds {sorted(set(entry.kinds) - KINDS)}")
    if not set(entry.tasks) <= set(get_args(Task)):
        found.append(f"unknown tasks {sorted(set(entry.tasks) - set(get_args(Task)))}")
    if entry.target.startswith("netwright.") and not entry.target.startswith(f"netwright.{package}."):
        found.append("the code is not in the gallery's package")
    try:
        code = entry.load()
    except (ImportError, AttributeError) as error:
        return [*found, f"the code cannot be loaded: {error}"]
    if not callable(code):
        found.append("the code is not callable")
    elif package in PROBES:
        found += probe_complaints(entry, code)
    return found


def probe_complaints(entry: Entry, probe: Callable[..., Any]) -> list[str]:
    """What is wrong with a probe's shape: (Subject, *, budget_seconds, seed, **options) -> Finding."""
    found = []
    if not is_probe(probe):
        found.append(f"not a probe's shape: {inspect.signature(probe)}")
    parameters = inspect.signature(probe).parameters
    if unknown := [o for o in entry.options if o not in parameters]:
        found.append(f"options that the code does not have: {unknown}")
    if not set(entry.needs) <= NEEDS:
        found.append(f"unknown needs {sorted(set(entry.needs) - NEEDS)}")
    if not inspect.getdoc(probe):
        found.append("the code has no docstring")
    return found


def is_probe(function: Callable[..., Any]) -> bool:
    """Whether a function has the shape of a probe."""
    signature = inspect.signature(function)
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    return (
        len(positional) == 1
        and positional[0].annotation in (Subject, "Subject")
        and {"budget_seconds", "seed"} <= keyword
        and signature.return_annotation in (Finding, "Finding")
    )


def unlisted(modules: Iterable[ModuleType], entries: Iterable[Entry]) -> list[str]:
    """Public functions of a probe's shape that no entry points to."""
    listed = {entry.target for entry in entries}
    found = []
    for module in modules:
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
            if own and is_probe(function) and f"{module.__name__}:{name}" not in listed:
                found.append(f"{module.__name__}:{name}")
    return found


def shared(galleries: Mapping[str, Gallery]) -> list[str]:
    """Entries that stand in two galleries."""
    owner: dict[int, str] = {}
    found = []
    for name, gallery in galleries.items():
        for entry in gallery.values():
            if id(entry) in owner:
                found.append(f"{entry.name} is in {owner[id(entry)]} and in {name}")
            owner[id(entry)] = name
    return found


@pytest.mark.parametrize("package", EXPECTED)
def test_the_galleries_are_there_and_not_empty(package: str) -> None:
    for name in EXPECTED[package]:
        assert len(GALLERIES[f"{package}.{name}"]) > 0


@every_entry
def test_an_entry_and_its_code_agree(gallery: str, entry: Entry) -> None:
    assert complaints(gallery.split(".")[0], entry) == []


@pytest.mark.parametrize("package", sorted(PROBES & {p.parent.name for p in SOURCE.rglob("entries.py")}))
def test_every_probe_has_an_entry(package: str) -> None:
    names = [p.stem for p in sorted((SOURCE / package).glob("*.py")) if p.stem not in ("__init__", "entries")]
    modules = [importlib.import_module(f"netwright.{package}.{name}") for name in names]
    entries = [
        entry for name, gallery in GALLERIES.items() if name.startswith(f"{package}.") for entry in gallery.values()
    ]
    assert unlisted(modules, entries) == []


def test_no_entry_is_in_two_galleries() -> None:
    assert shared(GALLERIES) == []


@members()
def test_a_gate_has_something_to_say_about_the_data_or_the_start(entry: Entry) -> None:
    """Only `fail`s of data and of the start stop a recipe."""
    if entry.gate:
        assert entry.target.startswith("netwright.checks.")


@members("nn.LAYERS")
def test_arguments_of_a_layers_example_are_those_of_its_code(entry: Entry) -> None:
    if entry.example is None:
        pytest.skip("it states no example")
    parameters = inspect.signature(entry.load()).parameters
    assert set(entry.example.arguments) <= set(parameters)
    assert bool(entry.example.make) != bool(entry.example.inputs)


@members("losses.LOSSES")
def test_a_loss_has_its_entrys_name_and_a_known_link(entry: Entry) -> None:
    for task in entry.tasks or get_args(Task):
        loss = entry.load()(TARGETS[task])
        assert isinstance(loss, Loss)
        assert loss.name == entry.name
        assert loss.link != "unknown"


@members("recipes.RECIPES")
def test_a_named_recipe_needs_no_argument_and_survives_json(entry: Entry) -> None:
    recipe = entry.load()()
    assert recipe.name == entry.name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@members("recipes.TEMPLATES")
def test_a_template_takes_both_specs_and_has_a_default_for_the_rest(entry: Entry) -> None:
    first, second, *rest = inspect.signature(entry.load()).parameters.values()
    assert (first.name, second.name) == ("spec", "target")
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in rest)


CODE = "netwright.checks.independence:rows_independent"
RIGHT = Entry("fgsm", "one step", "X (2015)", CODE, needs=("data",))
PLANTED = {
    "name": (Entry("Fast_Step", "one step", "X (2015)", CODE), "lower case with dashes"),
    "full stop": (Entry("a", "One step.", "X (2015)", CODE), "one sentence without a full stop"),
    "two sentences": (Entry("a", "One step. Then another", "X (2015)", CODE), "one sentence"),
    "no summary": (Entry("a", "", "X (2015)", CODE), "summary is empty"),
    "no reference": (Entry("a", "one step", "", CODE), "names no year"),
    "no such module": (Entry("a", "one step", "X (2015)", "netwright.checks.nowhere:a"), "cannot be loaded"),
    "no such function": (
        Entry("a", "one step", "X (2015)", "netwright.checks.independence:nothing"),
        "cannot be loaded",
    ),
    "another package": (
        Entry("a", "one step", "X (2015)", "netwright.core.errors:nearest"),
        "not in the gallery's package",
    ),
    "no probe": (Entry("a", "one step", "X (2015)", "netwright.core.errors:nearest"), "not a probe's shape"),
    "unknown option": (
        Entry("a", "one step", "X (2015)", CODE, options={"nonsense_option": 1}),
        "options that the code does not have",
    ),
    "unknown need": (Entry("a", "one step", "X (2015)", CODE, needs=("modle",)), "unknown needs"),
    "unknown task": (Entry("a", "one step", "X (2015)", CODE, tasks=("regression",)), "unknown tasks"),
    "unknown kind": (Entry("a", "one step", "X (2015)", CODE, kinds=("tables",)), "unknown kinds"),
}


def test_a_right_entry_has_no_complaints() -> None:
    assert complaints("checks", RIGHT) == []


@pytest.mark.parametrize("case", PLANTED)
def test_a_wrong_entry_is_found(case: str) -> None:
    entry, expected = PLANTED[case]
    assert any(expected in complaint for complaint in complaints("checks", entry))


def test_a_probe_without_an_entry_is_found() -> None:
    module = ModuleType("planted")
    code = """
from netwright.core.finding import Finding
from netwright.model import Subject
def wanted(subject: Subject, *, budget_seconds: float, seed: int, steps: int = 3) -> Finding: ...
def listed(subject: Subject, *, budget_seconds: float, seed: int) -> Finding: ...
def _private(subject: Subject, *, budget_seconds: float, seed: int) -> Finding: ...
def helper(subject: Subject) -> Finding: ...
"""
    exec(code, vars(module))
    for name in ("wanted", "listed", "_private", "helper"):
        vars(module)[name].__module__ = "planted"
    assert unlisted([module], [Entry("listed", "x", "y", "planted:listed")]) == ["planted:wanted"]


def test_an_entry_in_two_galleries_is_found() -> None:
    assert shared({"a.A": Gallery("a", [RIGHT]), "b.B": Gallery("b", [RIGHT])}) == ["fgsm is in a.A and in b.B"]
