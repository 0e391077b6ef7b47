"""One-line sabotages of notifyd, each of which the short tier must catch; applied in a process of its own.

Each function changes one thing that notifyd does right. `CAUGHT_AS` says by which classes of the checker it
must be found, at least one of them.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from sqlalchemy import func, select

from notifyd.broker.memory import Broker
from notifyd.broker.window import Window
from notifyd.errors import CommitFailed, Unavailable
from notifyd.inbox import group, inbox, reading
from notifyd.inbox import writer as writing
from notifyd.messages import Cursor
from notifyd.store import log, sql
from notifyd.store.base import LogPage
from notifyd.store.schema import notifications
from notifyd.transport.feed import Feed
from notifyd.transport.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

#: The answer must be out before the COMMIT, or the sabotage would hide itself.
HEAD_START_S = 0.05


def acknowledge_before_commit() -> None:
    """Answer publishers from inside the transaction."""

    def run_group(tx: Any, requests: Any, head: int, deliver: Any = None) -> Any:
        done = original(tx, requests, head, deliver)
        for request, outcome in zip(current[0], done.outcomes, strict=True):
            trio.from_thread.run_sync(request.answer, outcome, trio_token=token[0])
        time.sleep(HEAD_START_S if done.entries else 0)
        return done

    async def commit(self: Any, requests: Any) -> None:
        current[0], token[0] = requests, trio.lowlevel.current_trio_token()
        await commit_original(self, requests)

    original, commit_original = group.run_group, writing.Writer._commit
    current: list[Any] = [()]
    token: list[Any] = [None]
    writing.run_group = run_group  # type: ignore[attr-defined]
    writing.Writer._commit = commit  # type: ignore[method-assign, assignment]


def show_before_commit() -> None:
    """Put entries into the window from inside the transaction."""

    def run_group(tx: Any, requests: Any, head: int, deliver: Any = None) -> Any:
        done = original(tx, requests, head, deliver)
        if done.entries and brokers:
            trio.from_thread.run_sync(brokers[-1].publish, done.entries, trio_token=tokens[-1])
            time.sleep(HEAD_START_S)
        return done

    def begin(self: Any, *given: Any) -> None:
        begin_original(self, *given)
        brokers.append(self)
        tokens.append(trio.lowlevel.current_trio_token())

    original, begin_original = group.run_group, Broker.__init__
    brokers: list[Any] = []
    tokens: list[Any] = []
    writing.run_group = run_group  # type: ignore[attr-defined]
    Broker.__init__ = begin  # type: ignore[method-assign, assignment]


def live_before_caught_up() -> None:
    """Go live after the first look, whatever is left."""
    original = Feed._look
    Feed._look = lambda self: bool(original(self)) or not self.outbox.queued  # type: ignore[method-assign]


def head_is_max_seq() -> None:
    """Number by what is in the table instead of by the head in `meta`."""

    def allocate(tx: Any, rows: int) -> int:
        original(tx, rows)
        return int(tx.execute(select(func.max(notifications.c.seq))).scalar() or 0) + rows

    original = log.allocate
    log.allocate = allocate


def reuse_after_cut_send() -> None:
    """Forget what the kernel did not take, and go on with the next message."""

    def send(self: Any, data: bytes) -> bool:
        self.try_send(data)
        return True

    Outbox.send = send  # type: ignore[method-assign]


def forget_keys() -> None:
    """Never remember an Idempotency-Key."""
    log.answers = lambda tx, keys: {}


def repeat_the_cursor() -> None:
    """Replay from the cursor instead of after it."""
    original = inbox.Inbox.resume

    async def resume(self: Any, user_id: str, cursor: Any, **more: Any) -> Any:
        found = await original(self, user_id, cursor, **more)
        if found.recovered:
            found = type(found)(max(found.position - 1, 0), recovered=True, reason=None)
        return found

    inbox.Inbox.resume = resume  # type: ignore[method-assign]


def skip_after_the_cursor() -> None:
    """Go on one further than the client asked, and tell it what it asked for."""
    original = Feed.go_live

    def go_live(self: Any) -> None:
        self.position += 1
        original(self)

    Feed.go_live = go_live  # type: ignore[method-assign]


def page_is_always_complete() -> None:
    """Go to the head after every page of the log, full or not."""
    original = log.page

    def page(*given: Any, **more: Any) -> Any:
        found = original(*given, **more)
        return LogPage(found.entries, found.head, complete=True, trimmed=found.trimmed)

    log.page = page


def show_everybody_everything() -> None:
    """Look for the entries of one and the same user, whoever asks."""
    original = Window.join
    Window.join = lambda self, user_id, *rest: original(self, "user-0", *rest)  # type: ignore[method-assign]


def trust_any_cursor() -> None:
    """Take a cursor of any epoch, and any number, for one of this log."""

    def prove(text: str | None, epoch: str, head: int) -> Any:
        found = original(text, epoch, 2**62)
        return Cursor(epoch, int(str(text).rpartition("-")[2])) if found == "other-epoch" else found

    original = reading.prove
    reading.prove = prove


def go_on_after_failed_commit() -> None:
    """Answer a failed COMMIT like a busy database, and go on."""

    def commit(self: Any, connection: Any) -> None:
        try:
            original(self, connection)
        except CommitFailed:
            self._failed = None
            raise Unavailable from None

    original = sql.Database._commit
    sql.Database._commit = commit  # type: ignore[method-assign]
    sql.SqlStore._fail = lambda self: None  # type: ignore[method-assign]


def wake_nobody() -> None:
    """Commit and put into the window, but do not wake the dispatcher."""

    def publish(self: Any, entries: Any, withdrawn: frozenset[str] = frozenset()) -> None:
        self.window.put(entries, withdrawn)

    Broker.publish = publish  # type: ignore[method-assign]


def checker_cursor_first() -> None:
    """Move the checker's cursor in a transaction of its own, before what it found is written."""
    from notifyd.checker.loop import Checker
    from notifyd.store import runs

    original = Checker.check_next
    advance = runs.advance

    async def check_next(self: Any) -> bool:
        run = await self._store.read(runs.next_run)
        if run is not None:
            await self._store.write(partial(advance, run=run))
        runs.next_run, saved = (lambda tx: run), runs.next_run
        try:
            return await original(self)
        finally:
            runs.next_run = saved

    Checker.check_next = check_next  # type: ignore[method-assign]
    runs.advance = lambda tx, run: True


#: Name, what it does, and the classes of failure by which it shows.
SABOTAGES: dict[str, Callable[[], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        acknowledge_before_commit,
        show_before_commit,
        live_before_caught_up,
        head_is_max_seq,
        reuse_after_cut_send,
        forget_keys,
        repeat_the_cursor,
        skip_after_the_cursor,
        page_is_always_complete,
        show_everybody_everything,
        trust_any_cursor,
        go_on_after_failed_commit,
        wake_nobody,
        checker_cursor_first,
    )
}
