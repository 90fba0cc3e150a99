from __future__ import annotations

from typing import Any

import pytest

from clarion.api.recipients.v1.consent_service_pb2 import Consent
from clarion.router.consent import is_withdrawn
from clarion.router.deciding import decide
from clarion.router.notification_types import TypePolicy
from clarion.runtime.testing import FakeClock

NAMES = ("newsletter", "promotional")
GIVEN, BACK = True, False


def said(granted: bool, at: int, channel: str = "", category: str = "") -> Consent:
    entry = Consent(channel=channel, category=category, granted=granted)
    entry.given_time.seconds = at
    return entry


# ledger, whether email is withdrawn
LEDGERS = {
    "nothing": ([], False),
    "given": ([said(GIVEN, 1)], False),
    "taken back for everything": ([said(BACK, 1)], True),
    "taken back for the channel": ([said(BACK, 1, "email")], True),
    "taken back for another channel": ([said(BACK, 1, "sms")], False),
    "taken back for the category": ([said(BACK, 1, "", "promotional")], True),
    "taken back for the type": ([said(BACK, 1, "", "newsletter")], True),
    "taken back for another category": ([said(BACK, 1, "", "social")], False),
    "given, then taken back for everything": (
        [said(GIVEN, 1, "email", "promotional"), said(BACK, 2)],
        True,
    ),
    "taken back for everything, then given for the category": (
        [said(BACK, 1), said(GIVEN, 2, "", "promotional")],
        False,
    ),
    "taken back for everything, then given for another channel": (
        [said(BACK, 1), said(GIVEN, 2, "sms")],
        True,
    ),
    "told late": ([said(GIVEN, 3), said(BACK, 2, "email")], False),
    "both at once": ([said(GIVEN, 1), said(BACK, 1, "email")], True),
}


@pytest.mark.parametrize(("ledger", "withdrawn"), LEDGERS.values(), ids=LEDGERS)
def test_the_last_word_about_it_counts(ledger: list[Consent], withdrawn: bool) -> None:
    assert is_withdrawn(ledger, NAMES, "email") is withdrawn
    assert is_withdrawn(ledger[::-1], NAMES, "email") is withdrawn


@pytest.mark.parametrize("critical", [False, True])
def test_what_the_person_took_back_is_not_sent_unless_it_is_critical(
    critical: bool, make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person()
    profile.consents.append(said(BACK, 1, "email"))
    policy = TypePolicy(category="c", channels=("email", "sms"), critical=critical)
    plan = decide(make_item(), profile, clock.now(), policy)
    mail, text = plan.channels
    assert text.outcome == "planned"
    expected = ("planned", "") if critical else ("skipped", "consent_withdrawn")
    assert (mail.outcome, mail.reason) == expected
