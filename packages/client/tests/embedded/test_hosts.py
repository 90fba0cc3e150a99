from __future__ import annotations

from pathlib import Path

from clarion.client.cli.logs import Source
from clarion.client.embedded.environment import SERVICES
from clarion.client.embedded.hosts import (
    HOSTS,
    is_apart,
    processes_of,
    shared_environment,
)


def test_every_service_runs_once():
    for apart in (False, True):
        processes = processes_of(SERVICES, apart=apart)
        assert sorted(n for names in processes.values() for n in names) == sorted(
            SERVICES
        )


def test_services_share_a_process_where_there_are_several_of_it():
    assert processes_of(("router", "recipients", "push")) == {
        "deciding": ("router", "recipients"),
        "push": ("push",),
    }


def test_apart_each_service_gives_its_process_the_name():
    assert all(
        (name,) == services
        for name, services in processes_of(SERVICES, apart=True).items()
    )


def test_the_router_is_stopped_before_those_that_it_calls():
    assert HOSTS["deciding"][0] == "router"


def test_what_differs_by_service_bears_its_name():
    shared = shared_environment(
        {
            "push": {"CLARION_LISTEN": "a:1", "CLARION_NATS_URL": "n", "OTEL_X": "1"},
            "sms": {"CLARION_LISTEN": "a:2", "CLARION_NATS_URL": "n", "OTEL_X": "1"},
        }
    )

    assert shared == {
        "CLARION_PUSH__LISTEN": "a:1",
        "CLARION_SMS__LISTEN": "a:2",
        "CLARION_NATS_URL": "n",
        "OTEL_X": "1",
    }


def test_the_environment_may_ask_for_processes_apart():
    assert is_apart({"CLARION_APART": "True"})
    assert not is_apart({"CLARION_APART": ""})
    assert not is_apart({})


def test_the_lines_of_a_service_are_those_that_bear_its_name():
    text = '{"event": "a", "service": "push"}\n{"event": "b", "service": "sms"}\n'

    assert Source(Path("x"), "sms").own(text) == [text.splitlines()[1]]
    assert Source(Path("x")).own(text) == text.splitlines()
