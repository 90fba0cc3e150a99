"""What is answered while nothing can be counted. Pure."""

from __future__ import annotations

from clarion.ratelimit.counters import WHOLE, soonest
from clarion.ratelimit.policy import Asked, Policies
from clarion.ratelimit.ports import Permit, judged
from clarion.ratelimit.window import Verdict


def unchecked(policies: Policies, permit: Permit, asked: Asked | None) -> Verdict:
    """The verdict by the on_failure of the policies.

    A limit of none at all needs no counting.
    """
    verdict = judged(permit, {}, 0)
    if not verdict.allowed:
        return verdict
    closed = policies.closed_channels(permit.category, asked)
    if closed and closed[0].channel == WHOLE:
        return Verdict(False, 0, 0, unchecked=True)
    known = {refusal.channel for refusal in verdict.refusals}
    refusals = list(verdict.refusals)
    refusals += [refusal for refusal in closed if refusal.channel not in known]
    if refusals and asked is not None and len(refusals) >= len(asked.channels):
        told = soonest(refusals)
        return Verdict(False, 0, 0, *told, unchecked=True, refusals=tuple(refusals))
    return Verdict(True, 0, 0, unchecked=True, refusals=tuple(refusals))
