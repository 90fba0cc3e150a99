"""Dead letters of whole messages: what was counted for their jobs is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.runtime.delivery.follow_ups import HEADER
from clarion.runtime.delivery.unsent import Unsent
from clarion.runtime.jetstream.inbound import Inbound
from clarion.runtime.keys import claim_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis


class GivenUp:
    """Counts the jobs of a dead letter as unsent that nobody ever claimed.

    What was claimed may have been sent. Of a message that cannot be decoded nobody
    knows whose permits it has: they end with their windows.
    """

    def __init__(self, redis: Redis, unsent: Unsent) -> None:
        self._redis: Any = redis
        self._unsent = unsent

    async def __call__(self, message: Inbound) -> None:
        """Raises TransientError without a server; repeating it is safe."""
        if HEADER in message.headers:
            return
        try:
            jobs = DeliveryChunk.FromString(message.data).jobs
        except DecodeError:
            return
        counted = [
            job for job in jobs if job.delivery_id and job.tenant_id and job.deliveries
        ]
        if not counted:
            return
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job in counted:
                    pipeline.exists(claim_key(job.tenant_id, job.delivery_id))
                claimed = await pipeline.execute()
        unsent = [
            job
            for job, is_claimed in zip(counted, claimed, strict=True)
            if not is_claimed
        ]
        if unsent:
            await self._unsent.ended(unsent)
