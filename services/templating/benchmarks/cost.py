"""CPU time that BatchRender takes for one item: decoding, rendering, encoding.

The items are those of the benchmark ``throughput``, in calls of 256; the store is in
memory, as templates come from the cache. ``plain`` is the built-in template.

Usage: python services/templating/benchmarks/cost.py [items] [--profile]
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import pstats
import sys
import time

import click

from clarion.api.templating.v1 import template_service_pb2 as pb
from clarion.client.bench import traffic
from clarion.runtime.caller import Caller, as_caller
from clarion.runtime.clock import SystemClock
from clarion.templating.catalog import Catalog
from clarion.templating.in_memory import InMemoryTemplateStore
from clarion.templating.published import PublishedVersions
from clarion.templating.rendering import Renderer
from clarion.templating.servicer import TemplateServicer

BATCH = 256
ROUNDS = 7


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    count = int(words[0]) if words else 8_192
    asyncio.run(measure(count, "--profile" in sys.argv))


async def measure(count: int, is_profiled: bool) -> None:
    store, clock = InMemoryTemplateStore(), SystemClock()
    published = PublishedVersions(store, clock)
    servicer = TemplateServicer(
        Catalog(store, published), Renderer(store, published, clock)
    )
    profile = cProfile.Profile()
    with as_caller(Caller("demo", "key", frozenset())):
        template = traffic.template()
        await servicer.PutTemplate(
            pb.PutTemplateRequest(template_id=traffic.TEMPLATE, template=template), None
        )
        result = {}
        for name, template_id in (("bench", traffic.TEMPLATE), ("plain", "default")):
            calls = encoded(count, template_id)
            await served(servicer, calls[:4])
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)  # as in a service
            if is_profiled:
                profile.enable()
            runs = []
            for _ in range(ROUNDS):
                began = time.process_time()
                await served(servicer, calls)
                runs.append(time.process_time() - began)
            profile.disable()
            result[name] = round(min(runs) / count * 1e6, 1)
    if is_profiled:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(22)
    click.echo(json.dumps(result))


async def served(servicer: TemplateServicer, calls: list[bytes]) -> None:
    for call in calls:
        request = pb.BatchRenderRequest.FromString(call)
        answer = await servicer.BatchRender(request, None)
        if not isinstance(answer, bytes):
            answer.SerializeToString()


def encoded(count: int, template_id: str) -> list[bytes]:
    """Calls as the router makes them."""
    calls = []
    for first in range(0, count, BATCH):
        request = pb.BatchRenderRequest()
        for number in range(first, first + BATCH):
            asked = traffic.example(number)
            item = request.items.add(
                key=str(number - first),
                template_id=template_id,
                channels=asked.channels,
                locale="en",
                title="A title",
                message="A message",
                data=asked.data,
                type=asked.type,
            )
            item.recipient.update(
                {
                    "user_id": f"user-{number:08d}",
                    "display_name": f"Person {number}",
                    "locale": "en",
                    "time_zone": "UTC",
                }
            )
        calls.append(request.SerializeToString())
    return calls


if __name__ == "__main__":
    main()
