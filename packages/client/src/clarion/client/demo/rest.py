"""The REST calls of the design, with their bodies as they are written there."""

from __future__ import annotations

from typing import Any

import aiohttp

SINGLE = {
    "user_id": "user123",
    "type": "order_confirmation",
    "channels": ["push", "email"],
    "title": "Order Confirmed",
    "message": "Your order #12345 has been confirmed",
    "data": {"order_id": "12345", "amount": 99.99},
    "scheduled_at": "2024-01-15T10:30:00Z",
    "priority": "high",
}
BULK = {
    "notifications": [
        {
            "user_id": "user123",
            "type": "promotional",
            "channels": ["email"],
            "title": "Special Offer",
            "message": "Get 20% off your next purchase",
        },
        {
            "user_id": "user456",
            "type": "promotional",
            "channels": ["push", "in_app"],
            "title": "Special Offer",
            "message": "Get 20% off your next purchase",
        },
    ]
}
PREFERENCES = {
    "push_enabled": True,
    "email_enabled": True,
    "sms_enabled": False,
    "in_app_enabled": True,
    "categories": {"promotional": False, "order_updates": True, "security": True},
    "quiet_hours": {"start": "22:00", "end": "08:00", "timezone": "UTC"},
    "frequency_limits": {"promotional": {"daily": 3, "weekly": 10}},
}
ANALYTICS = {
    "period": "last_7_days",
    "metrics": "sent,delivered,opened,clicked",
    "breakdown": "channel",
}


class RestError(Exception):
    """The edge answered something else than it should."""


class Rest:
    """Calls the edge."""

    def __init__(self, url: str, key: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._http = http

    async def call(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The decoded answer; RestError unless it is a 200."""
        async with self._http.request(
            verb,
            self._url + path,
            json=body,
            params=params,
            headers=self._headers | (headers or {}),
        ) as response:
            if response.status != 200:
                text = await response.text()
                raise RestError(f"{verb} {path}: {response.status} {text[:300]}")
            return await response.json()

    async def in_app_sent(self) -> int:
        """How many messages the mesh says it put into inboxes in the last hour."""
        counted = await self.call(
            "GET",
            "/api/v1/analytics/notifications",
            params={"period": "last_hour", "metrics": "sent", "breakdown": "channel"},
        )
        values = counted["breakdown"].get("in_app", {"values": {}})["values"]
        return int(values.get("sent", 0))

    async def check_design(self) -> list[str]:
        """Makes the design's calls; the ids of what they sent.

        Preferences come last, so that they do not stop what is sent before.
        """
        single = await self.call("POST", "/api/v1/notifications", SINGLE)
        bulk = await self.call("POST", "/api/v1/notifications/bulk", BULK)
        if bulk["accepted"] != 2 or bulk["rejected"] != 0:
            raise RestError(f"bulk: {bulk}")
        path = "/api/v1/users/user123/preferences"
        await self.call("PUT", path, PREFERENCES)
        stored = await self.call("GET", path)
        for name, value in PREFERENCES.items():
            if stored[name] != value:
                raise RestError(f"preferences: {name} is {stored[name]}, not {value}")
        analytics = await self.call(
            "GET", "/api/v1/analytics/notifications", params=ANALYTICS
        )
        if not {"period", "totals", "breakdown"} <= analytics.keys():
            raise RestError(f"analytics: {analytics}")
        health = await self.call("GET", "/api/v1/health")
        if health["status"] == "unhealthy":
            raise RestError(f"health: {health}")
        sent = [single, *(result["notification"] for result in bulk["results"])]
        ids = [one["notification_id"] for one in sent]
        record = await self.call("GET", f"/api/v1/notifications/{ids[0]}")
        if record["notification"]["user_id"] != SINGLE["user_id"]:
            raise RestError(f"get: {record}")
        return ids
