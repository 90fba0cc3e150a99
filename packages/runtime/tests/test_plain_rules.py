"""The quick test of a request says yes only where protovalidate finds nothing."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

import clarion.api
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.api.templating.v1.template_service_pb2 import BatchRenderRequest
from clarion.runtime.plain_rules import keeps_rules
from clarion.runtime.validation import validator


def _requests() -> list[Descriptor]:
    found: dict[str, Descriptor] = {}
    (root,) = map(Path, clarion.api.__path__)
    for file in root.rglob("*_service_pb2.py"):
        name = ".".join(("clarion.api", *file.relative_to(root).with_suffix("").parts))
        services = importlib.import_module(name).DESCRIPTOR.services_by_name
        for service in services.values():
            for method in service.methods:
                found[method.input_type.full_name] = method.input_type
    return [found[name] for name in sorted(found)]


REQUESTS = _requests()

_TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "a",
            "order_updates",
            "high",
            "urgent",
            "push",
            "22:00",
            "a b",
            "\n",
            "A-1",
        ]
    ),
    st.text(max_size=5),
    st.sampled_from([1, 63, 64, 65, 128, 129, 255, 256, 257, 8193]).map("x".__mul__),
    st.sampled_from(["order\n", "é", "ａ", "a\x0b", "x" * 64 + "\n", "٣"]),
)


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            if field.type == FieldDescriptor.TYPE_BYTES:
                return st.binary(max_size=4)
            return _TEXTS
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return _messages(field.message_type, depth - 1)
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(allow_nan=False, width=32)
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([v.number for v in field.enum_type.values])
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return st.sampled_from([0, 1, 50, 500, 501, 100_000, 100_001, 700_001])
        case _:
            return st.sampled_from([-1, 0, 1, 50, 500, 501, 1000, 1001])


def _messages(descriptor: Descriptor, depth: int) -> st.SearchStrategy[Message]:
    @st.composite
    def message(draw: Any) -> Message:
        made: Any = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            inner = field.message_type
            is_map = inner is not None and inner.GetOptions().map_entry
            if (inner is not None and not is_map and depth <= 0) or draw(
                st.integers(0, 2)
            ) == 0:
                continue
            if is_map:
                value_field = inner.fields_by_name["value"]
                if value_field.message_type is not None:
                    for key in draw(st.lists(_TEXTS, max_size=2)):
                        made_value = getattr(made, field.name)[key]
                        if depth > 0:
                            made_value.CopyFrom(draw(_values(value_field, depth)))
                else:
                    values = _values(value_field, depth)
                    pairs = draw(st.dictionaries(_TEXTS, values, max_size=3))
                    getattr(made, field.name).update(pairs)
            elif field.is_repeated:
                items = draw(st.lists(_values(field, depth), max_size=9))
                getattr(made, field.name).extend(items)
            elif inner is not None:
                getattr(made, field.name).CopyFrom(draw(_values(field, depth)))
            else:
                setattr(made, field.name, draw(_values(field, depth)))
        return made

    return message()


@pytest.mark.parametrize("descriptor", REQUESTS, ids=lambda one: one.name)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_keeps_its_rules_has_no_violation(descriptor, data):
    message = data.draw(_messages(descriptor, 3))

    if keeps_rules(message):
        assert validator().collect_violations(message) == []


def _good() -> Notification:
    return Notification(
        user_id="u1",
        type="order_updates",
        channels=["push", "email"],
        title="Hello",
        priority="high",
        tags={"team": "shop"},
    )


def test_a_notification_in_order_is_seen_without_asking():
    good = _good()
    good.data.update({"order": {"items": [1, 2, {"name": "Lamp"}]}})

    assert keeps_rules(good)
    assert keeps_rules(BatchSendNotificationsRequest(notifications=[good] * 1000))


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ""},
        {"user_id": "a b"},
        {"user_id": "u1\n"},
        {"user_id": "u" * 129},
        {"type": ""},
        {"type": "1st"},
        {"channels": ["push", "push"]},
        {"channels": ["Push"]},
        {"channels": [f"c{n}" for n in range(9)]},
        {"title": "t" * 257},
        {"priority": "urgent"},
        {"tags": {"": "x"}},
        {"tags": {"team": "x" * 257}},
        {"tags": {f"t{n}": "x" for n in range(17)}},
    ],
    ids=str,
)
def test_a_notification_that_breaks_a_rule_is_asked_about(change):
    notification = _good()
    for name, value in change.items():
        notification.ClearField(name)
        notification.MergeFrom(Notification(**{name: value}))

    assert not keeps_rules(notification)
    assert validator().collect_violations(notification)


def test_an_empty_batch_is_asked_about():
    assert not keeps_rules(BatchSendNotificationsRequest())


def test_what_the_mesh_asks_itself_is_seen_without_asking():
    request = BatchRenderRequest()
    item = request.items.add(key="k", template_id="order", channels=["push"])
    item.data.update({"order": {"items": [1, 2]}})

    assert keeps_rules(request)
