"""Real servers on loopback: ``async with NatsServer(folder) as server: server.url``."""

from __future__ import annotations

from clarion.client.embedded.servers.envoy import EnvoyServer
from clarion.client.embedded.servers.nats import NatsServer
from clarion.client.embedded.servers.postgres import PostgresServer
from clarion.client.embedded.servers.server import Server
from clarion.client.embedded.servers.valkey import ValkeyServer

__all__ = ["EnvoyServer", "NatsServer", "PostgresServer", "Server", "ValkeyServer"]
