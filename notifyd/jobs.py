"""Jobs that run as long as the server: each supervised, so that a crash is one log line and a restart."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: Seconds before the first restart; it doubles with each crash that follows soon, up to MAX_BACKOFF_S.
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 60.0
#: A restarted job that has run this long counts as well again.
WELL_AFTER_S = 5.0
#: /readyz turns false when a job has been down longer than this.
DOWN_AFTER_S = 15.0

log = structlog.get_logger("notifyd.jobs")


@dataclass
class Job:
    """One supervised job. Times are of Trio's clock, in seconds."""

    name: str
    run: Callable[[], Awaitable[object]]
    restarts: int = 0
    crashes_in_a_row: int = 0
    started_at: float = 0.0
    down_since: float | None = None
    running: bool = False

    def begin(self, now: float) -> None:
        self.started_at = now
        self.running = True

    def crashed(self, now: float) -> float:
        """Note a crash and give the seconds to wait before the next start."""
        if self._well(now):
            self.down_since = None
            self.crashes_in_a_row = 0
        if self.down_since is None:
            self.down_since = now
        self.running = False
        self.restarts += 1
        self.crashes_in_a_row += 1
        return min(FIRST_BACKOFF_S * 2.0 ** (self.crashes_in_a_row - 1), MAX_BACKOFF_S)

    def seconds_down(self, now: float) -> float:
        """How long it has not been working; 0 when it is well."""
        return 0.0 if self.down_since is None or self._well(now) else now - self.down_since

    def _well(self, now: float) -> bool:
        return self.running and now - self.started_at >= WELL_AFTER_S


@dataclass(frozen=True)
class JobStatistics:
    """How one job is doing."""

    name: str
    restarts: int
    seconds_down: float


class Jobs:
    """The running jobs; they end when `open_jobs` is left."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._jobs: dict[str, Job] = {}

    def start(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """Run `run` for ever, again after every crash. A job that returns has crashed too."""
        job = self._jobs[name] = Job(name, run)
        self._nursery.start_soon(self._supervise, job, name=f"job {name}")

    async def _supervise(self, job: Job) -> None:
        while True:
            job.begin(trio.current_time())
            fault = await _fault_of(job.run)
            pause = job.crashed(trio.current_time())
            log.error("job crashed", job=job.name, restart_in_s=pause, exc_info=fault)
            await trio.sleep(pause)

    def down(self, longer_than_s: float = DOWN_AFTER_S) -> list[str]:
        """Names of the jobs that have not been working for longer than this."""
        now = trio.current_time()
        return [job.name for job in self._jobs.values() if job.seconds_down(now) > longer_than_s]

    def statistics(self) -> list[JobStatistics]:
        now = trio.current_time()
        return [
            JobStatistics(job.name, job.restarts, round(job.seconds_down(now), 3))
            for job in self._jobs.values()
        ]


async def _fault_of(run: Callable[[], Awaitable[object]]) -> Exception:
    """Run to the end and give what ended it. Cancellation from outside passes through, even in a group."""
    faults: list[Exception] = []
    try:
        await run()
    except* Exception as group:
        faults.append(group if len(group.exceptions) > 1 else _only(group))
    return faults[0] if faults else RuntimeError("it returned")


def _only(group: ExceptionGroup[Any]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def open_jobs() -> AsyncIterator[Jobs]:
    """A nursery for jobs; leaving it cancels them."""
    async with trio.open_nursery() as nursery:
        yield Jobs(nursery)
        nursery.cancel_scope.cancel()
