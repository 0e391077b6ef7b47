"""Publishing inside an application's own transaction, over real connections to a real server."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from notifyd.clock import wall_ms
from notifyd.inbox import Mover, open_inbox
from notifyd.service import open_service
from notifyd.store.sql import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notifyd.service import Service

pytestmark = pytest.mark.postgres

PATIENCE_S = 20
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def database_url(postgres: Any) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """Opens an application's connection, which begins a transaction with its first statement."""
    opened: list[psycopg.Connection[Any]] = []

    def open_() -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(database_url))
        return opened[-1]

    yield open_
    for connection in opened:
        connection.close()


def publish(
    connection: psycopg.Connection[Any], text: str, user_id: str | None = "ann", key: Any = None
) -> None:
    connection.execute(
        "SELECT notifyd_publish(%s, 'x-order', jsonb_build_object('text', %s::text), %s)",
        (user_id, text, key),
    )


async def texts_of(service: Service, user_id: str = "ann") -> list[str]:
    listing = await service.inbox.list(user_id, since=None, before=None, limit=500, state=None)
    return [json.loads(each.entry.data)["text"] for each in reversed(listing.items)]


async def until(condition: Callable[[], Any], wanted: object) -> None:
    with trio.fail_after(PATIENCE_S):
        while await condition() != wanted:  # noqa: ASYNC110 - nobody tells when
            await trio.sleep(0.02)


async def left(connection: psycopg.Connection[Any]) -> list[Any]:
    """The rows that are still outgoing, with why."""
    rows = connection.execute("SELECT type, rejected FROM outgoing ORDER BY outgoing_id").fetchall()
    connection.commit()
    return rows


async def left_waiting(connection: psycopg.Connection[Any]) -> int:
    return len([row for row in await left(connection) if row[1] is None])


async def told(logs: Any) -> list[str]:
    return [line["type"] for line in logs if line["event"] == "outgoing.rejected"]


async def test_it_exists_exactly_if_the_transaction_commits(
    service: Service, connect: Any, openers: Any
) -> None:
    async with openers["websocket"](service.url, "ann") as stream:
        app = connect()
        publish(app, "taken back")
        app.rollback()
        publish(app, "for ann")
        publish(app, "for all", user_id=None)
        app.commit()
        received = [(await stream.next_entry())["data"]["text"] for _ in range(2)]
    assert received == ["for ann", "for all"]
    assert await texts_of(service) == received
    assert await texts_of(service, "bob") == ["for all"]
    assert await left(app) == []


async def test_a_transaction_left_open_delays_nobody(service: Service, connect: Any, http: Any) -> None:
    sleeper, other = connect(), connect()
    publish(sleeper, "late")
    for number in range(3):
        publish(other, f"{number}")
        other.commit()
    async with http() as publisher:
        body = {"user_id": "ann", "type": "x-order", "data": {"text": "by HTTP"}}
        assert (await publisher.post("/v1/notifications", json=body)).status_code == 201
    await until(lambda: sorted_texts(service), ["0", "1", "2", "by HTTP"])
    sleeper.commit()
    await until(lambda: sorted_texts(service), ["0", "1", "2", "by HTTP", "late"])


async def sorted_texts(service: Service) -> list[str]:
    return sorted(await texts_of(service))


async def test_two_applications_cannot_deadlock_through_it(service: Service, connect: Any) -> None:
    """Each publishes to both users in the other's order, both before either commits, again and again."""
    gate = threading.Barrier(2, timeout=PATIENCE_S)
    count = 20

    def run(app: psycopg.Connection[Any], order: tuple[str, str]) -> None:
        for number in range(count):
            publish(app, f"{order[0]} {number}", order[0])
            gate.wait()
            publish(app, f"{order[1]} {number}", order[1])
            gate.wait()
            app.commit()

    async with trio.open_nursery() as nursery:
        for order in (("ann", "bob"), ("bob", "ann")):
            nursery.start_soon(trio.to_thread.run_sync, run, connect(), order)
    for user_id in ("ann", "bob"):
        wanted = sorted([f"{user_id} {number}" for number in range(count)] * 2)
        await until(lambda user_id=user_id: sorted_of(service, user_id), wanted)  # type: ignore[misc]


async def sorted_of(service: Service, user_id: str) -> list[str]:
    return sorted(await texts_of(service, user_id))


async def test_a_key_is_told_once_and_not_with_other_words(service: Service, connect: Any) -> None:
    app = connect()
    with capture_logs() as logs:
        for text in ("same", "same", "other"):
            publish(app, text, key="k")
            app.commit()
        publish(app, "after it")
        app.commit()
        await until(lambda: texts_of(service), ["same", "after it"])
        await until(lambda: told(logs), ["x-order"])
    ((_, reason),) = await left(app)
    assert "another body" in reason


@pytest.mark.parametrize(
    ("user_id", "type_", "data", "key", "reason"),
    [
        ("", "x-a", "{}", None, "user_id"),
        ("a\nb", "x-a", "{}", None, "user_id"),
        ("u" * 129, "x-a", "{}", None, "user_id"),
        ("ann", "nonsense", "{}", None, "type"),
        ("ann", "x-a", "[1]", None, "an object is needed"),
        ("ann", "x-a", '{"a":' + "[" * 40 + "]" * 40 + "}", None, "levels"),
        ("ann", "x-a", '{"a":"' + "x" * 70_000 + '"}', None, "at most 65536 bytes"),
        ("ann", "x-a", "{}", "é", "idempotency_key"),
        ("ann", "system-message", '{"severity":"loud"}', None, "severity"),
    ],
)
async def test_what_cannot_be_a_notification_is_put_aside_and_blocks_nothing(
    service: Service, connect: Any, user_id: str, type_: str, data: str, key: str | None, reason: str
) -> None:
    app = connect()
    with capture_logs() as logs:
        app.execute("SELECT notifyd_publish(%s, %s, %s::jsonb, %s)", (user_id, type_, data, key))
        publish(app, "good")
        app.commit()
        await until(lambda: texts_of(service), ["good"])
        await until(lambda: left_waiting(app), 0)
        await until(lambda: told(logs), [type_])
    rows = await left(app)
    assert [row[0] for row in rows] == [type_]
    assert reason in rows[0][1]


async def test_what_was_published_while_no_server_ran_is_told_when_one_does(
    make_config: Any, connect: Any
) -> None:
    app = connect()
    for number in range(450):
        publish(app, f"{number}")
    app.commit()
    async with open_service(make_config()) as service:
        await until(lambda: texts_of(service), [f"{number}" for number in range(450)])
        await until(lambda: left(app), [])


async def test_the_listener_comes_back_when_its_connection_is_lost(service: Service, connect: Any) -> None:
    app = connect()
    publish(app, "before")
    app.commit()
    await until(lambda: texts_of(service), ["before"])
    app.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '%listener'"
    )
    app.commit()
    publish(app, "after")
    app.commit()
    await until(lambda: texts_of(service), ["before", "after"])


async def test_a_row_that_two_movers_see_is_told_once(service: Service, connect: Any) -> None:
    app = connect()
    movers = [Mover(service.store, service.inbox, wall_ms, DAY_MS) for _ in range(3)]
    for number in range(5):
        publish(app, f"{number}")
        app.commit()
        async with trio.open_nursery() as nursery:
            for mover in movers:
                nursery.start_soon(mover.move)
    await until(lambda: texts_of(service), [f"{number}" for number in range(5)])
    await until(lambda: left(app), [])


async def test_what_was_put_aside_goes_after_the_retention(service: Service, connect: Any) -> None:
    app = connect()
    for type_ in ("bad", "worse"):
        app.execute("SELECT notifyd_publish('ann', %s, '{}')", (type_,))
    app.commit()
    await until(lambda: left_waiting(app), 0)
    now_ms = [wall_ms() + DAY_MS - 60_000]
    mover = Mover(service.store, service.inbox, lambda: now_ms[0], DAY_MS)
    await mover.tidy()
    assert mover.counts == (0, 2)
    app.execute("UPDATE outgoing SET created_ms = created_ms - 120000 WHERE type = 'bad'")
    app.commit()
    await mover.tidy()
    assert mover.counts == (0, 1)
    assert [row[0] for row in await left(app)] == ["worse"]


async def test_what_waits_is_counted_and_never_deleted(make_config: Any, connect: Any) -> None:
    """No server's mover takes the rows, for this one has only a store and an inbox."""
    app = connect()
    url = make_config().database_url
    async with (
        open_store(url, clock=wall_ms) as store,
        open_inbox(store, clock=wall_ms, retention_ms=DAY_MS, max_rows_per_user=9) as inbox,
    ):
        mover = Mover(store, inbox, wall_ms, DAY_MS)
        publish(app, "old")
        app.execute("UPDATE outgoing SET created_ms = 0")
        app.commit()
        await mover.tidy()
        assert mover.counts == (1, 0)
        await mover.move()
        await mover.tidy()
        assert mover.counts == (0, 0)


async def test_only_who_was_granted_it_may_publish(service: Service, connect: Any) -> None:
    """A role needs the right to call the function, and none on any table."""
    app = connect()
    app.execute("DROP ROLE IF EXISTS notifyd_test_shop")
    app.execute("CREATE ROLE notifyd_test_shop")
    try:
        app.execute("SET LOCAL ROLE notifyd_test_shop")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            publish(app, "not allowed")
    finally:
        app.rollback()
    app.execute("CREATE ROLE notifyd_test_shop")
    app.execute("GRANT EXECUTE ON FUNCTION notifyd_publish TO notifyd_test_shop")
    app.execute("SET LOCAL ROLE notifyd_test_shop")
    publish(app, "allowed")
    app.execute("RESET ROLE")
    app.execute("DROP OWNED BY notifyd_test_shop")
    app.execute("DROP ROLE notifyd_test_shop")
    app.commit()
    await until(lambda: texts_of(service), ["allowed"])
