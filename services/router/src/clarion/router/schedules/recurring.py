"""A recurring notification, when it comes next, and the item that then fires. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router.schedules.cron import next_after, parse
from clarion.runtime.ids import derived
from clarion.runtime.streams import later_subject

CRON = "cron"
"""The kind of schedule on the stream: one for each recurring notification."""

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Recurring:
    """A recurring notification of one tenant."""

    tenant: str
    schedule_id: str
    revision: int
    """Another one after every change; 0 before it is stored."""
    notification: Notification
    cron: str
    time_zone: str
    """Empty: the person's."""
    start: datetime | None
    """Not before this instant; itself included."""
    end: datetime | None
    """Not after this instant; itself included."""
    key_id: str
    changed: datetime

    @property
    def identity(self) -> tuple[str, str]:
        """What names it in the whole mesh."""
        return self.tenant, self.schedule_id

    @property
    def subject(self) -> str:
        """Where its next occurrence waits.

        With the revision, so that a worker that plans for an old one cannot take the
        place of what the new one planned.
        """
        return subject_of(self.tenant, self.schedule_id, self.revision)

    def is_like(self, other: Recurring) -> bool:
        """Whether both say the same, whoever put them and when."""
        return (
            self.comes_with(other)
            and self.notification == other.notification
            and (self.start, self.end) == (other.start, other.end)
        )

    def comes_with(self, other: Recurring) -> bool:
        """Whether both come at the same times."""
        return (self.cron, self.time_zone) == (other.cron, other.time_zone)

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        """Its first occurrence later than that instant; None when there is none."""
        if self.start is not None and self.start > after:
            after = self.start - _INSTANT
        coming = next_after(parse(self.cron), zone, after)
        if coming is None or (self.end is not None and coming > self.end):
            return None
        return coming

    def occurrence(self, at: datetime) -> IntakeItem:
        """What fires at one of its times; the same time gives the same ids."""
        moment = at.astimezone(UTC).isoformat(timespec="seconds")
        item = IntakeItem(
            notification_id=derived("occurrence", *self.identity, moment),
            tenant_id=self.tenant,
            notification=self.notification,
            key_id=self.key_id,
        )
        # What is accepted is this occurrence, at its time: ages count from there.
        item.accepted_time.FromDatetime(at)
        recurrence = item.recurrence
        recurrence.schedule_id = self.schedule_id
        recurrence.revision = self.revision
        recurrence.cron = self.cron
        recurrence.time_zone = self.time_zone
        if self.end is not None:
            recurrence.end_time.FromDatetime(self.end)
        recurrence.occurrence_time.FromDatetime(at)
        return item


def subject_of(tenant: str, schedule_id: str, revision: int) -> str:
    """Where the next occurrence of a schedule's revision waits."""
    return later_subject(CRON, tenant, f"{schedule_id}:{revision}")


def carried_by(item: IntakeItem) -> Recurring:
    """The schedule as an occurrence carries it; all that later ones need."""
    recurrence = item.recurrence
    at = recurrence.occurrence_time.ToDatetime(UTC)
    has_end = recurrence.HasField("end_time")
    return Recurring(
        tenant=item.tenant_id,
        schedule_id=recurrence.schedule_id,
        revision=recurrence.revision,
        notification=item.notification,
        cron=recurrence.cron,
        time_zone=recurrence.time_zone,
        start=None,
        end=recurrence.end_time.ToDatetime(UTC) if has_end else None,
        key_id=item.key_id,
        changed=at,
    )
