"""The wiring of the templates."""

from __future__ import annotations

from clarion.api.templating.v1 import template_service_pb2 as pb
from clarion.api.templating.v1 import template_service_pb2_grpc as rpc
from clarion.runtime.clock import SystemClock
from clarion.runtime.postgres import open_pool
from clarion.runtime.service import Service
from clarion.templating.catalog import Catalog
from clarion.templating.postgres.template_store import PostgresTemplateStore
from clarion.templating.published import PublishedVersions
from clarion.templating.rendering import Renderer
from clarion.templating.servicer import TemplateServicer
from clarion.templating.settings import Settings


async def build(service: Service, settings: Settings) -> None:
    """Serves TemplateService from Postgres and a cache."""
    clock = SystemClock()
    # Not service.postgres(): readiness would depend on it, and the balancer would send
    # nothing any more to a replica that can still serve from its cache.
    pool = await open_pool(service.settings.url("postgres"), service.name)
    service.on_close(pool.close)
    store = PostgresTemplateStore(pool)
    published = PublishedVersions(store, clock, settings.templating_published_cache)
    await published.look()
    service.add_task("published templates", published.run)
    fuel = settings.templating_fuel
    service.add_servicer(
        rpc.add_TemplateServiceServicer_to_server,
        TemplateServicer(
            Catalog(store, published, fuel), Renderer(store, published, clock, fuel)
        ),
        pb.DESCRIPTOR.services_by_name["TemplateService"].full_name,
    )
