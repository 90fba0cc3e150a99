"""AnalyticsService: from the roll-ups."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.tracking.v1 import analytics_service_pb2 as pb2
from clarion.api.tracking.v1 import analytics_service_pb2_grpc as pb2_grpc
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.tracking.analytics import PERIODS, Question
from clarion.tracking.repository import Repository

# Buckets begin before the event they count; the one under way is part of the answer.
_UNDER_WAY = timedelta(seconds=1)


class AnalyticsServicer(pb2_grpc.AnalyticsServiceServicer):
    """Counts events of a period."""

    def __init__(self, repository: Repository, clock: Clock) -> None:
        self._repository = repository
        self._clock = clock

    async def GetNotificationAnalytics(
        self, request: pb2.GetNotificationAnalyticsRequest, context: Any
    ) -> pb2.GetNotificationAnalyticsResponse:
        question = Question.parse(request.period, request.metrics, request.breakdown)
        now = self._clock.now()
        start = PERIODS[question.period].start(now)
        counted = await self._repository.counters(
            current_caller().tenant, question, start, now + _UNDER_WAY
        )
        response = pb2.GetNotificationAnalyticsResponse(
            period=question.period,
            start_time=_timestamp(start),
            end_time=_timestamp(now),
            totals=dict.fromkeys(question.metrics, 0.0),
        )
        for metric, key, number in counted:
            response.totals[metric] += number
            # "accepted" belongs to no channel: there it is in the totals alone.
            if question.breakdown != "none" and key:
                response.breakdown[key].values[metric] = number
        for values in response.breakdown.values():
            for metric in question.metrics:
                values.values.setdefault(metric, 0.0)
        return response


def _timestamp(time: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(time)
    return made
