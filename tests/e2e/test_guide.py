"""The calls of docs/deciding.md, made as they are written there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from clarion.client.cli import main
from clarion.client.embedded import Stack

pytestmark = pytest.mark.e2e

GUIDE = Path(__file__).parents[2] / "docs" / "deciding.md"
CALLS = re.findall(r"```rest\n(\w+) (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
KEPT = ("/api/v1/preferences/defaults", "/api/v1/limit-policies/sms-cap")
"""What would hold for the tests that share the stack."""


async def test_the_calls_of_the_guide_work_as_they_are_written(mesh: Any) -> None:
    assert len(CALLS) > 20
    id, refused = "", []
    try:
        for verb, path, body in CALLS:
            content = json.loads(body) if body.strip() else None
            where = path.replace("{id}", id)
            answer = await mesh.rest(verb, where, content)
            if answer.status != 200:
                refused.append((verb, path, answer.text))
                continue
            told = answer.body
            id = told.get("notification_id") or told.get("broadcast_id") or id
    finally:
        await mesh.rest("PUT", KEPT[0], {})
        await mesh.rest("DELETE", KEPT[1])
    assert refused == []


async def test_calls_of_the_guide_can_be_made_on_the_command_line(
    stack: Stack, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(stack.demo_key)
    where = ("--target", stack.urls["grpc"], "--key-file", str(key), "--json")

    async def api(*words: str) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, main, ["api", *words, *where]
        )

    put = await api("PUT", "types/by_hand", "-f", "category=social")
    assert json.loads(put.output)["notification_type"]["category"] == "social"
    got = await api("GET", "types/by_hand")
    assert json.loads(got.output) == json.loads(put.output)
    refused = await api("POST", "users/ada/consents")
    assert refused.exit_code == 1
    assert "\n  granted: " in refused.output
    await api("DELETE", "types/by_hand")
