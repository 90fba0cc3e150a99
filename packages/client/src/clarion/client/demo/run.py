"""Sends the plan through a running mesh and holds what arrived against it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import aiohttp

from clarion.api.recipients.v1.recipient_pb2 import Recipient
from clarion.api.templating.v1.template_service_pb2 import Template
from clarion.client.client import Client
from clarion.client.demo.arrivals import Arrivals
from clarion.client.demo.inboxes import read_inboxes
from clarion.client.demo.plan import DemoPlan, Sending, expected_arrivals
from clarion.client.demo.rest import Rest, RestError
from clarion.client.demo.result import Result, by_channel, compare, percentiles
from clarion.client.embedded.collector import Collector
from clarion.client.errors import ApiError

_BATCH = 50
_WINDOW = 400
"""Notifications under way at most: shows the mesh's latency, not a queue's."""
_PATIENCE = 60.0
"""Seconds without anything arriving after which the rest counts as lost."""


class Demonstration:
    """One run. ``progress`` is called often, with this."""

    def __init__(
        self,
        plan: DemoPlan,
        client: Client,
        rest: Rest,
        arrivals: Arrivals,
        collector: Collector,
        progress: Callable[[Demonstration], None],
    ) -> None:
        self.plan = plan
        self.accepted: list[tuple[str, Sending]] = []
        self.arrivals = arrivals
        self.in_app = 0
        self.stage = "loading recipients and templates"
        self.sent_ms: dict[str, float] = {}
        self._client = client
        self._rest = rest
        self._collector = collector
        self._progress = progress

    async def run(self) -> Result:
        """Loads, sends, waits and judges."""
        result = Result()
        await self.load()
        await self.arrivals.skip()
        self._enter("sending")
        watching = asyncio.create_task(self._watch_inboxes())
        try:
            unwanted = await self._send(self.plan.unwanted())
            floods = await self._send(self.plan.floods())
            await self.send_stream()
        finally:
            watching.cancel()
        self._enter("waiting for the last ones")
        flooded = {notification_id for notification_id, _ in floods}
        expected = expected_arrivals(
            [one for one in self.accepted if one[0] not in flooded]
        )
        await self.until_arrived(expected, flooded)
        self._enter("reading the inboxes")
        known = {notification_id for notification_id, _ in self.accepted}
        # What an earlier run left in the queues is not of this one.
        arrived = Counter(
            {key: n for key, n in self.arrivals.counts.items() if key[0] in known}
        ) + await self._inboxes(expected)
        self._judge(result, expected, arrived, unwanted, floods)
        self._enter("calling the REST API of the design")
        try:
            await self._rest.check_design()
            result.rest = "ok"
        except RestError as error:
            result.rest = "wrong"
            result.problems.append(str(error))
        self._enter("following one trace")
        result.traced_services = await self._trace()
        self._enter("done")
        return result

    def _enter(self, stage: str) -> None:
        self.stage = stage
        self._progress(self)

    async def load(self) -> None:
        """Stores the template, the persons and what they want."""
        template = Template(template_id=self.plan.template_id, default_locale="en")
        template.variants.add(
            channel="email",
            title="{{ title }} ({{ data.order_id }})",
            body="{{ message }}\n{{ data['items'] }} items, {{ data.amount }} EUR",
            html="<p>{{ message }}</p><p><b>{{ data['items'] }}</b> items, "
            "{{ data.amount }} EUR</p>",
        )
        await self._client.put_template(template)
        named = [
            Recipient(
                user_id=user_id,
                email=f"{user_id}@people.example",
                phone_number="+14155550123",
            )
            for user_id in ("user123", "user456")
        ]
        for person in named:
            person.devices.add(platform="android", token=f"fcm-{person.user_id}")
        await self._client.put_recipients([*self.plan.persons, *named])
        await asyncio.gather(
            *(
                self._client.update_preferences(wish.user_id, wish)
                for wish in self.plan.preferences
            )
        )

    async def _send(self, sendings: Sequence[Sending]) -> list[tuple[str, Sending]]:
        now = time.time() * 1000
        answers = await self._client.send_all(one.notification for one in sendings)
        stored: list[tuple[str, Sending]] = []
        for sending, answer in zip(sendings, answers, strict=True):
            if isinstance(answer, ApiError):
                raise answer
            stored.append((answer.notification_id, sending))
            self.sent_ms[answer.notification_id] = now
        self.accepted += stored
        self._progress(self)
        return stored

    async def send_stream(self) -> None:
        """Sends the mixed notifications, never too many under way."""
        batch: list[Sending] = []
        for sending in self.plan.sendings():
            batch.append(sending)
            if len(batch) == _BATCH:
                await self._send(batch)
                batch = []
                await self._until_window()
        if batch:
            await self._send(batch)

    async def _until_window(self) -> None:
        """Waits until few enough are under way; gives up like the end does."""
        last, since = -1, time.monotonic()
        while True:
            await self.arrivals.follow()
            here = len(self.arrivals.arrived_ms)
            if len(self.accepted) - here < _WINDOW:
                return
            if here != last:
                last, since = here, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                return
            self._progress(self)
            await asyncio.sleep(0.02)

    async def until_arrived(
        self, expected: Counter[tuple[str, str]], flooded: set[str]
    ) -> None:
        """Waits for the last one; gives up when nothing comes any more."""
        wanted = {key for key in expected if key[1] != "in_app"}
        last, since = -1, time.monotonic()
        while True:
            await self.arrivals.follow()
            here = len(self.arrivals.arrived_ms)
            self._progress(self)
            promotions = sum(key[0] in flooded for key in self.arrivals.arrived_ms)
            wanted -= self.arrivals.arrived_ms.keys()
            allowed = self.plan.allowed_of_floods if flooded else 0
            if not wanted and promotions >= allowed:
                # A double would come within this time, if one comes.
                await asyncio.sleep(1.0)
                await self.arrivals.follow()
                return
            if here != last:
                last, since = here, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                return
            await asyncio.sleep(0.1)

    async def _watch_inboxes(self) -> None:
        """Shows how many are in the inboxes by now; what counts is read at the end."""
        with suppress(RestError):  # the REST calls have their own verdict
            before = await self._rest.in_app_sent()
            while True:
                await asyncio.sleep(1.0)
                self.in_app = await self._rest.in_app_sent() - before

    async def _inboxes(
        self, expected: Counter[tuple[str, str]]
    ) -> Counter[tuple[str, str]]:
        """What the inboxes hold of this run; waits for what is still missing."""
        wanted = sum(
            count for (_, channel), count in expected.items() if channel == "in_app"
        )
        readers = {
            sending.notification.user_id
            for _, sending in self.accepted
            if "in_app" in sending.expected
        }
        since = time.monotonic()
        while True:
            found = await read_inboxes(self._client, readers)
            self.in_app = sum(found.values())
            self._progress(self)
            if self.in_app >= wanted or time.monotonic() - since > _PATIENCE:
                return found
            await asyncio.sleep(0.5)

    def _judge(
        self,
        result: Result,
        expected: Counter[tuple[str, str]],
        arrived: Counter[tuple[str, str]],
        unwanted: Sequence[tuple[str, Sending]],
        floods: Sequence[tuple[str, Sending]],
    ) -> None:
        flooded = {notification_id for notification_id, _ in floods}
        of_floods = Counter({k: n for k, n in arrived.items() if k[0] in flooded})
        of_stream = Counter({k: n for k, n in arrived.items() if k[0] not in flooded})
        result.accepted = len(self.accepted)
        result.delivered = by_channel(arrived)
        result.lost, result.duplicated = compare(expected, of_stream)
        result.duplicated += sum(of_floods.values()) - len(of_floods)
        result.rate_limited = len(floods) - len(of_floods)
        result.skipped = sum(
            1
            for notification_id, _ in unwanted
            if (notification_id, "push") not in arrived
        )
        result.planned = sum(expected.values()) + self.plan.allowed_of_floods
        result.accept_to_provider_ms = percentiles(
            self.sent_ms, self.arrivals.arrived_ms
        )
        if len(of_floods) != self.plan.allowed_of_floods:
            result.problems.append(
                f"{len(of_floods)} promotions passed a limit that allows "
                f"{self.plan.allowed_of_floods}"
            )
        strange = [key for key in of_stream if key not in expected]
        if strange:
            result.problems.append(
                f"{len(strange)} messages arrived that nobody wanted"
            )

    async def _trace(self) -> list[str]:
        """Sends one traced notification over REST; the services in its trace."""
        trace_id = secrets.token_hex(16)
        person = self.plan.persons[-1]
        await self._rest.call(
            "POST",
            "/api/v1/notifications",
            {
                "user_id": person.user_id,
                "type": "order_confirmation",
                "title": "Traced",
                "channels": ["push", "email", "sms", "in_app"],
                "priority": "high",
            },
            headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"},
        )
        services: set[str] = set()
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 7:
            found = {span.service for span in self._collector.trace(trace_id)}
            if found != services:
                services, quiet_since = found, time.monotonic()
            if len(services) >= 9:
                break
            await asyncio.sleep(0.2)
        return sorted(services)


async def demonstrate(
    count: int,
    *,
    edge: str,
    rest_url: str,
    sandbox_url: str,
    key: str,
    collector: Collector,
    progress: Callable[[Demonstration], None],
) -> Result:
    """Runs once against a mesh: ``edge`` is host:port for gRPC."""
    run = f"demo-{int(time.time()):x}{secrets.token_hex(2)}"
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        Client(edge, key) as client,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        return await Demonstration(
            DemoPlan(run, count),
            client,
            Rest(rest_url, key, http),
            Arrivals(sandbox_url, http),
            collector,
            progress,
        ).run()
