from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.struct_pb2 import Struct

from clarion.client.embedded.servers import PostgresServer
from clarion.runtime.clock import SystemClock
from clarion.runtime.errors import UnavailableError
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.templating.content import Content, Variant
from clarion.templating.postgres.template_store import PostgresTemplateStore
from clarion.templating.published import PublishedVersions
from clarion.templating.rendering import Renderer, RenderItem

pytestmark = pytest.mark.integration


async def test_what_was_used_is_rendered_while_postgres_is_down(tmp_path):
    item = RenderItem("order", 0, "", ["push"], "", "", "", Struct(), Struct())
    async with PostgresServer(tmp_path) as server:
        await asyncio.to_thread(
            migrate, server.url, "templating", migrations_of("templating")
        )
        pool = await open_pool(server.url, "templating")
        store, clock = PostgresTemplateStore(pool), SystemClock()
        content = Content((Variant("push", "en", body="kept"),))
        await store.put("t", "order", content, publish=True)
        published = PublishedVersions(store, clock, timedelta(0))
        renderer = Renderer(store, published, clock)
        await renderer.render("t", [item])
    [[outcome]] = await renderer.render("t", [item])
    assert outcome.rendered.body == "kept"
    [[built_in]] = await renderer.render("new", [item._replace(template_id="default")])
    assert built_in.error is None
    with pytest.raises(UnavailableError):
        await renderer.render("new", [item])
    with pytest.raises(UnavailableError):
        await store.put("t", "order", content, publish=True)
    await pool.close()
