"""What the live page shows: counters, a sample of the newest, and who got what."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from typing import Any

from clarion.sandbox.receipts import ReceiptSender
from clarion.sandbox.record import Record, Store

PAGE = resources.files("clarion.sandbox").joinpath("live.html").read_bytes()
SAMPLE = 25
"""Newest messages in one update; a burst of thousands is counted, not listed."""
LOOK_BACK = 2000
"""Messages that are grouped by person."""
PEOPLE = 24


def snapshot(store: Store, receipts: ReceiptSender, seen: int) -> dict[str, Any]:
    """State of the page; `seen` is the id of the newest message shown before."""
    newest = store.newest(LOOK_BACK, 0)
    sample = [record for record in newest[:SAMPLE] if record.sequence > seen]
    return {
        **store.summary(),
        "receipts": {"sent": receipts.sent.total(), "failed": receipts.failed.total()},
        "messages": [_line(record) for record in sample],
        "people": people(newest),
    }


def people(newest: list[Record]) -> list[dict[str, Any]]:
    """Recipients as persons, the one who got something last first.

    A notification goes to one person, so addresses that share its id are that person's.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    by_notification: dict[str, str] = {}
    for record in newest:
        arrival = record.arrival
        if arrival.notification_id:
            first = by_notification.setdefault(
                arrival.notification_id, arrival.recipient
            )
            leader[find(arrival.recipient)] = find(first)
    groups: dict[str, list[Record]] = {}
    for record in newest:
        groups.setdefault(find(record.arrival.recipient), []).append(record)
    return [_person(records) for records in list(groups.values())[:PEOPLE]]


def _person(records: list[Record]) -> dict[str, Any]:
    addresses: dict[str, str] = {}
    for record in records:
        addresses.setdefault(record.arrival.channel, record.arrival.recipient)
    return {
        "name": addresses.get("email") or addresses.get("sms") or addresses["push"],
        "addresses": addresses,
        "counts": Counter(r.arrival.channel for r in records if r.accepted),
        "refused": sum(not record.accepted for record in records),
        "last": _line(records[0]),
    }


def _line(record: Record) -> dict[str, Any]:
    arrival = record.arrival
    return {
        "id": record.sequence,
        "provider": arrival.provider,
        "channel": arrival.channel,
        "recipient": arrival.recipient,
        "outcome": record.outcome,
        "accepted": record.accepted,
        "arrived_ms": round(arrival.arrived_time * 1000),
        "text": headline(record)[:160],
    }


def headline(record: Record) -> str:
    """The words of a message that a person would see first."""
    arrival = record.arrival
    if not arrival.raw:
        return ""
    payload = arrival.read(arrival.raw)
    if not isinstance(payload, dict):
        return ""
    if arrival.provider == "fcm":
        message = payload.get("message", {})
        shown = message.get("notification") or message.get("data") or {}
        words = [shown.get("title"), shown.get("body")]
    elif arrival.provider == "apns":
        alert = payload.get("aps", {}).get("alert", "")
        words = (
            [alert.get("title"), alert.get("body")]
            if isinstance(alert, dict)
            else [alert]
        )
    elif arrival.provider == "twilio":
        words = [payload.get("Body")]
    else:
        words = [arrival.details.get("subject") or payload.get("subject")]
    return " — ".join(str(word) for word in words if word)
