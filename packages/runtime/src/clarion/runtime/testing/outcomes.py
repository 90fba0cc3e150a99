"""What a provider makes of jobs."""

from __future__ import annotations

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.provider import Provider


async def outcomes_of(provider: Provider, *jobs: DeliveryJob) -> list[Outcome]:
    """Sends jobs; their outcomes in the order of the jobs.

    AssertionError when one is settled twice, or not before ``send`` returns.
    """
    outcomes: dict[str, Outcome] = {}

    def settle(job: DeliveryJob, outcome: Outcome) -> None:
        assert job.delivery_id not in outcomes, "settled more than once"
        outcomes[job.delivery_id] = outcome

    await provider.send(jobs, settle)
    assert len(outcomes) == len(jobs), "not all are settled"
    return [outcomes[job.delivery_id] for job in jobs]
