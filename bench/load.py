"""The load: `load.c` as a child process on the load's core, and what it is told to do.

It counts messages by their mark (`peers.MARK`) and reads nothing else, so that it is never the bottleneck.
It asks the kernel without end, so that no server pays for waking it; `sleeps=True` makes it wait instead, and
then `Ran.busy` says how much of the time it worked, which is its own cost. A run that loses or repeats a
message raises LoadFailed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.peers import MARK
from bench.server import LOAD_CORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(__file__).parent / "load.c"
#: A masked Pong (RFC 6455 section 5.5.3): keeps an idle WebSocket alive.
PONG = b"\x8a\x80mask"


class LoadFailed(Exception):
    """A message was lost or repeated, or a server did not do what was asked."""


class Opened(NamedTuple):
    """What became of connections that were asked for, and how long all of it took."""

    open: int
    refused: int
    seconds: float


class Ran(NamedTuple):
    """One run. `latencies_s`, sorted: from the moment a publish was due to its last message's arrival."""

    publishes: int
    messages: int
    seconds: float
    busy: float  # the load's own processor time as a part of `seconds`
    latencies_s: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the publishes took at most (nearest rank)."""
        return percentile(self.latencies_s, percent)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of `ordered` do not exceed (nearest rank)."""
    return ordered[max(math.ceil(percent * len(ordered) / 100), 1) - 1]


class Load:
    """Speaks to the child; every method waits for its answer. Raises LoadFailed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def open(
        self,
        count: int,
        port: int,
        steps: Sequence[tuple[bytes | Sequence[bytes], bytes]],
        *,
        in_flight: int = 256,
    ) -> Opened:
        """Connect `count` more clients, at most `in_flight` at once.

        `steps`: a request and what to wait for after it. A sequence of `count` requests of equal length is
        one for each client.
        """
        parts = [f"open {count} {port} {in_flight} {len(steps)}\n".encode()]
        for request, wait_for in steps:
            own = not isinstance(request, bytes)
            each = [request] if isinstance(request, bytes) else list(request)
            if len({len(one) for one in each}) != 1:
                raise ValueError("the requests differ in length")
            parts += [f"{len(each[0])} {len(wait_for)} {int(own)}\n".encode(), *each, wait_for]
        opened, refused, took = self._ask("opened", *parts)
        return Opened(int(opened), int(refused), int(took) / 1e9)

    def receive_buffers(self, size: int) -> None:
        """Clients opened from now on have a receive buffer of `size` bytes, which does not grow."""
        self._ask("done", f"receive {size}\n".encode())

    def publisher(self, port: int, blobs: Sequence[bytes], *, answered: bool) -> None:
        """Connect what publishes; `blobs` are sent in turn, each answered by HTTP if `answered`."""
        parts = [f"publisher {port} {int(answered)} {len(blobs)}\n".encode()]
        for blob in blobs:
            parts += [f"{len(blob)}\n".encode(), blob]
        self._ask("ready", *parts)

    def run(
        self, seconds: float, *, rate: float = 0.0, each: int = 1, total: int = 0, sleeps: bool = False
    ) -> Ran:
        """Publish for so long: the next when everyone has the one before, or `rate` times a second.

        Every client that is not frozen gets `each` messages of a publish; with `each=0` all clients
        together get `total`.
        """
        head = self._ask("ran", f"run {round(seconds * 1000)} {rate} {each} {total} {int(sleeps)}\n".encode())
        publishes, messages, took, busy = map(int, head)
        latencies = tuple(int(text) / 1e9 for text in self._line().split())
        return Ran(publishes, messages, took / 1e9, busy / took, latencies)

    def wait(self, each: int, seconds: float) -> float | None:
        """Seconds until each client had `each` messages since the last run began; None if not in time."""
        lacking, took = map(int, self._ask("waited", f"wait {each} {round(seconds * 1000)}\n".encode()))
        return None if lacking else took / 1e9

    def settle(self, seconds: float) -> float:
        """Seconds until each client has all that was published since it was opened, were it frozen or not.

        Raises LoadFailed when something is lacking by then, or came twice. For runs with `each` only.
        """
        lacking, excessive, took = map(
            int, self._ask("settled", f"settle {round(seconds * 1000)}\n".encode())
        )
        if lacking or excessive:
            raise LoadFailed(f"{lacking} clients lack messages, {excessive} have too many")
        return took / 1e9

    def exactly(self, each: int, seconds: float) -> float:
        """Seconds until each client has `each` messages since it began to open.

        Raises LoadFailed when something is lacking by then, or came twice.
        """
        asked = f"exactly {each} {round(seconds * 1000)}\n".encode()
        lacking, excessive, took = map(int, self._ask("exactly", asked))
        if lacking or excessive:
            raise LoadFailed(f"{lacking} clients lack messages, {excessive} have too many")
        return took / 1e9

    def freeze(self, count: int) -> None:
        """The first `count` clients read nothing any more."""
        self._ask("done", f"freeze {count}\n".encode())

    def thaw(self) -> None:
        """They read on."""
        self._ask("done", b"thaw\n")

    def send(self, data: bytes) -> None:
        """Send the same bytes from every client, such as PONG."""
        self._ask("done", f"send {len(data)}\n".encode(), data)

    def close(self) -> None:
        """Reset every connection, the publisher's too."""
        self._ask("done", b"close\n")

    def _ask(self, expected: str, *parts: bytes) -> list[str]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"".join(parts))
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise LoadFailed(self._line() or "the load has ended") from error
        word, *rest = self._line().split()
        if word != expected:
            raise LoadFailed(" ".join([word, *rest]))
        return rest

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line:
            raise LoadFailed("the load has ended")
        return line


@contextlib.contextmanager
def load(address: str = "127.0.0.1", *, lost_s: float = 20.0) -> Iterator[Load]:
    """A load generator without clients yet. Raises LoadFailed where there is no C compiler.

    `lost_s`: a message that has not come after so much silence is lost.
    """
    with subprocess.Popen(
        [_program(), address, MARK.decode(), str(round(lost_s * 1000))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=_pin,
    ) as process:
        try:
            yield Load(process)
        finally:
            process.kill()


@functools.cache
def _program() -> str:
    """Compiled once; gone when this process ends."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise LoadFailed("no C compiler here: apt-get install gcc")
    folder = tempfile.mkdtemp(prefix="bench-load-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = f"{folder}/load"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE], check=True, stdout=sys.stderr)
    return program


def _pin() -> None:
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})
