"""Large messages are stored compressed: the items of a chunk have most in common.

A header says so, as in HTTP (``Content-Encoding``, RFC 9110 8.4; ``zstd``, RFC 8878).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from clarion.runtime.jetstream.errors import PoisonError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODING = "Content-Encoding"
ZSTD = "zstd"
WORTH_BYTES = 8 * 1024
"""What is smaller saves the server less than it costs here."""
MOST_BYTES = 64 * 1024 * 1024
"""What a message may grow to: the largest that a server takes uncompressed."""
_LEVEL = 1
"""The higher ones take longer and save no more of chunks."""
_SCHEDULE = "Nats-Schedule"

_compressor = zstd.ZstdCompressor(level=_LEVEL)
"""One for the process: a new one for each message costs twice as much."""


def compressed(body: bytes, headers: dict[str, str]) -> bytes:
    """The body as it is stored; ``headers`` say afterwards how it is encoded.

    A schedule stays as it is, as it is read and changed where it lies, and so does
    what says how it is encoded already.
    """
    if len(body) < WORTH_BYTES or ENCODING in headers or _SCHEDULE in headers:
        return body
    headers[ENCODING] = ZSTD
    return _compressor.compress(body, zstd.ZstdCompressor.FLUSH_FRAME)


def published(
    data: bytes, headers: Mapping[str, str]
) -> tuple[bytes, Mapping[str, str]]:
    """Body and headers of a stored message as they were published.

    Raises PoisonError (``undecodable``) for a body that is not what its header says,
    that would be larger than ``MOST_BYTES`` or has another encoding.
    """
    if ENCODING not in headers:
        return data, headers
    others = dict(headers)
    encoding = others.pop(ENCODING)
    if encoding != ZSTD:
        raise PoisonError("undecodable", f"no message is encoded as {encoding!r}")
    return _decompressed(data), others


def published_size(data: bytes, headers: Mapping[str, str]) -> int:
    """Bytes of a stored body as it was published, without a look at all of it."""
    if ENCODING not in headers:
        return len(data)
    try:
        return _size_in(data)
    except zstd.ZstdError:  # whoever handles it is told by published()
        return len(data)


def _decompressed(data: bytes) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    try:
        size = _size_in(data)
        if size > MOST_BYTES:
            raise PoisonError("undecodable", f"{size} bytes, at most {MOST_BYTES}")
        body = decompressor.decompress(data)
    except zstd.ZstdError as error:
        raise PoisonError("undecodable", f"not {ZSTD}: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise PoisonError("undecodable", f"not one whole frame of {ZSTD}")
    return body


def _size_in(data: bytes) -> int:
    """What the frame says of itself; the decoder refuses one that has more."""
    size = zstd.get_frame_info(data).decompressed_size
    if size is None:
        raise zstd.ZstdError("the frame does not tell its size")
    return size
