"""Every instrument of the SMS channel besides those of the delivery pipeline."""

from __future__ import annotations

from clarion.runtime.metrics import Attribute, Name, counter

_segments = counter(Name.SMS_SEGMENTS)
_receipts = counter(Name.SMS_RECEIPTS)
_inbound = counter(Name.SMS_INBOUND)
_refused = counter(Name.SMS_WEBHOOKS_REFUSED)


def record_segments(count: int) -> None:
    """A message was taken."""
    _segments.add(count)


def record_receipt(status: str, reason: str) -> None:
    """A status callback was dealt with."""
    _receipts.add(1, {Attribute.OUTCOME: status, Attribute.REASON: reason})


def record_inbound(keyword: str) -> None:
    """A text from a person was dealt with."""
    _inbound.add(1, {Attribute.REASON: keyword})


def record_refused() -> None:
    """A signature was wrong."""
    _refused.add(1)
