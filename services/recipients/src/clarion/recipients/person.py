"""A person as stored: checked, with the phone number as E.164 and device ids. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.recipients import instant, phone_number
from clarion.runtime import time_zones
from clarion.runtime.errors import FieldViolation
from clarion.runtime.ids import derived

MOST_DEVICES = 20


def normalise(recipient: Recipient, path: str) -> list[FieldViolation]:
    """Brings a person into the stored form, in place; what is wrong with it.

    ``path`` is where the person stands in the request, as in ``recipients[3]``.
    """
    found = []
    if recipient.phone_number:
        try:
            recipient.phone_number = phone_number.normalised(recipient.phone_number)
        except ValueError as wrong:
            found.append(
                FieldViolation(
                    f"{path}.phone_number", str(wrong), "phone_number.possible"
                )
            )
    if recipient.time_zone and not time_zones.is_time_zone(recipient.time_zone):
        found.append(
            FieldViolation(f"{path}.time_zone", time_zones.REMEDY, "time_zone.known")
        )
    for place, device in enumerate(recipient.devices):
        found += normalise_device(device, f"{path}.devices[{place}]")
    return found


def normalise_device(device: Device, path: str) -> list[FieldViolation]:
    """Gives a device without an id the one that follows from its token."""
    if not device.device_id:
        device.device_id = derived("device", device.app_id, device.token)
    if not device.HasField("last_seen_time"):
        return []
    return instant.violations(device.last_seen_time, f"{path}.last_seen_time")


def last_of_each(recipients: Iterable[Recipient]) -> list[Recipient]:
    """Each person once, by user_id: of several with one id the last counts."""
    by_id = {recipient.user_id: recipient for recipient in recipients}
    return [by_id[user_id] for user_id in sorted(by_id)]


def devices_of(recipients: Iterable[Recipient]) -> list[tuple[str, Device]]:
    """(user_id, device), each token and each id of a person's devices once.

    The last one counts, as if they had been registered one after the other.
    """
    by_token: dict[str, tuple[str, Device]] = {}
    by_id: dict[tuple[str, str], str] = {}
    for recipient in recipients:
        for device in recipient.devices:
            place = (recipient.user_id, device.device_id)
            replaced = by_id.get(place)
            if replaced is not None:
                by_token.pop(replaced, None)
            before = by_token.get(device.token)
            if before is not None:
                by_id.pop((before[0], before[1].device_id), None)
            by_id[place] = device.token
            by_token[device.token] = (recipient.user_id, device)
    return [by_token[token] for token in sorted(by_token)]
