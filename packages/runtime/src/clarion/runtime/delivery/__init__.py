"""The delivery pipeline that the channel services share; ``add_channel`` wires it.

A service brings its providers and, for failures that mean "never again to this
address", an ``on_failed``. Everything else is here: claims, retries, events, dead
letters, lanes, ChannelService.
"""

from __future__ import annotations

from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.chains import Chains
from clarion.runtime.delivery.channel import add_channel
from clarion.runtime.delivery.lane_queue import LaneQueue
from clarion.runtime.delivery.lane_workers import LaneWorkers
from clarion.runtime.delivery.lanes import LaneLimits
from clarion.runtime.delivery.outcome import Outcome, OutcomeKind
from clarion.runtime.delivery.provider import Choose, OnFailed, Provider, Settle

__all__ = [
    "Chains",
    "Choose",
    "LaneLimits",
    "LaneQueue",
    "LaneWorkers",
    "OnFailed",
    "Outcome",
    "OutcomeKind",
    "Provider",
    "RetryPolicy",
    "Settle",
    "add_channel",
]
