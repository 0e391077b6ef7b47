"""The benches by name, each imported when it runs."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.report import Row


class Bench(NamedTuple):
    """What one measures, in a line, and about how many seconds it takes in full and quick."""

    about: str
    full_s: int
    quick_s: int


class Run(Protocol):
    """What each bench's module has."""

    def __call__(self, *, quick: bool, say: Callable[[str], None]) -> list[Row]: ...


#: In the order in which all run.
BENCHES = {
    "fanout": Bench("broadcasts to 1,000 WebSockets, against nine other servers in turns", 215, 25),
    "sse": Bench("the same to 1,000 SSE streams, against nchan and sse-starlette", 55, 15),
    "latency": Bench("publish over HTTP to the last client: p50, p95, p99, up to 10,000 clients", 240, 25),
    "connections": Bench("memory of idle connections, of the process and of the kernel", 75, 25),
    "handshakes": Bench("handshakes a second with a JWT, against Node ws; 5,000 at once", 45, 20),
    "resume": Bench("10,000 clients come back after kill -9", 60, 25),
    "append": Bench("Inbox.append by 64 tasks, against one commit each", 50, 10),
    "checker": Bench("prices checked a second with 1,000,000 watches", 90, 20),
    "stall": Bench("how long the loop stands still under load", 60, 28),
    "mail": Bench("mails a second, and what mail costs those who publish", 75, 15),
    "start": Bench("listening on an existing database; --help", 20, 10),
}


def module_of(name: str) -> str:
    return f"bench.{name}"


def is_there(name: str) -> bool:
    """Whether the bench's module exists."""
    return importlib.util.find_spec(module_of(name)) is not None


def load_run(name: str) -> Run:
    """The bench's `run`. Raises ModuleNotFoundError."""
    run: Run = importlib.import_module(module_of(name)).run
    return run
