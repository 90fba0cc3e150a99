from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.runtime import chunks


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_joined_items_are_the_chunk_of_the_items(keys: list[bytes]) -> None:
    items = [IntakeItem(key_id=key.hex()) for key in keys]
    joined = chunks.join(item.SerializeToString() for item in items)
    assert joined == IntakeChunk(items=items).SerializeToString()


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 70_000, 2_097_152])
def test_a_field_of_any_size_is_encoded_as_a_message_encodes_it(size: int) -> None:
    item = IntakeItem(key_id="k" * size)
    number = IntakeItem.KEY_ID_FIELD_NUMBER
    assert IntakeItem.FromString(chunks.field(number, b"k" * size)) == item
