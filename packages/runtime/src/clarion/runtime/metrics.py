"""The mesh's own instruments: names, units, meanings and attributes, declared once.

A service's ``metrics.py`` makes the ones it records with ``counter`` and ``histogram``
and wraps them in ``record_*`` functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from clarion.runtime.instruments import Counter, Histogram

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
"""Buckets, in seconds, of what waits for queues and other people's servers."""
_CALLS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Buckets, in seconds, of one call of a store or an engine."""


class Attribute(StrEnum):
    """The attributes of instruments and spans."""

    CHANNEL = "clarion.channel"
    LANE = "clarion.lane"
    STAGE = "clarion.stage"
    """A durable: intake or a channel (with a lane), or the durable's own name."""
    PROVIDER = "clarion.provider"
    OUTCOME = "clarion.outcome"
    REASON = "clarion.reason"
    """A stable word, never a text of somebody else's."""
    SOURCE = "clarion.source"
    """Where an answer came from."""
    PART = "clarion.part"
    """The part of a result that is being stored."""
    # Of spans alone: as attributes of an instrument they would never end.
    TENANT_ID = "clarion.tenant_id"
    NOTIFICATION_ID = "clarion.notification_id"
    DELIVERY_ID = "clarion.delivery_id"
    ATTEMPT = "clarion.attempt"
    # OpenTelemetry's own names.
    RPC_SERVICE = "rpc.service"
    RPC_METHOD = "rpc.method"
    RPC_STATUS = "rpc.grpc.status_code"


@dataclass(frozen=True, slots=True)
class Instrument:
    """What an instrument measures."""

    name: str
    unit: str
    description: str
    attributes: frozenset[Attribute]
    buckets: tuple[float, ...] | None = None
    """Of a histogram; the SDK's defaults are meant for milliseconds."""


def _of(name: str, unit: str, description: str, *attributes: Attribute) -> Instrument:
    return Instrument(name, unit, description, frozenset(attributes))


def _seconds(
    buckets: tuple[float, ...], name: str, description: str, *attributes: Attribute
) -> Instrument:
    return Instrument(name, "s", description, frozenset(attributes), buckets)


_A = Attribute


class Name(Enum):
    """Every instrument of the mesh, in the order in which a notification meets them."""

    # Calls: the server of every service. The name is OpenTelemetry's, and so the unit.
    RPC_DURATION = _of(
        "rpc.server.duration",
        "ms",
        "Time from arrival to the end of the answer",
        *(_A.RPC_SERVICE, _A.RPC_METHOD, _A.RPC_STATUS),
    )

    # Notifications: the router.
    ACCEPTED = _of(
        "clarion.notifications.accepted",
        "{notification}",
        "Notifications accepted durably",
        _A.LANE,
    )
    REFUSED = _of(
        "clarion.notifications.refused",
        "{notification}",
        "Notifications refused: nothing was stored",
        _A.REASON,
    )
    PLANNED = _of(
        "clarion.deliveries.planned",
        "{delivery}",
        "Deliveries handed over to their channel",
        *(_A.CHANNEL, _A.LANE),
    )
    SKIPPED = _of(
        "clarion.deliveries.skipped",
        "{decision}",
        "Channels decided against",
        *(_A.CHANNEL, _A.REASON),
    )

    # Queues: every consumer of every service.
    QUEUE_AGE = _seconds(
        _WAITS,
        "clarion.queue.age",
        "How long the oldest message of a call had waited when the call began",
        *(_A.STAGE, _A.LANE),
    )
    QUEUE_HELD = _of(
        "clarion.queue.held",
        "{message}",
        "Messages held as a dependency was down, once for each try",
        *(_A.STAGE, _A.LANE, _A.REASON),
    )
    QUEUE_FAILED = _of(
        "clarion.queue.failed",
        "{message}",
        "Messages whose handler failed, once for each try",
        *(_A.STAGE, _A.LANE, _A.REASON),
    )
    DEAD_LETTERED = _of(
        "clarion.queue.dead_lettered",
        "{letter}",
        "Messages and deliveries given up: they are in the DLQ",
        *(_A.STAGE, _A.LANE, _A.REASON),
    )

    # Deliveries: the four channels.
    DELIVERED = _of(
        "clarion.deliveries.delivered",
        "{delivery}",
        "Deliveries that a provider accepted",
        *(_A.CHANNEL, _A.PROVIDER),
    )
    FAILED = _of(
        "clarion.deliveries.failed",
        "{delivery}",
        "Deliveries that failed for good, exhausted attempts included",
        *(_A.CHANNEL, _A.PROVIDER, _A.REASON),
    )
    RETRIED = _of(
        "clarion.deliveries.retried",
        "{attempt}",
        "Attempts that the provider did not take, for a reason that may pass",
        *(_A.CHANNEL, _A.PROVIDER, _A.REASON),
    )
    UNKNOWN = _of(
        "clarion.deliveries.unknown",
        "{attempt}",
        "Attempts without an answer: the provider may have taken them",
        *(_A.CHANNEL, _A.PROVIDER, _A.REASON),
    )
    UNSENT = _of(
        "clarion.deliveries.unsent",
        "{delivery}",
        "Deliveries that no provider was called for: folded, leased, superseded, "
        "cancelled, suppressed, expired",
        *(_A.CHANNEL, _A.REASON),
    )
    DUPLICATED = _of(
        "clarion.deliveries.possible_duplicates",
        "{delivery}",
        "Sent although an earlier attempt may have been taken: crash (its worker "
        "died) or unknown (no answer)",
        *(_A.CHANNEL, _A.REASON),
    )
    RESULTS_HELD = _of(
        "clarion.deliveries.results_held",
        "{try}",
        "Tries to store results that met a server that was down",
        *(_A.CHANNEL, _A.PART),
    )
    FOLLOW_UPS = _of(
        "clarion.deliveries.follow_ups",
        "{delivery}",
        "Failures that could not be told at once and wait in a schedule",
        _A.CHANNEL,
    )
    PROVIDER_LATENCY = _seconds(
        _WAITS,
        "clarion.provider.latency",
        "From the request to the provider's answer; sampled under load",
        *(_A.CHANNEL, _A.PROVIDER, _A.OUTCOME),
    )
    ACCEPT_TO_PROVIDER = _seconds(
        _WAITS,
        "clarion.deliveries.accept_to_provider",
        "From acceptance to the provider's answer, first attempts; sampled under load",
        *(_A.CHANNEL, _A.LANE),
    )

    # SMS beyond its deliveries.
    SMS_SEGMENTS = _of(
        "clarion.sms.segments",
        "{segment}",
        "Short messages that the provider took: what is billed",
    )
    SMS_RECEIPTS = _of(
        "clarion.sms.receipts",
        "{receipt}",
        "Status callbacks, repeats included",
        *(_A.OUTCOME, _A.REASON),
    )
    SMS_INBOUND = _of(
        "clarion.sms.inbound",
        "{message}",
        "Texts from people by what they ask for: stop, start, other",
        _A.REASON,
    )
    SMS_WEBHOOKS_REFUSED = _of(
        "clarion.sms.webhooks.refused",
        "{request}",
        "Webhook requests whose signature was wrong",
    )

    # Rate limits.
    PERMITS = _of(
        "clarion.ratelimit.permits",
        "{permit}",
        "Permits judged: allowed, <window>_exceeded, unchecked_allowed or _refused",
        _A.OUTCOME,
    )
    PERMITS_RELEASED = _of(
        "clarion.ratelimit.released", "{permit}", "Permits given back"
    )
    ACQUIRE_DURATION = _seconds(
        _CALLS,
        "clarion.ratelimit.acquire.duration",
        "Time that the store took to judge one batch",
    )

    # Templates.
    RENDERED = _of(
        "clarion.templating.rendered",
        "{message}",
        "Messages rendered: ok, not_found, invalid",
        _A.OUTCOME,
    )
    RENDER_DURATION = _seconds(
        _CALLS, "clarion.templating.render.duration", "Time that one batch took"
    )
    RENDERED_STALE = _of(
        "clarion.templating.stale",
        "{batch}",
        "Batches rendered from older knowledge as the database did not answer",
    )

    # Recipients.
    PROFILES = _of(
        "clarion.recipients.profiles",
        "{profile}",
        "Profiles asked for, by where they came from: cache, postgres",
        _A.SOURCE,
    )
    PEOPLE_STORED = _of("clarion.recipients.stored", "{person}", "People stored")
    CACHE_FAILURES = _of(
        "clarion.recipients.cache.failures",
        "{failure}",
        "Times that Valkey did not answer in time",
    )
    SUPPRESSIONS_MIRRORED = _of(
        "clarion.recipients.suppressions.mirrored",
        "{suppression}",
        "Suppressions written to Valkey by a complete refill",
    )
    CHANGES_UNANNOUNCED = _of(
        "clarion.recipients.changes.unannounced",
        "{person}",
        "Changes that routers were not told about",
    )

    # Tracking.
    EVENTS_STORED = _of("clarion.tracking.events", "{event}", "Events stored")
    EVENTS_DUPLICATE = _of(
        "clarion.tracking.duplicates",
        "{event}",
        "Events that had been stored before",
    )
    EVENTS_REJECTED = _of(
        "clarion.tracking.rejected",
        "{event}",
        "Malformed events that were put aside",
    )
    EVENTS_BATCH_DURATION = _seconds(
        _WAITS,
        "clarion.tracking.batch.duration",
        "Time to store a batch, waiting for its turn included",
    )


def counter(name: Name) -> Counter:
    """The counter of that name."""
    declared = name.value
    return Counter(declared.name, declared.unit, declared.description)


def histogram(name: Name) -> Histogram:
    """The histogram of that name."""
    declared = name.value
    return Histogram(
        declared.name, declared.unit, declared.description, declared.buckets
    )
