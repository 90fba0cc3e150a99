"""How flows share the time of a process: what waits must not slow what is due now."""

from __future__ import annotations

from clarion.runtime.pacing.governor import (
    Governor,
    current_flow,
    in_flow,
    waiting_since,
)
from clarion.runtime.pacing.tenant_shares import TenantShares

__all__ = ["Governor", "TenantShares", "current_flow", "in_flow", "waiting_since"]
