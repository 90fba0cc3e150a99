"""The notifications that a benchmark sends, put together as encoded bytes.

A load generator that builds messages one by one costs as much as the mesh. Here a
notification is two constant pieces with a user id between them, which is what protobuf
makes of it: fields may come in any order, and a list is its items one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.templating.v1.template_service_pb2 import Template
from clarion.client.bench.people import has_inbox, user_id
from clarion.client.building import notification

TEMPLATE = "bench-order"
_LOOP = (
    "{% for item in data['items'] %}{{ item.count }} x {{ item.name }}"
    "{% if not loop.last %}, {% endif %}{% endfor %}"
)
_TYPES = ("order_confirmation", "comment_reply", "ride_arriving")
# Ten sends: seven push, two email, one sms; the last push and the sms also go in-app.
_MIX = (
    *(("push",),) * 6,
    ("push", "in_app"),
    *(("email",),) * 2,
    ("sms", "in_app"),
)
_VARIANTS = 420
"""Of the pieces: a multiple of the mix, of the types and of the lanes."""
STRIDE = 7919
"""A prime that spreads consecutive notifications over all people."""


@dataclass(frozen=True, slots=True)
class _Piece:
    head: bytes
    tail: bytes
    deliveries: int
    has_in_app: bool


class Traffic:
    """An endless mixed stream to ``users`` people: 70 push, 20 email, 10 sms."""

    def __init__(self, users: int, *, lanes: tuple[str, ...] = ()) -> None:
        self._users = users
        self._next = 0
        lanes = lanes or ("medium", "high", "low")
        self._pieces = [_piece(number, lanes) for number in range(_VARIANTS)]

    @property
    def position(self) -> int:
        """The number of the next notification."""
        return self._next

    def channels(self, number: int) -> tuple[str, ...]:
        """Those of a notification by its number."""
        return _MIX[number % _VARIANTS % len(_MIX)]

    def deliveries(self, number: int) -> int:
        """Those that a notification makes, by its number."""
        piece = self._pieces[number % _VARIANTS]
        person = number * STRIDE % self._users
        return piece.deliveries - (piece.has_in_app and not has_inbox(person))

    def batch(self, size: int) -> tuple[bytes, int]:
        """An encoded BatchSendNotificationsRequest; how many deliveries it makes.

        With one in it, it is an encoded SendNotificationRequest as well.
        """
        first, self._next = self._next, self._next + size
        users, pieces = self._users, self._pieces
        parts: list[bytes] = []
        deliveries = 0
        for number in range(first, first + size):
            piece = pieces[number % _VARIANTS]
            person = number * STRIDE % users
            parts += (piece.head, user_id(person).encode(), piece.tail)
            deliveries += piece.deliveries
            if piece.has_in_app and not has_inbox(person):
                deliveries -= 1
        return b"".join(parts), deliveries


def example(number: int, lanes: tuple[str, ...] = ("medium",)) -> Notification:
    """One of the notifications, as a message and without its user."""
    return notification(
        "",
        _TYPES[number % len(_TYPES)],
        channels=_MIX[number % len(_MIX)],
        data={
            "order_id": f"A-{100000 + number}",
            "amount": 99.99,
            "items": [
                {"name": "Espresso cups", "count": 2},
                {"name": "Filter paper", "count": 1},
                {"name": "Kettle", "count": 1},
            ],
        },
        priority=lanes[number // len(_MIX) % len(lanes)],
        template_id=TEMPLATE,
    )


def template() -> Template:
    """The template of all of them: data, and a loop over a list."""
    made = Template(template_id=TEMPLATE, default_locale="en")
    title = "Order {{ data.order_id }} confirmed"
    text = f"{_LOOP}: {{{{ data.amount }}}} EUR"
    for channel in ("push", "sms", "in_app"):
        made.variants.add(channel=channel, title=title, body=text)
    rows = "{% for item in data['items'] %}<li>{{ item.name }}</li>{% endfor %}"
    made.variants.add(
        channel="email",
        title=title,
        body=text,
        html=f"<p>Thank you, {{{{ recipient.display_name }}}}</p><ul>{rows}</ul>",
    )
    return made


def _piece(number: int, lanes: tuple[str, ...]) -> _Piece:
    message = example(number, lanes)
    tail = message.SerializeToString()
    person = len(user_id(0))
    size = 2 + person + len(tail)
    # notifications = 1 with its size, then user_id = 1 with its size.
    head = b"\x0a" + _varint(size) + b"\x0a" + bytes((person,))
    return _Piece(head, tail, len(message.channels), "in_app" in message.channels)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
