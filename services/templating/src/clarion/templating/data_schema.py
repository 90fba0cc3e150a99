"""JSON Schema of a template's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

# Holds nothing and fetches nothing: a schema must not make the service call others.
_NO_REGISTRY: Registry[Any] = Registry()


class DataFault(NamedTuple):
    """Where the data does not fit, and why."""

    path: str
    """Such as ``data.items[2].price``."""
    description: str


class DataSchema:
    """A schema, checked once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raises ValueError, saying why, for what is not a schema."""
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            place = _path("data_schema", error.absolute_path)
            raise ValueError(f"{place}: {error.message[:200]}") from error
        self._validator = Draft202012Validator(schema, registry=_NO_REGISTRY)

    def fault(self, data: Mapping[str, Any]) -> DataFault | None:
        """The most telling reason why the data does not fit, if it does not."""
        try:
            error = best_match(self._validator.iter_errors(data))
        except Unresolvable:
            return DataFault("data_schema", "refers to a schema that is not part of it")
        if error is None:
            return None
        # The library's message repeats the value, which may be about a person.
        rule = error.validator
        wanted = str(error.validator_value)[:100]
        text = f"breaks the rule {rule}: {wanted}"
        if rule == "required":
            text = "lacks a required property: " + ", ".join(
                name for name in error.validator_value if name not in error.instance
            )
        return DataFault(_path("data", error.absolute_path), text)


def _path(root: str, steps: Any) -> str:
    return root + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps
    )
