"""The base of all plain-data classes: immutable, closed against unknown names, JSON both ways."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable data with checked fields. `model_dump_json` and `model_validate_json` are inverse to each other."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", protected_namespaces=())
