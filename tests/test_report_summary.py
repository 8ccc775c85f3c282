"""The contract of `summary.json`: what is written is strict JSON that the published schema accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from netwright.core.errors import DataError
from netwright.report.summary import Summary, read, schema, write

COMMITTED = Path(__file__).parents[1] / "docs" / "summary.schema.json"


def example() -> dict[str, Any]:
    score = {"value": 0.86, "low": 0.85, "high": 0.87}
    return {
        "schema_version": 1,
        "task": "binary",
        "metric": "log-loss",
        "network": {"network": {"accuracy": score, "log-loss": {"value": 0.29, "low": 0.28, "high": 0.3}}},
        "baselines": {"gradient-boosting": {"accuracy": score}, "dummy": {}},
        "recommended": "gradient-boosting",
        "sentence": "Use the gradient boosting.",
        "n_train": 26048,
        "n_valid": 6513,
        "n_test": 16281,
        "parameters": 412930,
        "seconds": {"look": 0.2, "train": 210.5},
        "seed": 0,
        "versions": {"netwright": "0.1.0", "torch": "2.13.0"},
        "data": {"name": "adult.csv", "fingerprint": "3f9a", "target": "income"},
    }


def accepted_by_schema(value: Any) -> bool:
    return Draft202012Validator(schema()).is_valid(value)


def accepted_by_model(value: Any) -> bool:
    try:
        Summary.model_validate(value)
    except ValidationError:
        return False
    return True


def test_the_committed_schema_is_the_generated_one():
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == schema(), "run: python -m netwright.report.summary"


def test_the_schema_is_one_of_draft_2020_12():
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_accepts_what_is_written(tmp_path):
    write(tmp_path / "summary.json", Summary.model_validate(example()))
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert accepted_by_schema(written)
    assert written == example()


def test_a_summary_survives_writing_and_reading(tmp_path):
    summary = Summary.model_validate(example())
    write(tmp_path / "summary.json", summary)
    assert read(tmp_path / "summary.json") == summary


@pytest.mark.parametrize("field", sorted(example()))
def test_every_field_is_required_by_the_schema(field):
    value = example()
    del value[field]
    assert not accepted_by_schema(value)
    assert field == "schema_version" or not accepted_by_model(value)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"task": "ranking"},
        {"n_test": -1},
        {"n_train": 1.5},
        {"seconds": {"look": -0.1}},
        {"network": {"network": {"accuracy": 0.86}}},
        {"network": {"network": {"accuracy": {"value": 0.86, "low": 0.85}}}},
        {"network": {"network": {"accuracy": {"value": None, "low": None, "high": None}}}},
        {"surprise": 1},
    ],
)
def test_schema_and_model_refuse_the_same(change):
    value = example() | change
    assert not accepted_by_schema(value)
    assert not accepted_by_model(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("end", ["value", "low", "high"])
def test_a_score_is_finite(number, end):
    value = example()
    value["network"]["network"]["accuracy"] = {"value": 0.86, "low": 0.85, "high": 0.87, end: number}
    assert not accepted_by_model(value)


def test_seconds_are_finite():
    assert not accepted_by_model(example() | {"seconds": {"look": float("inf")}})


def test_the_recommended_name_is_one_of_those_compared():
    assert not accepted_by_model(example() | {"recommended": "random-forest"})
    assert accepted_by_model(example() | {"recommended": "network"})


def test_a_name_is_a_network_or_a_baseline_but_not_both():
    assert not accepted_by_model(example() | {"baselines": example()["network"]})


def test_an_interval_has_its_ends_in_order():
    value = example()
    value["network"]["network"]["accuracy"] = {"value": 0.86, "low": 0.87, "high": 0.85}
    assert not accepted_by_model(value)


def test_numpy_numbers_are_written_as_numbers(tmp_path):
    value = example()
    value["network"]["network"]["accuracy"] = {
        k: np.float64(v) for k, v in {"value": 0.5, "low": 0.4, "high": 0.6}.items()
    }
    write(tmp_path / "summary.json", Summary.model_validate(value))
    assert json.loads((tmp_path / "summary.json").read_text())["network"]["network"]["accuracy"]["value"] == 0.5


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"schema_version": 2}', '{"schema_version": 1', "\x00"])
def test_a_file_that_is_no_summary_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(DataError, match=r"summary\.json"):
        read(tmp_path / "summary.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "summary.json")
