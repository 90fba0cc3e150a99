"""Values of `data` as text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from clarion.push.data_text import number_text, object_text, plain_texts

NUMBERS = [
    (20.0, "20"),
    (99.99, "99.99"),
    (0.0, "0"),
    (-3.0, "-3"),
    (0.1, "0.1"),
    (2.0**53 - 1, "9007199254740991"),
    (1e300, "1e+300"),
    (math.inf, "null"),
    (math.nan, "null"),
]
DATA: dict[str, Any] = {
    "text": 'a "b"\n\u2028 ö \x01',
    "whole": 20,
    "broken": 99.99,
    "yes": True,
    "nothing": None,
    "list": [1, "two", [3.5], {}],
    "nested": {"deep": {"er": False}},
}


def a_struct(data: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(data)
    return struct


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_numbers_keep_their_kind(number: float, text: str) -> None:
    assert number_text(number) == text


def test_a_struct_is_the_json_that_it_was_made_from() -> None:
    text = object_text(a_struct(DATA))
    assert json.loads(text) == DATA
    assert '"whole":20,' in text or '"whole":20}' in text


def test_an_empty_struct_is_an_empty_object() -> None:
    assert object_text(Struct()) == "{}"


def test_plain_texts_are_strings_as_they_are_and_json_of_all_else() -> None:
    texts = dict(plain_texts(a_struct(DATA)))
    assert texts["text"] == DATA["text"]
    assert texts["whole"] == "20"
    assert texts["broken"] == "99.99"
    assert texts["yes"] == "true"
    assert texts["nothing"] == "null"
    assert json.loads(texts["list"]) == DATA["list"]
    assert json.loads(texts["nested"]) == DATA["nested"]
