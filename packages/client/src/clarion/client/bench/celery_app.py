"""The job as users of Celery write it: a task a channel, each doing everything itself.

Redis is the broker, Postgres has the people and the results. Not part of the mesh; the
worker imports it (``celery -A clarion.client.bench.celery_app worker``).
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

import psycopg
from celery import Celery
from jinja2 import Environment
from redis import Redis

BROKER = "PEER_BROKER_URL"
POSTGRES = "PEER_POSTGRES_URL"
SINK = "PEER_SINK_URL"
"""Where Apprise posts to; nothing is posted without it."""
QUEUE = "peers"
TITLE = "Order {{ data.order_id }} confirmed"
BODY = (
    "{% for item in data['items'] %}{{ item.count }} x {{ item.name }}"
    "{% if not loop.last %}, {% endif %}{% endfor %}: {{ data.amount }} EUR"
)
_DAILY = 50

app = Celery("peers", broker=os.environ.get(BROKER, "redis://"))
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    # What users set who must not lose a message when a worker dies.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=8,
    broker_connection_retry_on_startup=True,
)


@cache
def _database() -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ[POSTGRES], autocommit=True)


@cache
def _redis() -> Redis:
    return Redis.from_url(os.environ[BROKER])


@cache
def _templates() -> tuple[Any, Any]:
    environment = Environment(autoescape=False)
    return environment.from_string(TITLE), environment.from_string(BODY)


@cache
def _apprise() -> Any:
    from apprise import Apprise

    found = Apprise()
    found.add(os.environ[SINK])
    return found


@app.task(bind=True, max_retries=5, default_retry_delay=2)  # type: ignore[untyped-decorator]
def notify(
    self: Any,
    notification_id: str,
    user_id: str,
    type: str,
    channel: str,
    data: dict[str, Any],
    accepted: float,
) -> None:
    """One channel of one notification."""
    database = _database()
    row = database.execute(
        "SELECT email, phone_number, token, wishes FROM peers.person"
        " WHERE user_id = %s",
        (user_id,),
    ).fetchone()
    status = "sent"
    if row is None or row[3].get(channel) is False:
        status = "skipped"
    elif not _is_allowed(user_id, type):
        status = "rate_limited"
    else:
        title, body = (template.render(data=data) for template in _templates())
        if os.environ.get(SINK) and not _apprise().notify(title=title, body=body):
            raise self.retry()
    database.execute(
        "INSERT INTO peers.result"
        " (notification_id, channel, user_id, status, accepted, ended)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (notification_id, channel, user_id, status, accepted, time.time()),
    )


def _is_allowed(user_id: str, type: str) -> bool:
    key = f"limit:{user_id}:{type}:{time.strftime('%Y%m%d')}"
    with _redis().pipeline() as pipeline:
        pipeline.incr(key)
        pipeline.expire(key, 86_400)
        count, _ = pipeline.execute()
    return int(count) <= _DAILY
