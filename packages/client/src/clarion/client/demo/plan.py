"""What the demonstration sends, and what must come of it. Pure.

Most persons get a mixed stream. Two small groups show that wishes and limits hold: the
first has switched promotions off, the second gets more of them than the default limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clarion.api.recipients.v1.recipient_pb2 import Device, Preferences, Recipient
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.client.building import notification

PROMOTIONAL_DAILY = 3
_PROMOTIONS_SENT = 5
_GROUP = 4
_PER_PERSON = 20
_TYPES = (
    ("order_confirmation", "Order confirmed", "Your order is on its way to you."),
    ("comment_reply", "New reply", "Somebody replied to your comment."),
    ("ride_arriving", "Your ride is here", "The car waits at the corner."),
)
# Ten sends: seven push, two email, one sms; the last push and the sms also go in-app.
_MIX = (
    *(("push",),) * 6,
    ("push", "in_app"),
    *(("email",),) * 2,
    ("sms", "in_app"),
)


@dataclass(frozen=True, slots=True)
class Sending:
    """One notification with what must come of it."""

    notification: Notification
    expected: tuple[str, ...]
    """The channels on which exactly one message must arrive."""


@dataclass(slots=True)
class DemoPlan:
    """Everything for one run; ``run`` makes its persons its own."""

    run: str
    count: int
    template_id: str = "demo-order"
    persons: list[Recipient] = field(default_factory=list)
    preferences: list[Preferences] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.persons = [
            self._person(number)
            for number in range(max(2 * _GROUP, self.count // _PER_PERSON) + 2 * _GROUP)
        ]
        self.preferences = [
            Preferences(user_id=person.user_id, categories={"promotional": False})
            for person in self._without_promotions
        ]

    def _person(self, number: int) -> Recipient:
        user_id = f"{self.run}-{number}"
        # Every fifth person has an iPhone; the numbers are in a range kept for fiction.
        platform = "ios" if number % 5 == 4 else "android"
        return Recipient(
            user_id=user_id,
            display_name=f"Person {number}",
            email=f"{user_id}@people.example",
            phone_number=f"+1415{5550000 + number % 10000:07d}",
            locale="en",
            time_zone="UTC",
            devices=[Device(platform=platform, token=_token(user_id, platform))],
        )

    @property
    def _without_promotions(self) -> Sequence[Recipient]:
        return self.persons[:_GROUP]

    @property
    def _flooded(self) -> Sequence[Recipient]:
        return self.persons[_GROUP : 2 * _GROUP]

    def sendings(self) -> Iterator[Sending]:
        """``count`` mixed notifications."""
        others = self.persons[2 * _GROUP :]
        for number in range(self.count):
            person = others[number % len(others)]
            channels = _MIX[(number // len(others) + number) % len(_MIX)]
            type_, title, message = _TYPES[number % len(_TYPES)]
            yield Sending(
                notification(
                    person.user_id,
                    type_,
                    title=title,
                    message=message,
                    channels=channels,
                    data={"order_id": f"A-{number}", "amount": 99.99, "items": 20},
                    priority=("medium", "high", "low")[number % 3],
                    template_id=self.template_id if "email" in channels else "",
                ),
                channels,
            )

    def unwanted(self) -> list[Sending]:
        """Promotions to those who switched them off: nothing may arrive."""
        return [_promotion(person, ()) for person in self._without_promotions]

    def floods(self) -> list[Sending]:
        """More promotions than a day allows: exactly the limit arrives."""
        return [
            _promotion(person, ("push",))
            for _ in range(_PROMOTIONS_SENT)
            for person in self._flooded
        ]

    @property
    def allowed_of_floods(self) -> int:
        """How many of ``floods`` must arrive."""
        return len(self._flooded) * PROMOTIONAL_DAILY


def _promotion(person: Recipient, expected: tuple[str, ...]) -> Sending:
    return Sending(
        notification(
            person.user_id,
            "promotion",
            title="Half price today",
            message="Only until midnight.",
            channels=("push",),
        ),
        expected,
    )


def _token(user_id: str, platform: str) -> str:
    # APNs tokens are hexadecimal, FCM's are not.
    if platform == "ios":
        return user_id.encode().hex().ljust(64, "0")
    return f"fcm-{user_id}"


def expected_arrivals(
    accepted: Sequence[tuple[str, Sending]],
) -> Counter[tuple[str, str]]:
    """(notification_id, channel) -> 1 for everything that must arrive."""
    return Counter(
        (notification_id, channel)
        for notification_id, sending in accepted
        for channel in sending.expected
    )
