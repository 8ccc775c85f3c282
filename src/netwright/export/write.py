"""A model as one ONNX file, with the tokenisers of its texts as JSON beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from netwright.core.errors import DataError, NetwrightError, SetupError, UsageError
from netwright.core.files import writing
from netwright.core.spec import TextField
from netwright.data.batch import Inputs
from netwright.data.text import tokenizer_json
from netwright.export.card import KEY, Card, Port
from netwright.export.columns import on_own_tensors, on_raw_columns
from netwright.export.graph import trace
from netwright.export.outputs import add_further
from netwright.export.runtime import LIMIT, Exported
from netwright.export.verify import Verified, verify
from netwright.model import Model
from netwright.recipes.custom import two_rows


@dataclass(frozen=True)
class Written:
    """What `export` wrote.

    Args:
        path: the ONNX file. tokenizers: the JSON files beside it.
        card: the metadata. verified: how its answers were compared with the model's.
    """

    path: Path
    tokenizers: tuple[Path, ...]
    card: Card
    verified: Verified


def _silent(_: str) -> None:
    """Tell nobody."""


def export(
    model: Model, path: str | Path, *, version: str = "", seed: int = 0, tell: Callable[[str], None] = _silent
) -> Written:
    """Write a model as an ONNX file on raw rows, once onnxruntime has answered as the model does on made-up ones.

    Inputs of the graph: `netwright.export.card.Port`. Outputs: calibrated probabilities (N, C) and the label of the most probable
    class (N,), or values (N,) with their bounds, lower and upper (N,), where the model knows them; all numbers float64.

    Args:
        model: of a template, wrapped, or of a user's own template.
        path: of the ONNX file; an existing one is replaced. Tokenisers go beside it, as `<name>.<field>.<words or chars>.json`.
        version: of netwright, for the metadata. seed: of the made-up rows.
        tell: is told what is being done, before it is.

    Raises:
        UsageError: the network cannot be turned into a graph, or takes series, sounds, sets, trees or volumes, or words count as their
            base forms.
        SetupError: onnxruntime answers otherwise, or the file cannot be written.
    """
    path = Path(path)
    if whole := [f"{field.name!r} ({field.kind})" for field in model.spec.wholes]:
        raise UsageError(
            f"the inputs {', '.join(whole)} have no form in an ONNX file of ours; use the model's folder with netwright predict"
        )
    if with_lemmas := [field.name for field in model.spec.texts if field.lemmas]:
        raise UsageError(
            f"the words of {', '.join(map(repr, with_lemmas))} count as their base forms, which neither an ONNX file nor a tokeniser "
            "file can hold; train without lemmas to export the model"
        )
    graph, card, verified = _verified_graph(model, path, version, seed, tell)
    card = card.model_copy(update={"largest_difference": verified.difference})
    content = _with_card(graph, card)
    tokenizers = _tokenizers(card, path)
    with ExitStack() as files:  # which takes them in the other order: where the ONNX file is, its tokenisers are
        files.enter_context(writing(path)).write_bytes(content)
        for place, text in tokenizers.items():
            files.enter_context(writing(place)).write_text(text, encoding="utf-8")
    return Written(path, tuple(tokenizers), card, verified)


def _verified_graph(
    model: Model, path: Path, version: str, seed: int, tell: Callable[[str], None]
) -> tuple[Any, Card, Verified]:
    """A graph that takes texts of any length, else one that takes those of the training's length."""
    example = _example(model)
    free = [name for name, t in example.items() if _is_text(model, name) and t.dim() == 2]
    for lengths in (free, []) if free else ([],):
        what = "texts of any length" if lengths else "texts of one length" if free else "rows"
        tell(f"following {what} through the network, which takes some seconds")
        try:
            graph, ports = _on_rows(model, trace(model, example, lengths))
            output = graph.graph.output[0].name
            card = Card(
                version=version,
                spec=model.spec,
                target=model.target,
                margin=model.margin,
                ports=tuple(ports),
                output=output,
                further=add_further(graph, model.target, model.margin),
            )
            tell("comparing the graph's answers with the model's")
            exported = Exported.of(_with_card(graph, card), card, str(path))
            return graph, card, verify(model, exported, seed)
        except NetwrightError as error:
            failure = error
    if isinstance(failure, DataError):
        raise SetupError(f"the graph that torch made does not work, nothing was written: {failure}") from failure
    raise failure


def _example(model: Model) -> Inputs:
    """Two rows for the exporter to follow through the network."""
    if model.encoder is None:
        return two_rows(model.spec)
    field = model.spec.texts[0]
    text = " ".join(field.words[:8])
    return model.encode(pl.DataFrame({field.name: [text, text]}))


def _is_text(model: Model, tensor: str) -> bool:
    return model.encoder is not None or any(tensor in field.tensors for field in model.spec.texts)


def _on_rows(model: Model, graph: Any) -> tuple[Any, list[Port]]:
    return on_raw_columns(graph, model.spec) if model.encoder is None else on_own_tensors(graph)


def _with_card(graph: Any, card: Card) -> bytes:
    """The bytes of the file."""
    from onnx.helper import set_model_props

    set_model_props(graph, {KEY: card.model_dump_json()})
    graph.producer_name, graph.producer_version = "netwright", card.version
    if graph.ByteSize() > LIMIT:
        raise UsageError(
            f"the network has {graph.ByteSize():,} bytes, more than the {LIMIT:,} that one ONNX file may have"
        )
    content: bytes = graph.SerializeToString()
    return content


def _tokenizers(card: Card, path: Path) -> dict[Path, str]:
    """Content of the JSON files beside the ONNX file."""
    files: dict[Path, str] = {}
    for port in card.ports:
        field = None if port.kind == "tensor" else card.spec[port.field]
        if isinstance(field, TextField) and (port.kind == "words" or port.kind == "chars"):
            files[_beside(path, port, list(files))] = tokenizer_json(field, port.kind)
    return files


def _beside(path: Path, port: Port, taken: Sequence[Path]) -> Path:
    """A place that has no other file of this export, whatever signs the column's name has."""
    field = re.sub(r"[^\w-]+", "_", port.field)[:60]
    place = path.with_name(f"{path.stem}.{field}.{port.kind}.json")
    while place in taken:
        field += "_"
        place = path.with_name(f"{path.stem}.{field}.{port.kind}.json")
    return place
