"""F17 and F18: the server in this very process, its jobs crashed one by one, its connections cancelled
at each of their checkpoints."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import structlog
import trio

from notifyd import service
from notifyd.config import Config
from notifyd.jobs import Jobs
from notifyd.logs import configure_logging
from notifyd.service import open_service
from notifyd.transport.feed import Feed
from tests.chaos.publishers import ADMIN_KEY, PUBLISH_KEY
from tests.chaos.readers import SECRET, Reader
from tests.chaos.run import Load, Run, fault
from tests.chaos.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from notifyd.service import Service
    from tests.chaos.world import World

#: The module, whose names are replaced for a while.
composition: Any = service
TRANSPORTS = ("websocket", "sse")
#: Seconds within which a crashed job works again (P13).
RESTART_S = 5.0
#: Longer than a job must run to count as well again, so that its backoff begins anew.
WELL_S = 5.5


@asynccontextmanager
async def in_process(world: World, **more: Any) -> AsyncIterator[Service]:
    """The service in this process, at the address where the world's server would be."""
    settings: dict[str, Any] = {
        "listen": f"127.0.0.1:{world.server.port}",
        "database_url": world.server.database_url,
        "jwt_secret": SECRET,
        "publish_keys": PUBLISH_KEY,
        "admin_keys": ADMIN_KEY,
        "drain_seconds": 0,
        "max_connections_per_user": 100_000,
        "max_rows_per_user": 10_000_000,
        "canary_seconds": 1,
    }
    async with open_service(Config(**settings), **more) as service:
        yield service


# --- F17 ------------------------------------------------------------------------------------------------


class Bombs:
    """Crashes any job at once, and knows when each was started."""

    def __init__(self) -> None:
        self.starts: dict[str, list[float]] = {}
        self._lit: dict[str, trio.Event] = {}
        self._fault: BaseException = RuntimeError()

    def wrapped(self, name: str, run: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        async def with_bomb() -> None:
            self.starts.setdefault(name, []).append(trio.current_time())
            self._lit[name] = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._go_off, self._lit[name])
                await run()

        return with_bomb

    async def _go_off(self, lit: trio.Event) -> None:
        await lit.wait()
        raise self._fault

    def crash(self, name: str, fault: BaseException) -> None:
        self._fault = fault
        self._lit[name].set()


@contextmanager
def bombs_in_jobs() -> Iterator[Bombs]:
    """Every job that is started in the block carries one."""
    bombs = Bombs()
    original = Jobs.start
    Jobs.start = lambda self, name, run: original(  # type: ignore[method-assign]
        self, name, bombs.wrapped(name, run)
    )
    try:
        yield bombs
    finally:
        Jobs.start = original  # type: ignore[method-assign]


@fault("jobs", "F17", promises="P2 P13", n=4)
async def jobs(run: Run) -> None:
    """Each job crashes N times, by RuntimeError, MemoryError, an exception group and KeyError in turn: it
    runs again within 5 s, no other job is touched, the log has one line for it, and nothing is lost."""
    faults = [
        RuntimeError("made up"),
        MemoryError(),
        ExceptionGroup("made up", [ValueError()]),
        KeyError("x"),
    ]
    load = Load(users=3, readers=6, publishers=1, pause_s=0.05, churn=0.01, transports=TRANSPORTS)
    with bombs_in_jobs() as bombs, structlog.testing.capture_logs() as logs:
        async with run.world(load) as world, in_process(world):
            await world.begin()
            for number in range(run.n):
                await trio.sleep(WELL_S)
                for name in sorted(bombs.starts):
                    await _crash(run, bombs, logs, name, faults[number % len(faults)])
                run.progress(f"{run.trials} crashes")
            await world.settle()
            await world.read_inboxes()


async def _crash(run: Run, bombs: Bombs, logs: list[Any], name: str, fault: BaseException) -> None:
    before = {job: len(starts) for job, starts in bombs.starts.items()}
    logs.clear()
    began = trio.current_time()
    bombs.crash(name, fault)
    try:
        await until(lambda: len(bombs.starts[name]) > before[name], RESTART_S)
    except trio.TooSlowError:
        run.fail(f"{name} was not restarted within {RESTART_S:g} s after {fault!r}")
    run.most("restart_s", trio.current_time() - began)
    after = {job: len(starts) for job, starts in bombs.starts.items() if job != name}
    run.expect(all(before[job] == count for job, count in after.items()), f"{name} took others with it")
    lines = [line for line in logs if line.get("event") == "job crashed"]
    run.expect(len(lines) == 1, f"{len(lines)} lines in the log for one crash of {name}")
    run.trials += 1


# --- F18 ------------------------------------------------------------------------------------------------


class Sweep(trio.abc.Instrument):
    """Cancels the next connection's task (or pump) before its `step`-th turn."""

    def __init__(self) -> None:
        self.kind = ""
        self.step = 0
        self.reached = False
        self._task: trio.lowlevel.Task | None = None
        self._scope: trio.CancelScope | None = None
        self._turns = 0

    def aim(self, kind: str, step: int) -> None:
        """`kind` is websocket, sse or pump."""
        self.kind, self.step, self.reached = kind, step, False
        self._task = self._scope = None
        self._turns = 0

    @contextmanager
    def aimed_at(self, kind: str) -> Iterator[None]:
        """Around what a task does, if it is the one."""
        if kind != self.kind or self._task is not None or self.reached:
            yield
            return
        with trio.CancelScope() as self._scope:
            self._task = trio.lowlevel.current_task()
            yield

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task and self._scope is not None:
            self._turns += 1
            if self._turns == self.step:
                self.reached = True
                self._scope.cancel()
                self._task = None


@contextmanager
def sweeping() -> Iterator[Sweep]:
    """Connections and pumps that begin in the block can be aimed at."""
    sweep = Sweep()
    websocket, sse, pump = composition.serve_websocket, composition.serve_sse, Feed._pump

    def aimed(kind: str, serve: Any) -> Any:
        async def serve_aimed(*given: Any, **more: Any) -> None:
            with sweep.aimed_at(kind):
                await serve(*given, **more)

        return serve_aimed

    async def pump_aimed(self: Any, scope: trio.CancelScope) -> None:
        if sweep.kind == "pump" and not sweep.reached and sweep._task is None:
            sweep._task, sweep._scope = trio.lowlevel.current_task(), scope
        await pump(self, scope)

    composition.serve_websocket = aimed("websocket", websocket)
    composition.serve_sse = aimed("sse", sse)
    Feed._pump = pump_aimed  # type: ignore[method-assign]
    trio.lowlevel.add_instrument(sweep)
    try:
        yield sweep
    finally:
        trio.lowlevel.remove_instrument(sweep)
        composition.serve_websocket, composition.serve_sse = websocket, sse
        Feed._pump = pump  # type: ignore[method-assign]


@fault("cancel", "F18", promises="P2 P3 P12", n=25)
async def cancel(run: Run) -> None:
    """A connection is cancelled before its 1st, 2nd, … N-th turn, for both transports and for the pump that
    works off what waits: no trace of it stays, no frame is cut and followed, nothing is lost."""
    configure_logging("error", "console")
    load = Load(users=1, readers=0, publishers=1, pause_s=0.01, padding=12_000, churn=0)
    reached = 0
    for kind in ("websocket", "sse", "pump"):
        with sweeping() as sweep:
            async with run.world(load) as world, in_process(world, window_entries=20) as service:
                sweep.aim("", 0)
                for transport in TRANSPORTS:
                    world.add_reader(
                        transport, world.users[0], churn=0, receive_buffer=4096, stall=0.2, ack_every=1
                    )
                    world.readers[-1].stall_s = 0.05
                await world.all_connected()
                world.start_publisher(world.add_publisher())
                for step in range(1, run.n + 1):
                    sweep.aim(kind, step)
                    reader = world.readers[step % 2 if kind == "pump" else TRANSPORTS.index(kind)]
                    reached += await _cancel_one(run, world, service, sweep, reader)
                    run.trials += 1
                await world.settle()
                await world.read_inboxes()
        run.progress(f"{kind}: {run.trials} cancelled, {reached} in the middle")
    run.figures["reached"] = reached


async def _cancel_one(run: Run, world: World, service: Service, sweep: Sweep, reader: Reader) -> bool:
    reader.drop()
    with trio.move_on_after(1.5):
        await until(lambda: sweep.reached, 10, every_s=0.005)
    reached = sweep.reached
    sweep.aim("", 0)
    await world.all_connected(10)
    try:
        await until(lambda: len(service.connections) == len(world.readers), 3)
    except trio.TooSlowError:
        run.fail(f"{len(service.connections)} connections are known of {len(world.readers)}")
    live = service.broker.live(None)
    run.expect(live <= len(world.readers), f"the broker knows {live} of {len(world.readers)}")
    return reached
