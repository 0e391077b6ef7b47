"""The server as a process of its own, on one port over all its lives, to be killed, paused and traced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import trio

from tests.chaos.publishers import ADMIN_KEY, PUBLISH_KEY
from tests.chaos.readers import SECRET, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
#: Seconds for starting; under strace or beside a load it is slower than the 2 s of the design.
START_S = 60.0


class ServerEnded(RuntimeError):
    """The process ended before it listened; the text has its last words."""


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """`folder` holds the database and the log of each life; `url` of the database may be given instead."""

    folder: Path
    database_url: str
    target: Target = field(default_factory=Target)
    settings: dict[str, str] = field(default_factory=dict)
    command: Sequence[str] = ("-m", "notifyd", "serve")
    process: trio.Process | None = None
    lives: int = 0
    started_in_s: list[float] = field(default_factory=list)
    started_with_cpu_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.target.port == 0:
            self.target.port = free_port()
        self.port = self.target.port

    @property
    def log(self) -> Path:
        """Standard error of the life that goes on, or went on last."""
        return self.folder / f"server-{self.lives}.log"

    @property
    def pid(self) -> int:
        """Of the server itself, also when strace stands in front of it."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if Path(f"/proc/{self.process.pid}/comm").read_text().strip() == "strace":
            return int(children.read_text().split()[0])
        return self.process.pid

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")}
        settings = {
            "NOTIFYD_JWT_SECRET": SECRET,
            "NOTIFYD_PUBLISH_KEYS": PUBLISH_KEY,
            "NOTIFYD_ADMIN_KEYS": ADMIN_KEY,
            "NOTIFYD_LISTEN": f"127.0.0.1:{self.port}",
            "NOTIFYD_DATABASE_URL": self.database_url,
            "NOTIFYD_DRAIN_SECONDS": "0.5",
            "NOTIFYD_MAX_CONNECTIONS_PER_USER": "100000",
            "NOTIFYD_MAX_ROWS_PER_USER": "10000000",
            "NOTIFYD_CANARY_SECONDS": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }
        return clean | settings | self.settings | dict(more)

    async def start(
        self,
        *,
        command: Sequence[str] | None = None,
        before: Sequence[str] = (),
        wait: bool = True,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Begin a life. `before`: a program in front, as strace. `more`: environment. Raises ServerEnded."""
        self.lives += 1
        began = time.monotonic()
        with self.log.open("wb") as errors:
            self.process = await trio.lowlevel.open_process(
                [*before, sys.executable, *(command or self.command)],
                env=self.environment(more or {}),
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        if wait:
            await self.listening()
            self.started_in_s.append(time.monotonic() - began)
            self.started_with_cpu_s.append(self.cpu_s())

    async def listening(self) -> None:
        """Until it says that it listens. Raises ServerEnded."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = b""
        with trio.fail_after(START_S):
            while not line.endswith(b"\n"):
                part = await self.process.stdout.receive_some(1000)
                if not part:
                    await self.wait()
                    raise ServerEnded(self.last_words())
                line += part

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the server itself, if it still runs."""
        with suppress(ProcessLookupError, FileNotFoundError, IndexError):
            os.kill(self.pid, number)

    async def kill(self) -> None:
        """kill -9, and wait until nothing of it is left."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def wait(self, within_s: float = 60.0) -> int:
        """Until it has ended; how. Raises TooSlowError."""
        assert self.process is not None
        with trio.fail_after(within_s):
            status = await self.process.wait()
        if self.process.stdout is not None:
            await self.process.stdout.aclose()
        return status

    async def stop(self) -> int:
        """SIGTERM, and wait."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def end(self) -> None:
        """At the end of a run: gone, whatever state it is in."""
        if self.process is not None and self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            if self.running and self.process.poll() is None:
                with trio.move_on_after(2):
                    await self.process.wait()
            if self.running:
                self.process.kill()
            await self.wait()

    # --- asking ----------------------------------------------------------------------------------------

    async def status_of(self, path: str, timeout_s: float = 5.0) -> int:
        """The HTTP status of a GET, 0 when there is no answer."""
        async with httpx2.AsyncClient(trust_env=False, timeout=timeout_s) as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.port}{path}")
            except httpx2.TransportError:
                return 0
            return answer.status_code

    def cpu_s(self) -> float:
        """Processor time that the process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kb(self) -> int:
        """Memory of the process now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def ask_for_tasks(self) -> None:
        """Have a victim with CHAOS_TASKS count its tasks."""
        Path(self.settings["CHAOS_TASKS"]).unlink(missing_ok=True)
        self.signal(signal.SIGUSR2)

    def tasks(self) -> int | None:
        """How many tasks it had when it was asked; None: it has not answered yet."""
        told = Path(self.settings["CHAOS_TASKS"])
        return int(told.read_text()) if told.exists() else None

    def descriptors(self) -> int:
        """Open file descriptors of the process now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))
