"""Durable hand-offs on NATS JetStream: publish, schedule, consume, dead-letter.

nats-py is used only here (docs/streams.md says what of it and why).
"""

from __future__ import annotations

from clarion.runtime.jetstream.advisories import AdvisoryWorker
from clarion.runtime.jetstream.api import StreamApi
from clarion.runtime.jetstream.connection import Streams
from clarion.runtime.jetstream.consumer import Consumer
from clarion.runtime.jetstream.dead_letters import (
    DeadLetterFilter,
    DeadLetterPage,
    DeadLetters,
    StoredDeadLetter,
)
from clarion.runtime.jetstream.declaration import declare_streams
from clarion.runtime.jetstream.errors import (
    PoisonError,
    ScheduleGoneError,
    StreamApiError,
    StreamFullError,
)
from clarion.runtime.jetstream.event_publisher import event_publisher
from clarion.runtime.jetstream.group_publisher import GroupPublisher
from clarion.runtime.jetstream.in_memory import (
    InMemoryPublisher,
    InMemoryScheduler,
    Published,
    Scheduled,
)
from clarion.runtime.jetstream.inbound import Inbound
from clarion.runtime.jetstream.ports import ConsumerObserver, Publisher, Scheduler
from clarion.runtime.jetstream.publisher import JetStreamPublisher, PublishAck
from clarion.runtime.jetstream.rescheduler import (
    InMemoryRescheduler,
    JetStreamRescheduler,
    Rescheduler,
    Waiting,
)
from clarion.runtime.jetstream.scheduler import JetStreamScheduler

__all__ = [
    "AdvisoryWorker",
    "Consumer",
    "ConsumerObserver",
    "DeadLetterFilter",
    "DeadLetterPage",
    "DeadLetters",
    "GroupPublisher",
    "InMemoryPublisher",
    "InMemoryRescheduler",
    "InMemoryScheduler",
    "Inbound",
    "JetStreamPublisher",
    "JetStreamRescheduler",
    "JetStreamScheduler",
    "PoisonError",
    "PublishAck",
    "Published",
    "Publisher",
    "Rescheduler",
    "ScheduleGoneError",
    "Scheduled",
    "Scheduler",
    "StoredDeadLetter",
    "StreamApi",
    "StreamApiError",
    "StreamFullError",
    "Streams",
    "Waiting",
    "declare_streams",
    "event_publisher",
]
