"""What is strange in rows that are to be predicted: said, never guessed away."""

from __future__ import annotations

import numpy as np
import polars as pl

from netwright.core.spec import (
    PAD,
    UNKNOWN,
    CategoryField,
    InputSpec,
    NumberField,
    SetField,
    TargetSpec,
    TextField,
    TreeField,
)
from netwright.data.cells import counted, is_missing_word, to_days, to_labels, to_numbers, to_text
from netwright.data.look import Look
from netwright.data.sets import elements_of
from netwright.data.text import encode_text, texts_of
from netwright.data.trees import trees_of
from netwright.report.text import plain

SHOWN = 8
MANY_UNKNOWN = 0.5
"""Share of words that training rows did not have from which a text is called strange."""
_SAMPLE = 10_000


def notes(looked: Look, spec: InputSpec, target: TargetSpec) -> list[str]:
    """One sentence each: what reading noticed, columns that are ignored, cells that the model cannot know.

    Args:
        looked: rows that have every column of the spec.
        spec, target: of the model.
    """
    found = list(looked.warnings)
    frame = looked.frame
    extra = [n for n in frame.columns if n not in spec.names and n != target.name]
    if extra:
        shown = ", ".join(map(repr, extra[:SHOWN])) + (f", and {len(extra) - SHOWN} more" if len(extra) > SHOWN else "")
        found.append(f"{counted(len(extra), 'column')} not used by the model: {shown}")
    for field in spec.fields:
        if isinstance(field, CategoryField):
            found += _strange_categories(frame[field.name], field)
        elif isinstance(field, NumberField):
            found += _strange_numbers(frame[field.name], field)
        elif isinstance(field, TextField):
            found += _strange_texts(frame[field.name].head(_SAMPLE), field)
        elif isinstance(field, SetField):
            found += _strange_sets(frame[field.name], field)
        elif isinstance(field, TreeField):
            found += _strange_trees(frame[field.name].head(_SAMPLE), field)
    return [plain(note) for note in found]


def _strange_categories(column: pl.Series, field: CategoryField) -> list[str]:
    labels = to_labels(column)
    strange = labels.filter(labels.is_not_null() & ~labels.is_in(list(field.categories)))
    found = []
    if len(strange):
        counts = strange.rename("kind").value_counts(name="n").sort(["n", "kind"], descending=[True, False])
        kinds = counts["kind"].to_list()
        shown = ", ".join(repr(k[:40]) for k in kinds[:3]) + (", ..." if len(kinds) > 3 else "")
        what = f"{counted(len(strange), 'cell')} of a category that training rows did not have ({shown})"
        found.append(f"column {field.name!r}: {what}, taken as unknown")
    if labels.null_count() and "" not in field.categories:
        what = f"{counted(labels.null_count(), 'missing cell')}, of which training rows had none"
        found.append(f"column {field.name!r}: {what}, taken as unknown")
    return found


def _strange_numbers(column: pl.Series, field: NumberField) -> list[str]:
    numbers = to_days(column) if field.kind == "date" else to_numbers(column)
    found = []
    unread = pl.Series(column.name, [], dtype=pl.String)
    if column.dtype == pl.String:
        text = to_text(column)
        unread = text.filter(numbers.is_null() & ~is_missing_word(text))
    if len(unread):
        no_what = f"{'is' if len(unread) == 1 else 'are'} no {'date' if field.kind == 'date' else 'finite number'}"
        what = f"{counted(len(unread), 'cell')} that {no_what} ({unread[0][:40]!r})"
        found.append(f"column {field.name!r}: {what}, taken as missing")
    missing = numbers.null_count() - len(unread)
    if missing and not field.missing:
        found.append(f"column {field.name!r}: {counted(missing, 'missing cell')}, of which training rows had none")
    return found


def _strange_texts(column: pl.Series, field: TextField) -> list[str]:
    """Empty texts, texts that are longer than what the model reads, and texts of words that it does not know."""
    name, texts = field.name, texts_of(column)
    empty = sum(not text.strip() for text in texts)
    found = [f"column {name!r}: {counted(empty, 'empty text')}, for which the answer says nothing"] if empty else []
    longer = field.model_copy(update={"n_words": field.n_words + 1, "n_chars": 1})
    ids = encode_text(column, longer)[field.tensors[0]]
    cut = int((ids[:, -1] != PAD).sum())
    if cut:
        found.append(
            f"column {name!r}: {counted(cut, 'text')} longer than {field.n_words:,} words, of which the rest is not read"
        )
    words = (ids != PAD).sum(1)
    unknown = (ids == UNKNOWN).sum(1) > MANY_UNKNOWN * np.maximum(words, 1)
    if n := int((unknown & (words > 0)).sum()):
        share = (ids == UNKNOWN).sum() / max(1, words.sum())
        what = f"{counted(n, 'text')} in which most words were not in the training rows ({100 * share:.0f} % of all words here)"
        found.append(
            f"column {name!r}: {what}: a language unlike the training text, or another subject; answers on it are guesses"
        )
    return found


def _strange_sets(column: pl.Series, field: SetField) -> list[str]:
    """Sets with more elements than the model reads, and elements with cells that it cannot know."""
    elements, sizes = elements_of(column)
    found = []
    if cut := int((sizes > field.n_elements).sum()):
        found.append(
            f"column {field.name!r}: {counted(cut, 'set')} of more than {field.n_elements:,} elements, as many as training rows had at "
            "most; the rest is not read"
        )
    for category in field.categories:
        found += _strange_categories(elements[category.name], category)
    for number in field.numbers:
        found += _strange_numbers(elements[number.name], number)
    return found


def _strange_trees(column: pl.Series, field: TreeField) -> list[str]:
    """Trees with more nodes than the model reads, and nodes with labels that it does not know."""
    trees, known = trees_of(column, field.notation), set(field.labels)
    labels = [label for names, _ in trees for label in names]
    unknown = [label for label in labels if label not in known]
    found = []
    if cut := sum(len(names) > field.n_nodes for names, _ in trees):
        found.append(
            f"column {field.name!r}: {counted(cut, 'tree')} of more than {field.n_nodes:,} nodes, of which the nearest to the root are read"
        )
    if unknown:
        shown = ", ".join(repr(label[:30]) for label in sorted(set(unknown))[:3])
        found.append(
            f"column {field.name!r}: {counted(len(unknown), 'node')} of {len(labels):,} with a label that training rows did not have "
            f"({shown}{', ...' if len(set(unknown)) > 3 else ''}), taken as unknown"
        )
    return found
