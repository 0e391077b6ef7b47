"""`notifyd serve` that kills itself at a named point, or was sabotaged: `python -m tests.chaos.victim`.

Nothing of this is in notifyd: this process wraps functions of its own copy before it serves, so that what is
shipped carries no hooks. By environment variables:

    CHAOS_POINT     POINT:COUNT, kill -9 when the point is passed for the COUNT-th time
    CHAOS_ARMED     signal: count only after SIGUSR1; otherwise from the start
    CHAOS_SABOTAGE  name of a sabotage (tests/chaos/sabotage.py)
    CHAOS_MAIL      quick: pauses, leases and deadlines of mail are a fraction of what they are
    CHAOS_WINDOW    entries of the window, so that a small one overflows
    CHAOS_TASKS     a file into which SIGUSR2 writes how many tasks Trio has

Whatever is counted in a thread or on the loop, the process ends there and then, with nothing written after.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from sqlalchemy import event

from notifyd import service
from notifyd.broker.memory import Broker
from notifyd.checker import loop
from notifyd.config import load_config
from notifyd.errors import ConfigError
from notifyd.inbox import writer as writing
from notifyd.inbox.upkeep import Acks
from notifyd.inbox.writer import Request
from notifyd.store import log, runs, sql, watches
from notifyd.transport.connection import Connection
from notifyd.transport.feed import Feed
from notifyd.transport.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where a process can be made to end: object and name of the function, `-before` or `-after` it ran.
POINTS: dict[str, tuple[Any, str]] = {
    "append": (log, "append"),
    "remember": (log, "remember"),
    "commit": (sql.Database, "_commit"),
    "window": (Broker, "publish"),
    "answer": (Request, "answer"),
    "visit": (Feed, "visit"),
    "write": (Outbox, "try_send"),
    "resume": (Feed, "go_live"),
    "end": (Connection, "end"),
    "ack": (Acks, "_written"),
    "rule-state": (watches, "replace_states"),
    "checker-cursor": (runs, "advance"),
    "checker-commit": (loop._Commit, "__call__"),
}
#: Also points: each statement of the writer's connection, and each COMMIT that has a publication in it.
STATEMENT = "statement"
PUBLICATION = "publication"


class Trap:
    """Ends the process at the COUNT-th passing."""

    def __init__(self, count: int, armed: bool) -> None:
        self.left = count
        self.armed = armed

    def arm(self, *_: object) -> None:
        self.armed = True

    def passed(self) -> None:
        if self.armed:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def names() -> list[str]:
    """Every point that can be asked for."""
    return [STATEMENT, PUBLICATION] + [f"{name}-{when}" for name in POINTS for when in ("before", "after")]


def set_trap(point: str, trap: Trap) -> None:
    """Have `trap` count passings of `point`."""
    if point == STATEMENT:
        _count_statements(trap)
        return
    if point == PUBLICATION:
        _count_publications(trap)
        return
    name, _, when = point.rpartition("-")
    owner, attribute = POINTS[name]
    setattr(owner, attribute, _wrapped(getattr(owner, attribute), trap, when))


def _wrapped(function: Callable[..., Any], trap: Trap, when: str) -> Callable[..., Any]:
    @wraps(function)
    def counted(*given: Any, **more: Any) -> Any:
        if when == "before":
            trap.passed()
        result = function(*given, **more)
        if when == "after":
            trap.passed()
        return result

    return counted


def _count_statements(trap: Trap) -> None:
    original = sql.Database.__init__

    def begin(self: Any, dialect: Any) -> None:
        original(self, dialect)
        event.listen(self.writer_engine, "before_cursor_execute", lambda *_: trap.passed())

    sql.Database.__init__ = begin  # type: ignore[method-assign]


def _count_publications(trap: Trap) -> None:
    run_group, commit = writing.run_group, sql.Database._commit  # type: ignore[attr-defined]
    has_any = False

    def noting(tx: Any, requests: Any, head: int, deliver: Any = None) -> Any:
        nonlocal has_any
        done = run_group(tx, requests, head, deliver)
        has_any = any(entry.type == "x-chaos" for entry in done.entries)
        return done

    def committing(self: Any, connection: Any) -> None:
        nonlocal has_any
        if has_any:
            trap.passed()
        has_any = False
        commit(self, connection)

    writing.run_group = noting  # type: ignore[attr-defined]
    sql.Database._commit = committing  # type: ignore[method-assign]


def make_mail_quick() -> None:
    """A minute passes in a tenth of a second, and whoever hangs is left after some."""
    from notifyd.mail import retrying, sender, smtp

    retrying.FIRST_MS = 100  # type: ignore[misc]
    sender.TRY_S = 5.0  # type: ignore[misc]
    defaults: Any = sender.Sender.__init__.__kwdefaults__
    defaults["lease_s"] = 6.0
    for name in ("CONNECT_S", "COMMAND_S", "DATA_S"):
        setattr(smtp, name, 2.0)


def _tell_tasks(*_: object) -> None:
    """In the main thread, between two steps of the loop."""
    file = Path(os.environ["CHAOS_TASKS"])
    replacement = file.with_suffix(".new")
    replacement.write_text(str(trio.lowlevel.current_statistics().tasks_living))
    os.replace(replacement, file)


def main() -> int:
    """Prepare as the environment says, and serve."""
    if "CHAOS_SABOTAGE" in os.environ:
        from tests.chaos.sabotage import SABOTAGES

        SABOTAGES[os.environ["CHAOS_SABOTAGE"]]()
    if "CHAOS_POINT" in os.environ:
        point, _, count = os.environ["CHAOS_POINT"].partition(":")
        trap = Trap(int(count), os.environ.get("CHAOS_ARMED") != "signal")
        signal.signal(signal.SIGUSR1, trap.arm)
        set_trap(point, trap)
    if "CHAOS_MAIL" in os.environ:
        make_mail_quick()
    if "CHAOS_TASKS" in os.environ:
        signal.signal(signal.SIGUSR2, _tell_tasks)
    if "CHAOS_WINDOW" in os.environ:
        entries = int(os.environ["CHAOS_WINDOW"])
        service.open_service = partial(service.open_service, window_entries=entries)
    try:
        trio.run(service.serve, load_config())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
