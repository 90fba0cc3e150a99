"""HealthService: the mesh as a whole."""

from __future__ import annotations

from typing import Any

from clarion.api.tracking.v1 import health_service_pb2 as pb2
from clarion.api.tracking.v1 import health_service_pb2_grpc as pb2_grpc
from clarion.tracking.health import worst
from clarion.tracking.health_checks import HealthChecks


class HealthServicer(pb2_grpc.HealthServiceServicer):
    """Answers from the checks; needs no caller."""

    def __init__(self, checks: HealthChecks) -> None:
        self._checks = checks

    async def GetHealth(
        self, request: pb2.GetHealthRequest, context: Any
    ) -> pb2.GetHealthResponse:
        findings = await self._checks.findings()
        return pb2.GetHealthResponse(
            status=worst(finding.status for finding in findings.values()),
            checks={
                name: pb2.HealthCheck(
                    status=finding.status,
                    latency_seconds=finding.latency.total_seconds(),
                    depth=finding.depth,
                    detail=finding.detail,
                )
                for name, finding in findings.items()
            },
        )
