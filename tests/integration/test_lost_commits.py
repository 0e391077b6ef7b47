"""A connection to PostgreSQL that breaks when the commit is done and its answer isn't there yet."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from notifyd.errors import CommitFailed, OutcomeUnknown
from notifyd.inbox import Publication
from notifyd.messages import custom
from notifyd.service import open_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.postgres

NAME = ".s.PGSQL.5432"


class Cutter:
    """Stands between server and database. Told so, it lets one COMMIT through and takes the answer away."""

    def __init__(self, database: str, folder: Path) -> None:
        self.cut = False
        self._database = database
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/{NAME}")
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                database = socket.socket(socket.AF_UNIX)
                database.connect(self._database)
                commits = threading.Event()
                for pair in ((client, database, commits, True), (database, client, commits, False)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: Any, target: Any, commits: threading.Event, asking: bool) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                if asking and self.cut and b"COMMIT\0" in data:
                    self.cut = False
                    commits.set()
                if not asking and commits.is_set():
                    client_gone(target, source)
                    return
                target.sendall(data)
        client_gone(source, target)


def client_gone(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cutter(postgres: Any, tmp_path: Path) -> Iterator[tuple[Cutter, str]]:
    with postgres.database() as url:
        parts = urlsplit(url)
        cutter = Cutter(f"{parse_qs(parts.query)['host'][0]}/{NAME}", tmp_path)
        yield cutter, f"postgresql://postgres@{parts.path}?host={tmp_path}"
        cutter.close()


@pytest.fixture
def database_url(cutter: tuple[Cutter, str]) -> str:
    return cutter[1]


def note(text: str) -> Publication:
    return Publication(custom("x-note", {"text": text}), ("ann",), "test")


async def test_what_was_committed_is_handed_on_once_the_database_says_so(
    make_config: Callable[..., Any], cutter: tuple[Cutter, str], openers: Any
) -> None:
    async with open_service(make_config(canary_seconds=0)) as service:
        async with openers["websocket"](service.url, "ann") as stream:
            await service.inbox.append(note("before"))
            for number in range(5):
                cutter[0].cut = True
                with pytest.raises(OutcomeUnknown):
                    await service.inbox.append(note(f"cut {number}"))
                with trio.fail_after(20):
                    while (await stream.next_entry())["data"]["text"] != f"cut {number}":
                        pass
            await service.inbox.append(note("after"))
            await stream.next_entry()
        texts = [each["data"]["text"] for each in stream.entries]
        assert texts == ["before", *(f"cut {number}" for number in range(5)), "after"]


async def test_a_log_that_has_become_shorter_ends_the_server(make_config: Callable[..., Any]) -> None:
    def go_back(tx: Any) -> tuple[tuple[()], None]:
        from sqlalchemy import text

        tx.execute(text("DELETE FROM notifications WHERE seq = 2"))
        tx.execute(text("UPDATE meta SET head = 1"))
        return (), None

    with pytest.RaisesGroup(CommitFailed, flatten_subgroups=True):
        async with open_service(make_config(canary_seconds=0)) as service:
            for _ in range(2):
                await service.inbox.append(note("a"))
            await service.store.write(go_back)
            with pytest.raises(OutcomeUnknown):
                await service.inbox.append(note("b"))
            await trio.sleep_forever()
