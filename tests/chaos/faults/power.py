"""F3: power cuts. One recorded run, and thousands of disks that it may have left."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from notifyd.errors import ConfigError
from notifyd.logs import configure_logging
from notifyd.store.care import examine
from tests.chaos.power.images import Disk
from tests.chaos.power.recording import build, environment, read_steps
from tests.chaos.publishers import open_http
from tests.chaos.run import Load, Run, fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.power.recording import Step
    from tests.chaos.world import World

#: Publications of the recorded run, and how many applications ask at once.
PUBLICATIONS = 240
PUBLISHERS = 3
#: Bytes of each, so that the write-ahead log is checkpointed in the middle, too.
PADDING = 20_000
#: Times that the server is stopped or killed, and started again, in the recorded run.
LIVES = 3


class Promise(NamedTuple):
    """A publication, and where the recording stood when it was acknowledged."""

    at: int
    value: str


class Recorded(NamedTuple):
    """What was on the disk before, what was done to it, and what was promised meanwhile."""

    before: dict[str, bytes]
    steps: Sequence[Step]
    promises: Sequence[Promise]


@fault("power-cut", "F3", promises="P1", n=2_000, needs=("gcc",), only="sqlite")
async def power_cut(run: Run) -> None:
    """Every write and sync of a server's files is recorded, over a checkpoint, a stop and a kill. From it N
    disks are made that a power cut may leave: all that was synced, and of the rest what chance keeps, in any
    order, torn at sectors. Each opens clean and has every row acknowledged before the cut."""
    configure_logging("error", "console")
    recorded = await record(run)
    run.figures |= {"steps": len(recorded.steps), "publications": len(recorded.promises)}
    await trio.to_thread.run_sync(try_images, run, recorded)


async def record(run: Run) -> Recorded:
    """One server, killed and stopped and started again while applications publish."""
    async with run.world(Load(users=2, readers=0, publishers=0), NOTIFYD_LOG_LEVEL="error") as world:
        folder = world.folder / "disk"
        await trio.Path(folder).mkdir()
        world.server.database_url = f"sqlite:///{folder}/notifyd.db"
        library = await trio.to_thread.run_sync(build, world.folder)
        await world.server.start()
        await world.server.stop()
        before = _contents(folder)
        recording = world.folder / "recording"
        promises: list[Promise] = []
        for life in range(LIVES):
            await world.server.start(more=environment(library, recording, folder))
            async with trio.open_nursery() as nursery:
                for number in range(PUBLISHERS):
                    nursery.start_soon(_publish, world, f"{life}-{number}", recording, promises)
            await (world.server.kill() if life % 2 else world.server.stop())
        return Recorded(before, list(read_steps(recording)), promises)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.resolve()): file.read_bytes() for file in folder.glob("notifyd.db*")}


async def _publish(world: World, name: str, recording: Path, promises: list[Promise]) -> None:
    """One after another; what is acknowledged is noted with the size that the recording has by then."""
    async with open_http(world.server.target) as http:
        for number in range(PUBLICATIONS // LIVES // PUBLISHERS):
            value = f"{name}-{number}"
            data = {"value": value, "padding": "x" * PADDING}
            body = {"user_id": world.users[number % 2], "type": "x-power", "data": data}
            answer = await http.post(f"{world.server.target.url}/v1/notifications", json=body)
            assert answer.status_code == 201, answer.text
            promises.append(Promise(_size(recording), value))


def _size(file: Path) -> int:
    return file.stat().st_size


def try_images(run: Run, recorded: Recorded, *, syncs: bool = True) -> None:
    """Make `run.n` images at random places of the recording, and look at each. Blocks."""
    disk = Disk(recorded.before, syncs=syncs)
    places = sorted(run.rng.randrange(len(recorded.steps)) for _ in range(run.n))
    taken = 0
    for place in places:
        for step in recorded.steps[taken : place + 1]:
            disk.take(step)
        taken = max(taken, place + 1)
        end = recorded.steps[place].end
        promised = {promise.value for promise in recorded.promises if promise.at <= end}
        _look(run, disk.image(run.rng), promised)
        run.trials += 1
        if run.trials % 200 == 0:
            run.progress(f"{run.trials} of {run.n}")


def _look(run: Run, image: dict[str, bytes], promised: set[str]) -> None:
    """The database of an image is sound, and holds what was promised."""
    folder = run.folder / f"image-{run.trials}"
    folder.mkdir(parents=True)
    for path, content in image.items():
        (folder / Path(path).name).write_bytes(content)
    failures = len(run.failures)
    try:
        problems = examine(f"sqlite:///{folder}/notifyd.db").problems
        run.expect(not problems, f"image {run.trials}: {problems}")
        missing = promised - set(_values(folder / "notifyd.db"))
        run.expect(not missing, f"image {run.trials}: {len(missing)} acknowledged rows are lost")
    except (ConfigError, sqlite3.Error) as error:
        run.fail(f"image {run.trials}: {error!r}")
    if len(run.failures) == failures:
        shutil.rmtree(folder)


def _values(database: Path) -> Iterator[str]:
    with closing(sqlite3.connect(database)) as connection:
        yield from (
            value
            for (value,) in connection.execute(
                "SELECT json_extract(CAST(data AS TEXT), '$.value') FROM notifications WHERE type = 'x-power'"
            )
        )
