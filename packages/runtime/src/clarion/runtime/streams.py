"""Every stream, subject and durable of the mesh: the one table (docs/streams.md).

Accepted notifications wait in INTAKE and jobs of the channels in WORK: with one queue
for both, a queue full of accepted ones could never be worked off, for that takes room
for their jobs.

Subjects are built by the functions here and nowhere else; ``declare_streams`` makes
the server agree with the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import unquote
from zlib import crc32

LANES = ("high", "medium", "low")
OVERFLOW = "overflow"
FLOWS: tuple[str, ...] = (*LANES, *(f"{lane}.{OVERFLOW}" for lane in LANES))
"""What each lane travels by, what goes first before what goes later: the lanes, then
what single tenants send beyond their share of a lane. A flow has its own subject and
durable at every stage, an overflow one for each of its parts."""
PARTS = 8
"""Of an overflow, each with its turn: so many tenants flood at the same time without
one waiting behind another."""
CHANNELS = ("push", "email", "sms", "in_app")
INTAKE = "intake"
DIGEST = "digest"
STAGES = (INTAKE, *CHANNELS, DIGEST)

SCHED = "SCHED"
INTAKE_QUEUE = "INTAKE"
WORK = "WORK"
DIGEST_QUEUE = "DIGEST"
QUEUES = (INTAKE_QUEUE, WORK, DIGEST_QUEUE)
EVENTS = "EVENTS"
DLQ = "DLQ"
ADV = "ADV"

TRACKING_DURABLE = "tracking"
ADVISORY_DURABLE = "dead-letters"

DEFAULT_WORK_MAX_BYTES = 4 * 1024**3
"""For both queues together; each has half."""
ACK_WAIT = timedelta(seconds=30)
INTAKE_ACK_WAIT = timedelta(seconds=10)
"""Of what routers decide: nobody leases it, so what a killed one had in hand can go on
sooner than what may be on its way to a provider."""
FIRED_TTL = timedelta(hours=24)
"""How long a fired schedule stays in SCHED for WORK to fetch: the longest that WORK
may be full before what was scheduled is lost."""

_MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
_SAFE = re.compile(r"[A-Za-z0-9_-]+")
_OWN_QUEUES = {INTAKE: INTAKE_QUEUE, DIGEST: DIGEST_QUEUE}


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. Unset limits are unlimited."""

    name: str
    subjects: tuple[str, ...]
    description: str
    retention: Literal["limits", "workqueue"] = "limits"
    discard: Literal["old", "new"] = "old"
    max_age: timedelta = timedelta(0)
    max_bytes: int = -1
    duplicate_window: timedelta = timedelta(minutes=10)
    """Longer than any publisher retries; ids cost 0.23 kB each while it lasts."""
    schedules: bool = False
    fed_stages: tuple[str, ...] = ()
    """The stages whose due messages it takes over from SCHED."""


@dataclass(frozen=True, slots=True)
class DurableSpec:
    """One durable pull consumer with explicit acks."""

    name: str
    stream: str
    filter_subject: str
    starts: Literal["all", "new"] = "all"
    """With the messages that are there when it is made, or with the next one."""
    ack_wait: timedelta = ACK_WAIT
    max_deliver: int = 20
    """Handlers dead-letter earlier; this one catches what kills its worker."""
    max_ack_pending: int = 10_000
    """Above workers x prefetch, because delayed naks count as well."""

    @property
    def in_memory(self) -> bool:
        """Whether a server that ends forgets what is in hand and delivers it again.

        So it is with queues, where what is handled is gone from the stream itself: a
        file for each durable, written at every ack, would say little more.
        """
        return self.stream in QUEUES


def subject_token(text: str) -> str:
    """Any text as one subject token: other than ``A-Za-z0-9_-`` becomes ``=XX``.

    Different texts give different tokens.
    """
    if _SAFE.fullmatch(text):
        return text
    if not text:
        raise ValueError("a subject token cannot be empty")
    return "".join(
        chr(byte) if _SAFE.fullmatch(chr(byte)) else f"={byte:02X}"
        for byte in text.encode()
    )


def work_subject(stage: str, part: str) -> str:
    """Where work of a stage is published, by its flow or part of a flow."""
    return f"work.{_stage(stage)}.{_part(stage, part)}"


def due_subject(stage: str, part: str) -> str:
    """The target of a schedule; what fires there comes to the stage's workers.

    The router reads it in SCHED; to the others it appears on ``work_subject``.
    """
    return f"due.{_stage(stage)}.{_part(stage, part)}"


def overflow_of(lane: str) -> str:
    """The flow of what goes beyond a tenant's share of a lane (or of a flow of it)."""
    return _flow(f"{lane_of(lane)}.{OVERFLOW}")


def parts_of(stage: str, flow: str) -> tuple[str, ...]:
    """What a flow consists of at a stage; each part has a subject and durable.

    The first one is named as the flow, and has what was stored before there were parts.
    """
    if _stage(stage) == DIGEST or _flow(flow) in LANES:
        return (_flow(flow),)
    return (flow, *(f"{flow}.{number}" for number in range(1, PARTS)))


def part_of(flow: str, tenant: str) -> str:
    """The part of a flow that has what the tenant sends where nobody knows better."""
    parts = parts_of(INTAKE, flow)
    return parts[crc32(tenant.encode()) % len(parts)]


def same_part(lane: str, part: str) -> str:
    """The part of the overflow of a lane that goes with a part of another one."""
    return f"{overflow_of(lane)}{part[len(flow_of(part)) :]}"


def flow_of(part: str) -> str:
    """The flow that a part belongs to; a flow is of itself."""
    return ".".join(part.split(".")[:2])


def lane_of(flow: str) -> str:
    """The lane that a flow belongs to."""
    return flow.partition(".")[0]


def is_lower(lane: str, than: str) -> bool:
    """Whether it is a lane, and one that makes way for the other."""
    return lane in LANES and LANES.index(lane) > LANES.index(than)


def later_subject(kind: str, tenant: str, id: str) -> str:
    """The identity of one schedule; ``*`` as id means all of the tenant (cancel)."""
    last = id if id == "*" else subject_token(id)
    return f"later.{subject_token(kind)}.{subject_token(tenant)}.{last}"


def tenant_of(later: str) -> str:
    """Whose schedule it is, by its ``later_subject``."""
    return unquote(later.split(".")[2].replace("=", "%"))


def events_subject(service: str) -> str:
    """Where a service publishes what happened."""
    return f"events.{subject_token(service)}"


def dead_letter_subject(stage: str, lane: str) -> str:
    """Where dead letters go; an event has stage ``events`` and its service as lane."""
    return f"dlq.{subject_token(stage)}.{subject_token(lane)}"


def stream_of(stage: str) -> str:
    """The queue of a stage."""
    return _OWN_QUEUES.get(_stage(stage), WORK)


def durable_name(stage: str, part: str) -> str:
    """The durable on ``stream_of(stage)`` that the stage's workers share.

    Of the router, also the one on SCHED.
    """
    return f"{_stage(stage)}-{_part(stage, part)}".replace(".", "-")


def queue_subject(subject: str) -> str:
    """Where a message of a stage waits again: in its queue, also one that fired."""
    kind, dot, rest = subject.partition(".")
    return f"work{dot}{rest}" if kind == "due" else subject


def stage_and_lane(subject: str) -> tuple[str, str]:
    """The origin of a message by its subject; ``unknown`` for what is missing."""
    tokens = subject.split(".")
    if tokens[0] == "events" and len(tokens) > 1:
        return "events", tokens[1]
    if tokens[0] in ("work", "due") and len(tokens) in (3, 4, 5):
        return tokens[1], tokens[2]
    return "unknown", "unknown"


def streams(*, work_max_bytes: int = DEFAULT_WORK_MAX_BYTES) -> tuple[StreamSpec, ...]:
    """The streams, in the order in which they can be made."""
    return (
        StreamSpec(
            SCHED,
            ("later.>", "due.>"),
            "What is due later, one subject each, and what has fired",
            schedules=True,
        ),
        _queue(WORK, CHANNELS, "Jobs of the channels", work_max_bytes // 2),
        # Routers read what fires in SCHED itself: a second store of each single one
        # would make a thousand that fall due together twice as late.
        _queue(INTAKE_QUEUE, (INTAKE,), "What was accepted", work_max_bytes // 2, ()),
        # Without a limit: what waits for Postgres must not hold up what does not.
        _queue(DIGEST_QUEUE, (DIGEST,), "What becomes part of a digest", -1),
        StreamSpec(
            EVENTS,
            ("events.>",),
            "What happened, for tracking",
            max_age=timedelta(days=7),
        ),
        StreamSpec(
            DLQ,
            ("dlq.>",),
            "Dead letters, until redriven",
            max_age=timedelta(days=14),
            duplicate_window=timedelta(hours=1),
        ),
        StreamSpec(
            ADV,
            tuple(f"{_MAX_DELIVERIES}.{name}.>" for name in (SCHED, *QUEUES, EVENTS)),
            "Advisories about messages that were delivered too often",
            max_age=timedelta(days=7),
        ),
    )


def durables() -> tuple[DurableSpec, ...]:
    """Every durable consumer."""
    return (
        *(
            DurableSpec(
                durable_name(stage, part),
                stream_of(stage),
                work_subject(stage, part),
                ack_wait=INTAKE_ACK_WAIT if stage == INTAKE else ACK_WAIT,
            )
            for stage in STAGES
            for flow in _flows_of(stage)
            for part in parts_of(stage, flow)
        ),
        *(
            DurableSpec(
                durable_name(INTAKE, part),
                SCHED,
                due_subject(INTAKE, part),
                # What fired before went by INTAKE.
                starts="new",
                ack_wait=INTAKE_ACK_WAIT,
            )
            for flow in FLOWS
            for part in parts_of(INTAKE, flow)
        ),
        DurableSpec(TRACKING_DURABLE, EVENTS, "events.>"),
        DurableSpec(ADVISORY_DURABLE, ADV, f"{_MAX_DELIVERIES}.>", max_deliver=-1),
    )


def durable(stream: str, name: str) -> DurableSpec | None:
    """A durable of the table; None for any other."""
    return next((d for d in durables() if (d.stream, d.name) == (stream, name)), None)


def _queue(
    name: str,
    stages: tuple[str, ...],
    description: str,
    max_bytes: int,
    fed_stages: tuple[str, ...] | None = None,
) -> StreamSpec:
    return StreamSpec(
        name,
        tuple(f"work.{stage}.>" for stage in stages),
        f"{description}; refuses when full",
        retention="workqueue",
        discard="new",
        max_bytes=max_bytes,
        fed_stages=stages if fed_stages is None else fed_stages,
    )


def _stage(stage: str) -> str:
    if stage not in STAGES:
        raise ValueError(f"no stage {stage!r}: one of {', '.join(STAGES)}")
    return stage


def _flows_of(stage: str) -> tuple[str, ...]:
    """What is folded into digests has been shared out at intake."""
    return LANES if stage == DIGEST else FLOWS


def _flow(flow: str) -> str:
    if flow not in FLOWS:
        raise ValueError(f"no lane {flow!r}: one of {', '.join(FLOWS)}")
    return flow


def _part(stage: str, part: str) -> str:
    if part not in parts_of(stage, flow_of(part)):
        raise ValueError(f"no part {part!r} of {stage}")
    return part
