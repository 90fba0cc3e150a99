"""What an earlier release stored is there after the migrations, and counts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from clarion.api.recipients.v1.preference_service_pb2 import (
    GetPreferencesRequest,
    PutDefaultPreferencesRequest,
)
from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.runtime.migrations import migrate, migrations_of

pytestmark = pytest.mark.integration


@pytest.fixture
def empty_database(postgres_server: Any) -> Iterator[str]:
    name = f"t{uuid.uuid4().hex}"
    identifier = sql.Identifier(name)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        yield make_conninfo(postgres_server.url, dbname=name)
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        connection.execute(drop.format(identifier))


async def test_preferences_of_the_first_release_count_and_take_defaults(
    empty_database: str, start: Any, tenant: str
) -> None:
    url, migrations = empty_database, migrations_of("recipients")
    migrate(url, "recipients", migrations[:1])
    body = Preferences(push_enabled=False).SerializeToString()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO recipients.preference VALUES (%s, %s, %s, 3, now())",
            (tenant, "u", body),
        )
    assert migrate(url, "recipients", migrations)
    async with start(postgres_url=url) as running:
        stubs = running.of(tenant)
        defaults = Preferences(push_enabled=True, sms_enabled=False)
        await stubs.preferences.PutDefaultPreferences(
            PutDefaultPreferencesRequest(preferences=defaults)
        )
        found = await stubs.preferences.GetPreferences(
            GetPreferencesRequest(user_id="u")
        )
    assert (found.version, found.defaults_version) == (3, 1)
    assert (found.push_enabled, found.sms_enabled) == (False, False)
