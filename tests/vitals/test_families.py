"""The metrics of a whole server: their names, their documentation, and what they say."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from notifyd.clock import wall_ms
from notifyd.config import Config
from notifyd.messages import system_message
from notifyd.service import Service, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from prometheus_client import Metric

ADMIN_KEY = "admin-key-of-the-tests"
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_ROW = re.compile(r"\| `(notifyd_\w+)` \| (\w+) \| (.*?) \| (.*) \|")


@pytest.fixture
def open_server(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Service]]:
    @asynccontextmanager
    async def opened(**given: Any) -> AsyncIterator[Service]:
        settings = {
            "listen": "127.0.0.1:0",
            "database_url": f"sqlite:///{tmp_path}/notifyd.db",
            "admin_keys": ADMIN_KEY,
            "drain_seconds": 0.0,
        }
        async with open_service(Config.model_validate(settings | given), clock=wall_ms) as service:
            yield service

    return opened


async def ask(service: Service, path: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx2.AsyncClient(base_url=service.url, headers=headers, trust_env=False) as client:
        return await client.get(path)


async def scrape(service: Service) -> dict[str, Metric]:
    answer = await ask(service, "/metrics")
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    samples = [each for family in families.values() for each in family.samples if each.name == name]
    [found] = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    return found


async def test_the_page_names_exactly_what_there_is(open_server: Any) -> None:
    async with open_server() as service:
        families = await scrape(service)
    there = {
        (family.name + "_total" * (family.type == "counter"), family.type, family.documentation)
        for family in families.values()
        if family.name.startswith("notifyd_")
    }
    rows = _ROW.findall(PAGE.read_text())
    assert {(name, type_, text) for name, type_, _, text in rows} == there
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels, _ in rows}
    for family in families.values():
        for sample in family.samples:
            if sample.name in documented:
                assert set(sample.labels) == documented[sample.name]


async def test_names_follow_the_conventions(open_server: Any) -> None:
    async with open_server() as service:
        families = await scrape(service)
    for family in families.values():
        assert family.documentation
        assert re.fullmatch(r"(notifyd|process|python)_[a-z0-9_]+", family.name)
        assert not re.search(r"_(ms|milliseconds|kb|mib|minutes|count|total|sum|bucket)$", family.name)
        if family.type == "histogram" and family.name != "notifyd_commit_group_writes":
            assert family.name.endswith("_seconds")


async def test_what_happens_is_counted(open_server: Any) -> None:
    async with open_server() as service:
        before = await scrape(service)
        async with service.subscribe("ann") as channel:
            for user_id in ("ann", "ben"):
                await service.notify_user(user_id, system_message("hello"))
            with trio.fail_after(10):
                await channel.receive()
            await service.broker.settle()
        after = await scrape(service)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("notifyd_publishes_total") == 2
    assert grown("notifyd_rows_total") == 2
    assert grown("notifyd_commits_total") >= 1
    assert grown("notifyd_commit_duration_seconds_count") == grown("notifyd_commits_total")
    assert grown("notifyd_deliveries_total", path="live") == 1
    assert value(after, "notifyd_http_requests_total", method="GET", route="/metrics", status="200") == 1
    assert value(after, "notifyd_job_up", job="dispatcher") == 1
    assert value(after, "notifyd_window_head_seq") == 2
    assert value(after, "notifyd_connections", transport="sse") == 0


async def test_the_canary_flies_in_a_whole_server_and_nobody_sees_it(open_server: Any) -> None:
    async with open_server(canary_seconds=0.01) as service:
        async with service.subscribe("ann") as channel:
            with trio.fail_after(20):
                while value(await scrape(service), "notifyd_canary_round_trip_seconds_count") < 20:
                    await trio.lowlevel.checkpoint()
            assert (await ask(service, "/readyz")).status_code == 200
            await service.notify_user("ann", system_message("for Ann"))
            with trio.fail_after(10):
                assert (await channel.receive()).data.message == "for Ann"
        listed = await service.inbox.list("ann", since=None, before=None, limit=100, state=None)
        assert len(listed.items) == 1
        stats = (await ask(service, "/v1/stats")).json()
        assert stats["latency"]["canary"]["count"] >= 20
        assert stats["canary"]["failures"] == 0
        assert stats["loop"]["count"] >= 0


async def test_without_a_canary_nothing_is_sent(open_server: Any) -> None:
    async with open_server(canary_seconds=0) as service:
        families = await scrape(service)
        assert not families["notifyd_canary_round_trip_seconds"].samples
        assert (await ask(service, "/v1/stats")).json()["canary"] is None
        assert (await ask(service, "/readyz")).status_code == 200
