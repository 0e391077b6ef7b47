"""The deal checker: one stored batch of prices after another, each in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

import structlog
import trio

from notifyd.checker.asking import explain_watch
from notifyd.checker.backtest import DEADLINE_S, backtest
from notifyd.checker.bulk import set_watches
from notifyd.checker.deciding import decide
from notifyd.checker.ending import Endings
from notifyd.checker.telling import notifications
from notifyd.checker.watching import set_watch
from notifyd.clock import Pace
from notifyd.errors import Unavailable
from notifyd.messages import encode_json
from notifyd.store import endings, runs, watches
from notifyd.store.watches import StateRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.checker.asking import WatchExplained
    from notifyd.checker.backtest import Tested
    from notifyd.checker.bulk import Setting
    from notifyd.checker.matching import Outcome
    from notifyd.checker.telling import Telling
    from notifyd.checker.watching import WatchSet
    from notifyd.errors import HttpError
    from notifyd.inbox import Inbox
    from notifyd.store.base import NewEntry, Store, Transaction
    from notifyd.store.runs import Run
    from notifyd.store.watch_rules import WatchSpec

log = structlog.get_logger("notifyd.checker")


class Checker:
    """Finds the deals in stored prices and appends a notification for each user they concern.

    A run is decided by reading alone; then one transaction of the inbox writes its notifications, the rules'
    states and the checker's cursor, unless the cursor or a watch it touches is no longer what was read, in
    which case nothing is written and the run is decided again. So a run that was stopped anywhere, or two
    checkers at once, neither miss nor repeat anything.
    """

    def __init__(self, store: Store, inbox: Inbox, clock: Callable[[], int], interval_s: float) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._interval_s = interval_s
        self._woken = trio.Event()
        self._testing = trio.Lock()
        self.endings = Endings(store, inbox, clock)

    def wake(self) -> None:
        """New prices are stored. Never waits."""
        self._woken.set()

    async def run(self) -> Never:
        """Check runs as they come, woken by `wake` and at least every `interval_s` seconds.

        Raises whatever the store or the inbox raises; running it again goes on where it was.
        """
        while True:
            self._woken = trio.Event()
            while await self.check_next():
                pass
            with trio.move_on_after(self._interval_s):
                await self._woken.wait()

    async def check_next(self) -> bool:
        """Deal with the oldest run that is left; False when there is none. Raises StoreError.

        Cancellation: the run is dealt with as a whole, or not at all.
        """
        run = await self._store.read(runs.next_run)
        if run is None:
            return False
        pace = Pace()
        outcome = await decide(self._store, run, pace)
        telling = await notifications(self._store, outcome.alerts, self._clock(), pace)
        commit = _Commit(run, outcome, telling)
        if await self._inbox.work(commit):
            self.endings.wake()
        else:
            log.info("a watch or the cursor changed meanwhile; checking the run again", run=run.run_id)
        return True

    async def set_watch(self, user_id: str, watch_id: str, spec: WatchSpec) -> WatchSet:
        """Set a watch and say what already meets it; see `watching.set_watch`."""
        return await set_watch(self._store, user_id, watch_id, spec)

    async def set_watches(self, wanted: Sequence[tuple[str, str, WatchSpec]]) -> list[Setting | HttpError]:
        """Set many watches; see `bulk.set_watches`."""
        return await set_watches(self._store, wanted)

    async def explain_watch(self, user_id: str, watch_id: str, after: str) -> WatchExplained | None:
        """Say why a watch did or did not fire last; see `asking.explain_watch`."""
        return await explain_watch(self._store, user_id, watch_id, after)

    async def backtest(self, spec: WatchSpec, after: str, limit: int) -> Tested:
        """Say what a watch would have told; one at a time, for they are long. Raises Unavailable."""
        with trio.move_on_after(DEADLINE_S):
            await self._testing.acquire()
            try:
                return await backtest(self._store, spec, after=after, limit=limit)
            finally:
                self._testing.release()
        raise Unavailable("Other backtests are running just now")


class _Commit:
    """What is written for a run; everything is built before the transaction begins."""

    def __init__(self, run: Run, outcome: Outcome, telling: Telling) -> None:
        keys = outcome.watch_keys()
        states = [
            StateRow(*key, int(state.armed), state.told, state.fired_ms)
            for key, state in outcome.states.items()
            if state is not None
        ]
        self._run = run
        self._telling = telling
        self._watch_count = len(keys)
        self._watch_keys = encode_json([(key,) for key in keys]).decode()
        self._state_keys = encode_json(list(outcome.states)).decode()
        self._states = encode_json(states).decode()

    def __call__(self, tx: Transaction) -> tuple[Sequence[NewEntry], bool]:
        if self._watch_count and not watches.are_there(tx, self._watch_keys, self._watch_count):
            return (), False
        if not runs.advance(tx, self._run):
            return (), False
        if self._watch_count:
            watches.replace_states(tx, self._state_keys, self._states)
        endings.add(tx, self._telling.ends)
        return self._telling.entries, True
