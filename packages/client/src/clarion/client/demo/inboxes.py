"""What the inboxes hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

from clarion.client.client import Client

_AT_ONCE = 16
_PAGE = 500


async def read_inboxes(
    client: Client, user_ids: Collection[str]
) -> Counter[tuple[str, str]]:
    """Items by (notification_id, "in_app")."""
    found: Counter[tuple[str, str]] = Counter()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def read(user_id: str) -> None:
        token = ""
        async with gate:
            while True:
                page = await client.inbox(user_id, page_size=_PAGE, page_token=token)
                for item in page.items:
                    found[item.notification_id, "in_app"] += 1
                token = page.next_page_token
                if not token:
                    return

    await asyncio.gather(*(read(user_id) for user_id in user_ids))
    return found
