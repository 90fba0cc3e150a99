from __future__ import annotations

import random

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKError

from clarion.sandbox.header_block import CachingDecoder, encoded


def headers(chance: random.Random) -> list[HeaderTuple]:
    made = [HeaderTuple(b":method", b"POST"), HeaderTuple(b":path", b"/3/device/x")]
    for _ in range(chance.randrange(12)):
        name = chance.choice([b"apns-topic", b"accept", b"x-%d" % chance.randrange(30)])
        value = bytes(chance.choices(b"abcXYZ0189-_. ", k=chance.randrange(400)))
        kind = chance.choice([HeaderTuple, NeverIndexedHeaderTuple])
        made.append(kind(name, value))
    return made


def test_every_block_decodes_as_hpack_decodes_it() -> None:
    chance = random.Random(1)
    encoder, ours, theirs = Encoder(), CachingDecoder(), Decoder()
    for number in range(300):
        if number % 50 == 25:
            encoder.header_table_size = chance.choice([0, 100, 4096])
        block = encoder.encode(headers(chance), huffman=chance.random() < 0.7)
        assert ours.fields(block) == list(theirs.decode(block, raw=True))


def test_broken_blocks_raise_hpacks_errors_and_nothing_else() -> None:
    chance = random.Random(2)
    for _ in range(2000):
        block = bytearray(Encoder().encode(headers(chance)))
        for _ in range(3):
            block[chance.randrange(len(block))] = chance.randrange(256)
        block = block[: chance.randrange(1, len(block) + 1)]
        try:
            CachingDecoder(1000).fields(bytes(block))
        except HPACKError:
            continue


def test_an_oversized_list_is_refused() -> None:
    block = Encoder().encode([(b"x", b"y" * 500)] * 10)
    with pytest.raises(HPACKError):
        CachingDecoder(1000).fields(block)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 300, 20_000])
def test_what_is_encoded_decodes_again(size: int) -> None:
    sent = [(":status", "200"), ("apns-id", "x" * size)]
    assert list(Decoder(max_header_list_size=30_000).decode(encoded(sent))) == sent
