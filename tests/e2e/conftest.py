"""What the tests of the whole mesh do with it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import pytest
import pytest_asyncio

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.client import Client, notification
from clarion.client.embedded import Stack

T = TypeVar("T")

ALL_CHANNELS = ("push", "email", "sms", "in_app")
_numbers = itertools.count(100)


async def eventually(
    probe: Callable[[], Awaitable[T]], *, timeout: float = 15, what: str = "it"
) -> T:
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + timeout
    while True:
        found = await probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Person:
    """A recipient with addresses that nobody else has."""

    user_id: str
    email: str
    phone_number: str
    token: str
    ios_token: str


@dataclass(frozen=True)
class Answer:
    """What REST answered."""

    status: int
    headers: Mapping[str, str]
    text: str
    body: Any

    @property
    def info(self) -> dict[str, Any]:
        """The ErrorInfo."""
        return self._detail("google.rpc.ErrorInfo")

    @property
    def fields(self) -> list[str]:
        """The fields that the BadRequest names."""
        violations = self._detail("google.rpc.BadRequest").get("field_violations", [])
        return [violation["field"] for violation in violations]

    def _detail(self, name: str) -> dict[str, Any]:
        for detail in self.body["details"]:
            if detail["@type"] == f"type.googleapis.com/{name}":
                return dict(detail)
        return {}


@dataclass
class Rest:
    """Calls the edge with the key of the tenant ``demo``, or another one."""

    url: str
    key: str
    http: aiohttp.ClientSession

    async def __call__(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"authorization": f"Bearer {self.key if key is None else key}"}
        if key == "":
            del sent["authorization"]
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent["content-type"] = "application/json"
        async with self.http.request(
            verb,
            self.url + path,
            data=None if raw is None else io.BytesIO(raw),
            headers=sent | dict(headers or {}),
            params=params,
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                text,
                await response.json() if is_json else None,
            )


@dataclass
class Sandbox:
    """The control API of the sandbox."""

    url: str
    http: aiohttp.ClientSession

    async def script(self, *rules: Mapping[str, Any]) -> None:
        async with self.http.put(f"{self.url}/script", json=list(rules)) as response:
            assert response.status == 200, await response.text()

    async def applied(self) -> list[int]:
        """How often each rule of the script was applied."""
        async with self.http.get(f"{self.url}/script") as response:
            return [rule["applied"] for rule in (await response.json())["rules"]]

    async def messages(self, **wanted: str) -> list[dict[str, Any]]:
        """What arrived, newest first, refused messages included."""
        query = {"limit": "1000", **wanted}
        async with self.http.get(f"{self.url}/messages", params=query) as response:
            assert response.status == 200, await response.text()
            messages: list[dict[str, Any]] = (await response.json())["messages"]
            return messages

    async def accepted(self, **wanted: str) -> list[dict[str, Any]]:
        return [one for one in await self.messages(**wanted) if one["accepted"]]

    async def receipt(self, **receipt: object) -> None:
        async with self.http.post(f"{self.url}/receipts", json=receipt) as response:
            assert response.status == 202, await response.text()


@dataclass
class Mesh:
    """The mesh as its callers see it, and the providers behind it."""

    stack: Stack
    rest: Rest
    client: Client
    sandbox: Sandbox
    other_key: str
    persons: list[Person] = field(default_factory=list)

    async def person(self, *, ios: bool = False, **more: Any) -> Person:
        """A new recipient with an Android device, and with an iPhone on request."""
        number = next(_numbers)
        user_id = f"person-{number}-{uuid.uuid4().hex[:8]}"
        person = Person(
            user_id,
            f"{user_id}@people.example",
            f"+1415555{number:04d}",
            f"fcm-{user_id}",
            user_id.encode().hex().ljust(64, "0"),
        )
        devices = [Device(platform="android", token=person.token)]
        if ios:
            devices.append(Device(platform="ios", token=person.ios_token))
        recipient = Recipient(
            user_id=user_id,
            email=person.email,
            phone_number=person.phone_number,
            display_name=f"Person {number}",
            locale="en",
            time_zone="UTC",
            devices=devices,
        )
        for name, value in more.items():
            setattr(recipient, name, value)
        await self.client.put_recipients([recipient])
        return person

    async def send(
        self,
        person: Person,
        *channels: str,
        type: str = "order_confirmation",
        title: str = "Order confirmed",
        message: str = "It is on its way.",
        **more: Any,
    ) -> str:
        """Sends over gRPC; the notification's id."""
        built = notification(
            person.user_id,
            type,
            title=title,
            message=message,
            channels=channels,
            **more,
        )
        return str((await self.client.send(built)).notification_id)

    @staticmethod
    async def eventually(
        probe: Callable[[], Awaitable[T]], *, timeout: float = 15, what: str = "it"
    ) -> T:
        """Asks until the answer is true, and returns it."""
        return await eventually(probe, timeout=timeout, what=what)

    async def arrived(
        self,
        notification_id: str,
        count: int = 1,
        *,
        timeout: float = 15,
        **wanted: str,
    ) -> list[dict[str, Any]]:
        """The accepted messages of a notification, once there are so many."""

        async def look() -> list[dict[str, Any]]:
            found = await self.sandbox.accepted(
                notification_id=notification_id, **wanted
            )
            return found if len(found) >= count else []

        return await eventually(look, timeout=timeout, what=f"{count} arrivals")

    async def get(self, notification_id: str) -> dict[str, Any]:
        """What tracking knows, as REST tells it; empty while it knows nothing."""
        answer = await self.rest("GET", f"/api/v1/notifications/{notification_id}")
        return dict(answer.body["notification"]) if answer.status == 200 else {}

    async def has_status(
        self, notification_id: str, *statuses: str, timeout: float = 15
    ) -> dict[str, Any]:
        """The record, once the notification has one of the statuses."""
        record: dict[str, Any] = {}

        async def look() -> bool:
            nonlocal record
            record = await self.get(notification_id)
            return record.get("status") in statuses

        try:
            await eventually(look, timeout=timeout, what=f"status {statuses}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {record}") from None
        return record

    async def was_tried(
        self, notification_id: str, channel: str, times: int
    ) -> dict[str, Any]:
        """The record, once it has so many attempts: a receipt may be there before."""

        async def look() -> dict[str, Any] | None:
            record = await self.get(notification_id)
            made = sum(
                len(delivery.get("attempts", ()))
                for delivery in record.get("deliveries", ())
                if delivery["channel"] == channel
            )
            return record if made >= times else None

        found = await eventually(look, what=f"{times} attempts by {channel}")
        assert found is not None
        return found

    async def inbox(self, user_id: str, **query: str) -> list[dict[str, Any]]:
        answer = await self.rest("GET", f"/api/v1/users/{user_id}/inbox", params=query)
        assert answer.status == 200, answer.text
        return list(answer.body["items"])

    async def in_inbox(self, user_id: str, count: int = 1) -> list[dict[str, Any]]:
        async def look() -> list[dict[str, Any]]:
            items = await self.inbox(user_id)
            return items if len(items) >= count else []

        return await eventually(look, what=f"{count} inbox items")

    async def prefer(self, person: Person, **preferences: object) -> None:
        path = f"/api/v1/users/{person.user_id}/preferences"
        answer = await self.rest("PUT", path, preferences)
        assert answer.status == 200, answer.text


def deliveries(record: Mapping[str, Any], channel: str) -> list[dict[str, Any]]:
    """The deliveries of one channel."""
    return [one for one in record["deliveries"] if one["channel"] == channel]


def events(record: Mapping[str, Any], channel: str = "") -> Sequence[str]:
    """The timeline's events, of one channel or all."""
    return [
        entry["event"]
        for entry in record["timeline"]
        if not channel or entry["channel"] == channel
    ]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        yield http


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(stack: Stack, http: aiohttp.ClientSession) -> AsyncIterator[Mesh]:
    async with Client(stack.urls["grpc"], stack.demo_key) as client:
        yield Mesh(
            stack,
            Rest(stack.urls["rest"], stack.demo_key, http),
            client,
            Sandbox(stack.urls["sandbox"], http),
            stack.credentials.other_key,
        )


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(mesh: Mesh) -> AsyncIterator[Sandbox]:
    """The sandbox, without a script again afterwards."""
    yield mesh.sandbox
    await mesh.sandbox.script()


@pytest.fixture
def of_channel() -> Callable[[Mapping[str, Any], str], list[dict[str, Any]]]:
    return deliveries


@pytest.fixture
def of_timeline() -> Callable[..., Sequence[str]]:
    return events
