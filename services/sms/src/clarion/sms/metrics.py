"""Every instrument of the SMS channel besides those of the delivery pipeline."""

from __future__ import annotations

from clarion.runtime.telemetry import meter

_meter = meter()
_segments = _meter.create_counter(
    "clarion.sms.segments",
    unit="{segment}",
    description="Short messages that the provider took: what is billed",
)
_receipts = _meter.create_counter(
    "clarion.sms.receipts",
    unit="{receipt}",
    description="Status callbacks by status and reason, repeats included",
)
_inbound = _meter.create_counter(
    "clarion.sms.inbound",
    unit="{message}",
    description="Texts from people by what they ask for: stop, start, other",
)
_refused = _meter.create_counter(
    "clarion.sms.webhooks.refused",
    unit="{request}",
    description="Webhook requests whose signature was wrong",
)


def record_segments(count: int) -> None:
    """A message was taken."""
    _segments.add(count)


def record_receipt(status: str, reason: str) -> None:
    """A status callback was dealt with."""
    _receipts.add(1, {"status": status, "reason": reason})


def record_inbound(keyword: str) -> None:
    """A text from a person was dealt with."""
    _inbound.add(1, {"keyword": keyword})


def record_refused() -> None:
    """A signature was wrong."""
    _refused.add(1)
