"""The Python SDK: one asynchronous client for the whole mesh."""

from __future__ import annotations

from clarion.client.calls.connection import BATCH
from clarion.client.calls.consents import ConsentCalls
from clarion.client.calls.inbox import InboxCalls
from clarion.client.calls.notification_types import NotificationTypeCalls
from clarion.client.calls.recipients import RecipientCalls
from clarion.client.calls.schedules import ScheduleCalls
from clarion.client.calls.sending import DryRun, SendingCalls
from clarion.client.calls.templates import TemplateCalls
from clarion.client.calls.tracking import Explanation, TrackingCalls

__all__ = ["BATCH", "Client", "DryRun", "Explanation"]


class Client(
    SendingCalls,
    TrackingCalls,
    RecipientCalls,
    ConsentCalls,
    NotificationTypeCalls,
    ScheduleCalls,
    TemplateCalls,
    InboxCalls,
):
    """Calls a mesh at ``target`` (host:port of its edge) with an API key.

    Every notification is sent with an idempotency key, its own or a new one, so calls
    are repeated for ``patience`` while the mesh is unavailable or full, without ever
    sending twice. Calls raise ApiError.
    """
