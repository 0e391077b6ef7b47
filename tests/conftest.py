"""What every test shares: single errors are shown bare, without the group that a nursery wraps them in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import shutil
import socket
import struct
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
from hypothesis import settings
from playwright.sync_api import expect, sync_playwright

from notifyd import auth
from notifyd.store.sql import open_database, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from playwright.sync_api import Browser


#: A property is tried this often in every run; `HYPOTHESIS_PROFILE=long` searches further.
settings.register_profile("short", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-on-postgres", action="store_true", help="run what is slow on PostgreSQL in full, not a sample"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test marked `few_on_postgres(n)` the first n variants run on PostgreSQL, others when asked."""
    if config.getoption("--all-on-postgres"):
        return
    met: Counter[str] = Counter()
    left_out = []
    for item in items:
        few = item.get_closest_marker("few_on_postgres")
        if few is not None and item.get_closest_marker("postgres") is not None:
            name = item.nodeid.partition("[")[0]
            met[name] += 1
            if met[name] > few.args[0]:
                left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in gone]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    try:
        return (yield)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


# --- no token in anything that is written ---------------------------------------------------------------

#: Every token that this process has made, from whatever test or part of notifyd.
MINTED: set[str] = set()
_TOKEN = re.compile(r"[\w-]{10,}\.[\w-]{10,}\.[\w-]{20,}")
_mint = auth.mint_token


@functools.wraps(_mint)
def _mint_and_remember(*given: Any, **named: Any) -> str:
    token = _mint(*given, **named)
    MINTED.add(token)
    return token


auth.mint_token = _mint_and_remember  # before any test or command has taken the name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test fails when a token stands in what was logged or printed while it ran."""
    report = yield
    told = {token for _, text in report.sections for token in _TOKEN.findall(text)} & MINTED
    if told and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{len(told)} tokens are in the output of {item.nodeid}"
    return report


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Generator[None]:
    """A test that configures logging, as commands do, leaves no trace of it."""
    yield
    structlog.reset_defaults()
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


# --- databases --------------------------------------------------------------------------------------


class Postgres:
    """A PostgreSQL of the tests' own. Each test gets a copy of a database that has all tables and no row."""

    def __init__(self, url_of: Callable[[str], str]) -> None:
        import psycopg

        self.url_of = url_of
        self.admin = psycopg.connect(url_of("postgres"), autocommit=True)
        self._made = 0
        self.admin.execute("CREATE DATABASE tables")
        with open_database(url_of("tables"), busy_s=10) as database:
            prepare(database, 1)
        with psycopg.connect(url_of("tables")) as connection:
            connection.execute("DELETE FROM meta")

    @contextlib.contextmanager
    def database(self, template: str = "tables") -> Iterator[str]:
        """The URL of a new database."""
        self._made += 1
        name = f"test_{self._made}"
        self.admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        try:
            yield self.url_of(name)
        finally:
            self.admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Started once; tests that need it are skipped where it cannot be."""
    with tempfile.TemporaryDirectory(prefix="notifyd-postgres-", ignore_cleanup_errors=True) as folder:
        try:
            from tests.chaos.cluster import Cluster

            cluster = Cluster(Path(folder))
        except Exception as error:
            pytest.skip(f"PostgreSQL does not start: {error!r}")
        try:
            running = Postgres(cluster.url)
            yield running
            running.admin.close()
        finally:
            cluster.close()


OnPostgres = pytest.param("postgresql", marks=pytest.mark.postgres)


@pytest.fixture(params=["sqlite", OnPostgres])
def on_postgres(request: pytest.FixtureRequest) -> Postgres | None:
    """Where a test that takes a database runs; it runs on each kind. None: on SQLite."""
    found: Postgres | None = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    return found


@pytest.fixture
def new_database(on_postgres: Postgres | None) -> Callable[[Path], AbstractContextManager[str]]:
    """Makes databases, whose URLs it gives; a file lies in the folder."""

    def make(folder: Path) -> AbstractContextManager[str]:
        if on_postgres is None:
            return contextlib.nullcontext(f"sqlite:///{folder}/notifyd.db")
        return on_postgres.database()

    return make


@pytest.fixture
def database_url(
    new_database: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> Iterator[str]:
    """The URL of a new database."""
    with new_database(tmp_path) as url:
        yield url


# --- a client that sends exact bytes, over real loopback sockets ----------------------------------------

#: Seconds after which a test that waits for a server gives up.
PATIENCE_S = 15.0


@dataclass(frozen=True)
class RawResponse:
    """One HTTP answer as it was on the wire; names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """Sends exact bytes and reads HTTP/1.1 answers; every wait has a deadline."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE_S):
            await self.stream.send_all(data)

    async def response(self, *, head_only: bool = False) -> RawResponse:
        """The next answer; 1xx ones too, which have no body like the answer to HEAD (`head_only`)."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1").splitlines()
        fields = [line.partition(":") for line in head[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in fields}
        status = int(head[0].split()[1])
        if head_only or status < 200 or status in (204, 304):
            return RawResponse(status, headers, b"")
        return RawResponse(status, headers, await self._body(headers))

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.exactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return await self.rest()
        body = bytearray()
        while size := int(await self.until(b"\r\n"), 16):
            body += await self.exactly(size)
            await self.until(b"\r\n")
        await self.until(b"\r\n")
        return bytes(body)

    async def until(self, end: bytes) -> bytes:
        """Everything up to and including `end`."""
        while (at := self.buffer.find(end)) < 0:
            await self._more()
        return await self.exactly(at + len(end))

    async def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            await self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def rest(self) -> bytes:
        """Everything until the server ends the connection, with FIN or with a reset."""
        with contextlib.suppress(EOFError, trio.BrokenResourceError):
            while True:
                await self._more()
        return bytes(self.buffer)

    async def _more(self) -> None:
        with trio.fail_after(PATIENCE_S):
            data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"the server ended the connection after {bytes(self.buffer[:200])!r}")
        self.buffer += data

    async def reset(self) -> None:
        """Leave with a TCP reset."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()


@pytest.fixture
def raw_client() -> Callable[[str], AbstractAsyncContextManager[RawClient]]:
    """Opens a RawClient to `http://HOST:PORT` or `unix:PATH`."""

    @contextlib.asynccontextmanager
    async def connect(url: str) -> AsyncIterator[RawClient]:
        if url.startswith("unix:"):
            stream = await trio.open_unix_socket(url.removeprefix("unix:"))
        else:
            match = re.fullmatch(r"http://\[?(.*?)\]?:(\d+)/?", url)
            assert match is not None
            stream = await trio.open_tcp_stream(match[1], int(match[2]))
        async with stream:
            yield RawClient(stream)

    return connect


# --- a real browser -------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Seconds that a page is given; generous, for busy machines.
BROWSER_PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _no_loop_of_playwright(request: pytest.FixtureRequest) -> Iterator[None]:
    """Playwright's loop counts as running from its first use on; trio-asyncio elsewhere would join it."""
    running = None if "browser" in request.fixturenames else asyncio._get_running_loop()
    if running is None:
        yield
        return
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests of a process: Playwright allows no second one beside it.

    It has a loop of asyncio's own: trio-asyncio, once imported, makes new loops of Trio, and all later tests
    would be inside its run.
    """
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        expect.set_options(timeout=BROWSER_PATIENCE_S * 1000)
        yield browser
        browser.close()
