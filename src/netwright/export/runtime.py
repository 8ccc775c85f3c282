"""Predictions from an exported file, by onnxruntime. Needs no torch; trusts nothing that the file says before it is checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from netwright.core.errors import DataError, SetupError
from netwright.core.spec import PAD, CategoryField, ImageField, InputSpec, NumberField, TargetSpec, TextField
from netwright.data.answers import answers
from netwright.data.cells import numbers_of, require_columns, to_labels
from netwright.data.images import encode_images
from netwright.data.text import encode_text
from netwright.export.card import KEY, Card, raw_ports

LIMIT = 1 << 30
"""Most bytes of an exported file."""
MOST_IN_ROW = 1 << 26
"""Most pixels and tokens that a row may have: the metadata of a hostile file could ask for a terabyte."""
AT_ONCE, MOST_ROWS = 1 << 16, 8192
"""Pixels, tokens and cells that go through the graph at once, and rows."""
_TYPES = {"number": "tensor(double)", "category": "tensor(string)", "words": "tensor(int32)", "chars": "tensor(int32)"}
Feed = Mapping[str, np.ndarray]
"""What a graph eats: arrays (N, ...) by the name of its input."""


@dataclass(frozen=True)
class Exported:
    """An exported model: predicts from raw rows as the model that it was made of.

    Args:
        card: what the file says of itself. session: of onnxruntime. name: of the file, for messages.
    """

    card: Card
    session: Any
    name: str

    @classmethod
    def load(cls, path: Path) -> Exported:
        """Read a file that `netwright export` wrote.

        Raises:
            DataError: it is missing, too large, damaged, not ours, or refers to other files.
        """
        graph = _parsed(path)
        card = _card(graph, path)
        return cls.of(graph.SerializeToString(), card, str(path))

    @classmethod
    def of(cls, content: bytes, card: Card, name: str) -> Exported:
        """The model in these bytes of an ONNX file.

        Raises:
            DataError: onnxruntime refuses them, or they are not what the card says.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its codes, all below Exception
            raise DataError(
                f"{name} is damaged: onnxruntime refuses it ({_short(error)}); export the model again"
            ) from error
        found = {i.name: i.type for i in session.get_inputs()}
        if found.keys() != {p.name for p in card.ports} or any(
            found[p.name] != _TYPES.get(p.kind, found[p.name]) for p in card.ports
        ):
            raise DataError(
                f"{name} is damaged: its inputs are not those that its metadata name; export the model again"
            )
        given = {o.name for o in session.get_outputs()}
        if absent := [output for output in (card.output, *card.further) if output not in given]:
            raise DataError(f"{name} is damaged: it has no output {absent[0]!r}; export the model again")
        return cls(card, session, name)

    @property
    def spec(self) -> InputSpec:
        """What a row is made of."""
        return self.card.spec

    @property
    def target(self) -> TargetSpec:
        """What is predicted."""
        return self.card.target

    def predict_table(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `Model.predict_table`: row, prediction, and p_<class>... or lower and upper.

        Raises:
            DataError: a column is absent, or the graph is of a user's own module, whose tensors are not made of raw rows.
        """
        if self.card.by_tensors:
            names = ", ".join(repr(port.name) for port in self.card.ports)
            raise DataError(
                f"{self.name} takes the tensors of its owner's module ({names}), which raw rows do not say; "
                "give them to onnxruntime directly"
            )
        return answers(self.predict(self.feed(rows)), self.target, self.card.margin)

    def feed(self, rows: pl.DataFrame) -> dict[str, np.ndarray]:
        """Raw rows as the graph eats them."""
        require_columns(rows, self.spec.names)
        fed: dict[str, np.ndarray] = {}
        ids: dict[str, np.ndarray] = {}
        for port in self.card.ports:
            column, field = rows[port.field], self.spec[port.field]
            if isinstance(field, NumberField):
                fed[port.name] = numbers_of(column, field.kind)
            elif isinstance(field, CategoryField):
                fed[port.name] = to_labels(column).fill_null("").to_numpy().astype(object)
            elif isinstance(field, ImageField):
                fed[port.name] = encode_images(column, field)
            elif isinstance(field, TextField):
                if port.tensor not in ids:
                    ids |= encode_text(column, field)
                fed[port.name] = ids[port.tensor]
        return fed

    def predict(self, feed: Feed) -> np.ndarray:
        """Probabilities (N, C) or values (N,), float64, a piece at a time; texts of like lengths go together."""
        rows = len(next(iter(feed.values())))
        made = np.zeros((rows, *self._answer_shape), dtype=np.float64)
        for index, piece in self._pieces(feed, rows):
            made[index] = self.run(piece)
        return made

    def run(self, feed: Feed) -> np.ndarray:
        """Probabilities or values of all rows at once.

        Raises:
            DataError: the graph cannot be run, or gives something else.
        """
        rows = len(next(iter(feed.values())))
        (given,) = self.outputs(feed, [self.card.output])
        made = np.asarray(given)
        if made.shape != (rows, *self._answer_shape) or made.dtype.kind != "f":
            raise DataError(
                f"{self.name} is damaged: it answers with an array {made.shape} for {rows} rows; export it again"
            )
        return made.astype(np.float64)

    def outputs(self, feed: Feed, names: Sequence[str]) -> list[np.ndarray]:
        """Outputs of the graph by name, for all rows at once.

        Raises:
            DataError: the graph cannot be run.
        """
        try:
            given: list[np.ndarray] = self.session.run(list(names), dict(feed))
            return given
        except Exception as error:  # see `of`
            if "allocate memory" in str(error):
                raise SetupError(f"there is not enough memory to run {self.name}; give fewer rows") from error
            raise DataError(f"{self.name} cannot be run: {_short(error)}; export the model again") from error

    @property
    def _answer_shape(self) -> tuple[int, ...]:
        return () if self.target.is_number else (len(self.target.classes),)

    def _pieces(self, feed: Feed, rows: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Row numbers and their arrays, the longest texts first, without the padding that all texts of a piece have."""
        free = {p.name for p in self.card.ports if p.kind in ("words", "chars") and p.length is None}
        lengths = {name: np.maximum((feed[name] != PAD).cumsum(1).argmax(1) + 1, 1) for name in free}
        fixed = sum(array[:1].size for name, array in feed.items() if name not in free)
        weight = fixed + sum(lengths.values(), np.zeros(rows, dtype=np.int64))
        order, first = np.argsort(-weight, kind="stable"), 0
        while first < rows:
            size = max(1, min(MOST_ROWS, AT_ONCE // max(1, int(weight[order[first]]))))
            index = order[first : first + size]
            piece = {name: array[index] for name, array in feed.items()}
            for name in free:
                piece[name] = np.ascontiguousarray(piece[name][:, : int(lengths[name][index].max())])
            yield index, piece
            first += size


def _parsed(path: Path) -> Any:
    """The file as an onnx ModelProto that refers to no other file."""
    import onnx

    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise DataError(f"{path} has {size:,} bytes, more than the {LIMIT:,} that an exported model may have")
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; expected a file that netwright export wrote") from None
    except PermissionError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from error
    graph = onnx.ModelProto()
    try:
        graph.ParseFromString(content)
    except Exception as error:  # of protobuf, whose classes depend on how it was built
        raise DataError(
            f"{path} is no ONNX file, or damaged ({_short(error)}); copy it again or export again"
        ) from error
    if not len(graph.graph.node):
        raise DataError(f"{path} is no ONNX file, or damaged: it has no graph; copy it again or export again")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(graph)):
        raise DataError(
            f"{path} keeps numbers in other files, which is refused; an exported model is one file: export it again"
        )
    return graph


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors of a protobuf message, however deep."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in value if descriptor.is_repeated else (value,):
                yield from _tensors(part)


def _card(graph: Any, path: Path) -> Card:
    """The metadata of the file."""
    told = {prop.key: prop.value for prop in graph.metadata_props}
    if KEY not in told:
        raise DataError(
            f"{path} was not written by netwright export: it does not say what a row is; use onnxruntime for it"
        )
    try:
        card = Card.model_validate_json(told[KEY])
    except (ValidationError, RecursionError) as error:
        raise DataError(
            f"the metadata of {path} are damaged, or of another version ({_short(error)}); export the model again"
        ) from error
    if card.by_tensors:
        return card
    could = {(port.field, port.tensor, port.kind) for port in raw_ports(card.spec)}
    if any((port.field, port.tensor, port.kind) not in could for port in card.ports):
        raise DataError(f"the metadata of {path} are damaged: an input is of no column; export the model again")
    pixels, tokens = (math.prod(f.shape) for f in card.spec.images), (f.n_words + f.n_chars for f in card.spec.texts)
    if (in_row := sum(pixels) + sum(tokens)) > MOST_IN_ROW:
        raise DataError(
            f"{path} asks for {in_row:,} pixels and tokens a row, more than the {MOST_IN_ROW:,} that a row may have"
        )
    return card


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
