"""`summary.json`: the outcome of a run for programs. A stable contract: whoever changes a field raises `schema_version`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, FiniteFloat, NonNegativeInt, ValidationError, model_validator
from pydantic import Field as Setting

from netwright.core.errors import DataError
from netwright.core.files import read_json, write_json
from netwright.core.frozen import Frozen
from netwright.core.spec import Task

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Documented(Frozen):
    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)


class Score(_Documented):
    """A score on the test rows with its 95 % interval."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat

    @model_validator(mode="after")
    def _ordered(self) -> Score:
        if self.low > self.high:
            raise ValueError(f"the interval [{self.low:g}, {self.high:g}] of a score has its ends exchanged")
        return self


Scores = dict[str, Score]
"""Metric -> score. A metric that cannot be computed (ROC AUC with one class in the test rows) is left out."""


class DataSource(_Documented):
    """What the run was about."""

    name: str
    """Name of the file or of the data set."""
    fingerprint: str
    """Digest of the rows."""
    target: str
    """Column that is predicted."""


class Summary(_Documented):
    """The outcome of a run: what was compared on the test rows, and what is recommended."""

    schema_version: Literal[1] = 1
    """Changes with any change of the fields."""
    task: Task
    """binary, classes, or number."""
    metric: str
    """The metric that drove every choice."""
    network: dict[str, Scores]
    """Name of a network -> metric -> score on the test rows."""
    baselines: dict[str, Scores]
    """Name of a classic method -> metric -> score on the same rows."""
    recommended: str
    """One of the names in `network` or in `baselines`."""
    sentence: str
    """The recommendation in plain words."""
    n_train: NonNegativeInt
    """Rows that were fitted."""
    n_valid: NonNegativeInt
    """Rows on which choices were made."""
    n_test: NonNegativeInt
    """Rows that were used for nothing but the scores."""
    parameters: NonNegativeInt
    """Trainable numbers of the network."""
    seconds: dict[str, Annotated[FiniteFloat, Setting(ge=0)]]
    """Step -> seconds."""
    seed: int
    """The one seed of the run."""
    versions: dict[str, str]
    """Package -> version."""
    data: DataSource
    """What the run was about."""

    @model_validator(mode="after")
    def _named(self) -> Summary:
        shared = self.network.keys() & self.baselines.keys()
        if shared:
            raise ValueError(f"{sorted(shared)} stand among the networks and among the baselines")
        if self.recommended not in self.network and self.recommended not in self.baselines:
            raise ValueError(f"{self.recommended!r} is recommended but is neither a network nor a baseline of this run")
        return self


def schema() -> dict[str, Any]:
    """The JSON schema of `summary.json` (draft 2020-12).

    >>> schema()["properties"]["n_test"]["minimum"]
    0
    """
    found = Summary.model_json_schema(mode="serialization")
    return {"$schema": DIALECT, **found, "title": "summary.json of a netwright run"}


def write(path: str | Path, summary: Summary) -> None:
    """Write `summary.json`, whole or not at all."""
    write_json(path, summary.model_dump(mode="json"))


def read(path: str | Path) -> Summary:
    """Read a `summary.json`.

    Raises:
        DataError: it is missing, damaged, or of another version.
    """
    stored = read_json(path)
    if not isinstance(stored, dict) or "schema_version" not in stored:
        raise DataError(f"{path} is no summary: it has no schema_version")
    try:
        return Summary.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(
            f"{path} is no summary of version 1 ({where}: {first['msg']}); it may be of another version"
        ) from error


if __name__ == "__main__":
    write_json(sys.argv[1] if len(sys.argv) > 1 else "docs/summary.schema.json", schema())
