"""Commands that look after the database: backup, restore-epoch, doctor."""

import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import Parameter

from notifyd.cli.options import ConfigFile, say, settings_flags
from notifyd.cli.server import notes
from notifyd.config import Config, load_config
from notifyd.errors import ConfigError

#: Seconds between two lines about the progress.
TELL_EVERY_S = 1.0
#: Descriptors that a server for many clients needs (design: sockets up to the limit less 512).
MANY_DESCRIPTORS = 4096
#: Free bytes beside the database below which the disk will be full soon.
LITTLE_SPACE = 200_000_000
#: File systems that forget, or that do not keep SQLite's locks and syncs.
_UNFIT = {
    "tmpfs": "it lies in memory: a restart of the machine loses everything",
    "ramfs": "it lies in memory: a restart of the machine loses everything",
    "nfs": "it lies on a network, where locks and syncs cannot be relied on",
    "nfs4": "it lies on a network, where locks and syncs cannot be relied on",
    "cifs": "it lies on a network, where locks and syncs cannot be relied on",
    "fuse.sshfs": "it lies on a network, where locks and syncs cannot be relied on",
}


@settings_flags
async def backup(
    file: Annotated[Path, Parameter(help="where the copy goes; it must not exist")],
    *,
    config: ConfigFile = None,
    **settings: Any,
) -> None:
    """Copy the database to FILE while the server runs."""
    from notifyd.store.care import copy

    loaded = load_config(config, **settings)
    if file.exists():
        raise ConfigError(f"{file} exists; name a new file")
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent}")
    size = await trio.to_thread.run_sync(copy, loaded.database_url, file, _Teller(), abandon_on_cancel=True)
    print(f"{file}: {size:,} bytes. After restoring it run `notifyd restore-epoch`.")


class _Teller:
    """Tells the progress, from a thread, now and then."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: float) -> None:
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self._told = time.monotonic()
            say(f"{done:.0%}")


@settings_flags
def restore_epoch(*, config: ConfigFile = None, **settings: Any) -> None:
    """Give the log a new epoch, after a restore from a copy."""
    from notifyd.clock import wall_ms
    from notifyd.logs import configure_logging
    from notifyd.store.care import restore_epoch as restore

    loaded = load_config(config, **settings)
    configure_logging("warning", loaded.log_format)
    before, after = restore(loaded.database_url, wall_ms())
    print(f"the epoch was {before} and is {after}: whoever comes with an old cursor is told recovered: false")


@settings_flags
def doctor(*, config: ConfigFile = None, **settings: Any) -> int:
    """Look at the database and the settings, and say what breaks a promise."""
    from notifyd.store.care import examine

    loaded = load_config(config, **settings)
    health = examine(loaded.database_url)
    for name, value in health.facts.items():
        print(f"{name}: {value}")
    for note in [*notes(loaded), *_weak_settings(loaded), *_weak_place(loaded)]:
        print("note:", note)
    for problem in health.problems:
        print("problem:", problem)
    print(f"{len(health.problems)} problems" if health.problems else "no problems")
    return 1 if health.problems else 0


def _weak_settings(config: Config) -> list[str]:
    """Settings by which a promise is smaller than people may think."""
    found = []
    if config.drain_seconds == 0:
        found.append("drain_seconds is 0: at a restart all clients come back in one moment")
    if config.canary_seconds == 0:
        found.append("canary_seconds is 0: readiness does not notice a database that hangs")
    if config.retention_days < 1:
        found.append(f"retention_days is {config.retention_days:g}: who is away for a day is not caught up")
    if config.max_rows_per_user < 100:
        found.append(
            f"max_rows_per_user is {config.max_rows_per_user}: a burst pushes out what nobody has read"
        )
    if config.heartbeat_seconds > 60:
        found.append(
            f"heartbeat_seconds is {config.heartbeat_seconds:g}: proxies close connections that idle"
        )
    return found


def _weak_place(config: Config) -> list[str]:
    """What the machine lacks."""
    from notifyd.store.sql import is_postgres

    found = [] if is_postgres(config.database_url) else list(_weak_file(config.database_url))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MANY_DESCRIPTORS:
        found.append(f"at most {soft} file descriptors: no more than about {max(soft - 64, 0)} clients")
    return found


def _weak_file(url: str) -> Iterator[str]:
    """What is wrong with where the file lies, and with the SQLite that writes it."""
    from notifyd.store.care import existing_file
    from notifyd.store.sqlite import CHECKPOINT_RACE_FIXED

    path = existing_file(url).resolve()
    if (why := _UNFIT.get(_file_system(path))) is not None:
        yield f"{path}: {why}"
    space = os.statvfs(path.parent)
    if space.f_bavail * space.f_frsize < LITTLE_SPACE:
        yield f"only {space.f_bavail * space.f_frsize:,} bytes are free beside the database"
    if sqlite3.sqlite_version_info < CHECKPOINT_RACE_FIXED:
        fixed = ".".join(map(str, CHECKPOINT_RACE_FIXED))
        yield f"SQLite {sqlite3.sqlite_version}: before {fixed} a second writing program can damage the file"


def _file_system(path: Path) -> str:
    """The kind of file system under `path`; empty where it cannot be told."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    places = [(Path(fields[1]), fields[2]) for line in lines if len(fields := line.split()) > 2]
    under = [(place, kind) for place, kind in places if path.is_relative_to(place)]
    return max(under, key=lambda each: len(each[0].parts), default=(path, ""))[1]
