"""Generates edge/request_schema.lua: what REST requests may hold.

The transcoder drops JSON fields that it does not know; the edge's filter checks bodies
and query parameters against this table and names what is wrong instead.
"""

from __future__ import annotations

import re
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    MethodDescriptor,
)

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTOR_SET = ROOT / "packages/contracts/src/clarion/api/descriptors.binpb"
TARGET = ROOT / "edge" / "request_schema.lua"

HTTP_BODY = "google.api.HttpBody"
_WELL_KNOWN = {
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "google.protobuf.Struct": "object",
    "google.protobuf.Value": "any",
    "google.protobuf.ListValue": "array",
}
_KINDS = {
    FieldDescriptor.CPPTYPE_STRING: "string",
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
    FieldDescriptor.CPPTYPE_ENUM: "enum",
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT64: "uint64",
    FieldDescriptor.CPPTYPE_FLOAT: "number",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
}


def methods() -> list[MethodDescriptor]:
    """Returns the rpcs of the mesh."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return [
        method
        for file in files.file
        if file.package.startswith("clarion.")
        for service in file.service
        for method in pool.FindServiceByName(f"{file.package}.{service.name}").methods
    ]


def http_rules(method: MethodDescriptor) -> list[tuple[str, str, str]]:
    """Returns (verb, path, body) of an rpc."""
    options = descriptor_pb2.MethodOptions.FromString(
        method.GetOptions().SerializeToString()
    )
    rule = options.Extensions[annotations_pb2.http]
    found = []
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        if verb:
            found.append((verb.upper(), getattr(one, verb), one.body))
    return found


def lua_pattern(path: str) -> str:
    """Returns the Lua pattern of a path template."""
    parts = re.split(r"\{[^}]*\}", path)
    escaped = [re.sub(r"([^\w/:])", r"%\1", part) for part in parts]
    return "^" + "[^/]+".join(escaped) + "$"


def kind_of(field: FieldDescriptor, messages: dict[str, Descriptor]) -> str:
    """Returns the Lua expression for one value of a field."""
    message = field.message_type
    if message is None:
        return f'"{_KINDS[field.cpp_type]}"'
    if message.full_name in _WELL_KNOWN:
        return f'"{_WELL_KNOWN[message.full_name]}"'
    messages.setdefault(message.full_name, message)
    return f'{{message="{message.full_name}"}}'


def field_expression(field: FieldDescriptor, messages: dict[str, Descriptor]) -> str:
    """Returns the Lua expression for a field: a value, a list or a map."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return f"{{map={kind_of(message.fields_by_name['value'], messages)}}}"
    one = kind_of(field, messages)
    return f"{{list={one}}}" if field.is_repeated else one


def query_fields(request: Descriptor, body: str, bound: list[str]) -> str:
    """Returns the Lua expression for the query parameters of an rpc."""
    fields = [] if body == "*" else request.fields
    names = []
    for field in fields:
        if field.name in (body, *bound):
            continue
        message = field.message_type
        known = message is None or message.full_name in _WELL_KNOWN
        kind = kind_of(field, {}) if known else '"any"'
        names += [f'["{name}"]={kind}' for name in {field.name, field.json_name}]
    return "{" + ", ".join(sorted(names)) + "}"


def set_of(names: list[str]) -> str:
    """Returns the Lua expression for a set."""
    return "{" + ", ".join(f'["{name}"]=true' for name in names) + "}"


def render() -> str:
    """Returns the Lua module."""
    messages: dict[str, Descriptor] = {}
    routes = []
    for method in methods():
        for verb, path, body in http_rules(method):
            request = method.input_type
            is_whole = body == "*"
            field = request.fields_by_name[body] if body and not is_whole else None
            target = request if is_whole else field and field.message_type
            if target is not None and target.full_name == HTTP_BODY:
                continue
            bound = re.findall(r"\{(\w+)", path)
            parts = [
                f'verb="{verb}"',
                f'pattern="{lua_pattern(path)}"',
                f"bound={set_of(bound)}",
                f"query={query_fields(request, body, bound)}",
            ]
            if target is not None:
                messages.setdefault(target.full_name, target)
                parts.append(f'message="{target.full_name}"')
                parts.append(f"is_whole={str(is_whole).lower()}")
            routes.append(f"  {{{', '.join(parts)}}},")
    rendered: dict[str, str] = {}
    while len(rendered) < len(messages):
        for name, message in list(messages.items()):
            if name in rendered:
                continue
            lines = []
            for field in message.fields:
                expression = field_expression(field, messages)
                lines.append(f'    ["{field.name}"]={expression},')
                if field.json_name != field.name:
                    lines.append(f'    ["{field.json_name}"]={expression},')
            rendered[name] = "\n".join(lines)
    types = "\n".join(
        f'  ["{name}"]={{\n{body}\n  }},' for name, body in sorted(rendered.items())
    )
    return (
        "-- Generated from proto/ by tools/generate_edge.py; `make proto` renews it.\n"
        "return {\n"
        f"routes={{\n{chr(10).join(routes)}\n}},\n"
        f"types={{\n{types}\n}},\n"
        "}\n"
    )


def main() -> None:
    """Writes the module."""
    TARGET.write_text(render())


if __name__ == "__main__":
    # The factory registers the messages of options that a pool knows only by name.
    message_factory.GetMessageClass(annotations_pb2.http.message_type)
    main()
