"""pydantic's models as values, where the user has imported pydantic: Durably never does."""

import sys
from typing import Any, cast

__all__ = ["dump", "fields", "is_model", "load"]


def is_model(cls: object) -> bool:
    """Whether it is a model's class. Who has not imported pydantic has none."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(cls, type) and issubclass(cls, base)


def dump(model: Any) -> Any:
    """The model as JSON's types, in pydantic's own form, by alias.

    Raises `ValueError` for a model whose values do not fit its fields: it could not be loaded again. Not by
    `model_dump_json`, which writes null, or NaN, for numbers that JSON does not have.
    """
    return model.model_dump(mode="json", by_alias=True, round_trip=True, warnings="error")


def load(cls: Any, raw: bytes) -> Any:
    """A model from JSON. From JSON itself, because in strict mode pydantic takes a date's text from nothing else."""
    return cls.model_validate_json(raw)


def fields(model: Any) -> dict[str, Any]:
    """The values in a model, by field, as they are."""
    cls = cast("Any", type(model))
    values: dict[str, Any] = {name: getattr(model, name) for name in cls.model_fields}
    return values | (model.model_extra or {})
