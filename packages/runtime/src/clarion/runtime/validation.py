"""The protovalidate rules of the contracts, with violations that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from clarion.runtime.errors import FieldViolation, InvalidArgumentError
from clarion.runtime.plain_rules import keeps_rules

if TYPE_CHECKING:
    from protovalidate import Validator, Violation


@cache
def validator() -> Validator:
    """The one validator of the process: it caches the compiled rules of each message.

    Imported on first use, which takes 60 ms and 15 MB: most services see nothing but
    requests in order and never need it.
    """
    from protovalidate import Validator

    return Validator()


def check(message: Message) -> None:
    """Raises InvalidArgumentError naming every field that breaks a rule."""
    found = violations(message)
    if found:
        raise InvalidArgumentError(violations=found)


def violations(message: Message, prefix: str = "") -> list[FieldViolation]:
    """What is wrong with the message; empty when nothing is.

    ``prefix`` is put before every path, as ``notifications[3]`` for an item of a batch
    that is checked by itself.
    """
    if keeps_rules(message):
        return []
    return [
        FieldViolation(
            _path(violation, message.DESCRIPTOR, prefix),
            _description(violation),
            violation.proto.rule_id,
        )
        for violation in validator().collect_violations(message)
    ]


def _path(violation: Violation, descriptor: Any, prefix: str) -> str:
    path = [prefix] if prefix else []
    elements = violation.proto.field.elements if violation.proto.field else ()
    for element in elements:
        field = (
            descriptor.fields_by_name.get(element.field_name) if descriptor else None
        )
        descriptor = field.message_type if field is not None else None
        step = element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            step += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
        path.append(step)
    # A rule over a whole message is named after the field that it is about.
    subject = violation.proto.rule_id.partition(".")[0]
    if descriptor is not None and subject in descriptor.fields_by_name:
        path.append(subject)
    return ".".join(path)


def _description(violation: Violation) -> str:
    remedy = _REMEDIES.get(violation.proto.rule_id)
    if remedy is not None:
        return remedy(violation.rule_value, violation.field_value)
    text = violation.proto.message
    for subject in ("repeated value ", "map value ", "value "):
        text = text.removeprefix(subject)
    return text


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values)


# Only rules whose own message does not say what to change. Never the value itself:
# it may be an address or a text for a person.
_REMEDIES: Mapping[str, Callable[[Any, Any], str]] = {
    "required": lambda rule, value: "is missing: give a value",
    "string.min_len": lambda rule, value: (
        f"must have at least {rule} characters: it has {len(value)}"
        if value
        else "is missing: give a value"
    ),
    "string.max_len": lambda rule, value: (
        f"must be at most {rule} characters: it has {len(value)}"
    ),
    "string.in": lambda rule, value: f"must be one of {_listed(rule)}",
    "string.not_in": lambda rule, value: f"must not be one of {_listed(rule)}",
    "string.pattern": lambda rule, value: f"must match {rule}",
    "string.uuid": lambda rule, value: "must be a UUID",
    "repeated.min_items": lambda rule, value: f"must have at least {rule} items",
    "repeated.max_items": lambda rule, value: (
        f"must have at most {rule} items: it has {len(value)}"
    ),
    "repeated.unique": lambda rule, value: "has a value twice: give each once",
}
