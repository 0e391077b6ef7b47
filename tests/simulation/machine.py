"""The state machine: Hypothesis chooses steps and a seed, the simulated server does them, the model judges.

Hypothesis is not asynchronous and Trio's loop must not turn between two steps, or virtual time would run
away with it. So the world lives in a thread of its own whose loop stands still while the machine thinks:
strictly one of the two runs at a time, and the run stays the same for the same seed.
"""

from __future__ import annotations

import queue
import threading
from typing import Any

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from notifyd.testing import Simulation, run_simulation
from tests.simulation.world import SETTINGS, USERS, World

#: Virtual seconds in which every step must be over.
STEP_S = 3600.0


class Driver:
    """A world in its own thread; `do` lets it take one step."""

    def __init__(self, seed: int) -> None:
        self.world: World
        self.failed = False
        self._asked: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(seed,), name="simulation", daemon=True)
        self._thread.start()
        self._outcome()

    def do(self, name: str, **given: Any) -> None:
        """Take a step. Raises what it raises, or what any tab has seen meanwhile."""
        self._asked.put((name, given))
        self._outcome()

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()

    def _outcome(self) -> None:
        error = self._told.get()
        if error is not None:
            self.failed = True
            raise error

    def _run(self, seed: int) -> None:
        try:
            run_simulation(self._story, seed=seed, **SETTINGS)
        except BaseException as error:
            self._told.put(_only(error))

    async def _story(self, sim: Simulation) -> None:
        async with trio.open_nursery() as nursery:
            self.world = World(sim, nursery)
            await self.world.begin()
            self._told.put(None)
            while (step := self._asked.get()) is not None:
                with trio.fail_after(STEP_S):
                    await getattr(self.world, step[0])(**step[1])
                self._told.put(None)
            nursery.cancel_scope.cancel()


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


# --- what may be done -----------------------------------------------------------------------------------

TO = st.sampled_from([*USERS, None])
TAB = st.integers(0, 2)
STATES = st.sampled_from(["seen", "read", "archived"])
WANTED = st.none() | st.integers(1, 3)
BACK = st.integers(0, 5)
PUBLISH: dict[str, Any] = {
    "to": TO,
    "size": st.sampled_from([5, 5, 9_000]),
    "lifetime_s": st.sampled_from([None, None, 2.0, 60.0]),
}
CONNECT: dict[str, Any] = {
    "tab": TAB,
    "transport": st.sampled_from(["websocket", "sse"]),
    "where": st.sampled_from(
        ["on", "on", "on", "before", "beginning", "nowhere", "future", "other", "garbage"]
    ),
}
MARK: dict[str, Any] = {"tab": TAB, "state": STATES, "wanted": WANTED}


def _step(name: str, **given: Any) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(given))


#: What can be done beside each other. Each tab of its own, for a person does one thing at a time.
CROWD = st.lists(
    st.one_of(
        _step("publish", **PUBLISH),
        _step("publish", **PUBLISH),
        _step("repeat", back=BACK),
        _step("connect", **CONNECT),
        _step("mark", **MARK),
        _step("ack", tab=TAB),
        _step("withdraw", back=BACK),
    ),
    max_size=6,
    unique_by=lambda step: step[1].get("tab", id(step)),
)


class Notifyd(RuleBasedStateMachine):
    """Steps of users, publishers, operators and misfortune, in any order."""

    steps = deliveries = kills = examples = 0  # of all machines of this process

    driver: Driver | None = None

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.driver = Driver(seed)

    def do(self, name: str, **given: Any) -> None:
        assert self.driver is not None
        Notifyd.steps += 1
        self.driver.do(name, **given)

    @rule(**PUBLISH)
    def publish(self, **given: Any) -> None:
        self.do("publish", **given)

    @rule(back=BACK)
    def repeat(self, back: int) -> None:
        self.do("repeat", back=back)

    @rule(**CONNECT)
    def connect(self, **given: Any) -> None:
        self.do("connect", **given)

    @rule(tab=TAB)
    def leave(self, tab: int) -> None:
        self.do("leave", tab=tab)

    @rule(tab=TAB)
    def ack(self, tab: int) -> None:
        self.do("ack", tab=tab)

    @rule(**MARK)
    def mark(self, **given: Any) -> None:
        self.do("mark", **given)

    @rule(tab=TAB, count=st.integers(1, 12))
    def overflow(self, tab: int, count: int) -> None:
        self.do("overflow", tab=tab, count=count)

    @rule(tab=TAB)
    def wake(self, tab: int) -> None:
        self.do("wake", tab=tab)

    @rule()
    def trim(self) -> None:
        self.do("trim")

    @rule(seconds=st.sampled_from([0.3, 3.0, 15.0, 65.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        """Things expire, are trimmed, are pinged."""
        self.do("wait", seconds=seconds)

    @rule(back=BACK)
    def withdraw(self, back: int) -> None:
        self.do("withdraw", back=back)

    @rule(latency_s=st.sampled_from([0.0, 0.002, 0.3]), cut_chance=st.sampled_from([0.0, 0.1, 0.6]))
    def weather(self, latency_s: float, cut_chance: float) -> None:
        self.do("weather", latency_s=latency_s, cut_chance=cut_chance)

    @rule(steps=CROWD)
    def at_once(self, steps: list[Any]) -> None:
        self.do("at_once", steps=steps)

    @rule(
        point=st.sampled_from(["now", "before", "inside", "inside", "after", "after"]),
        count=st.integers(1, 9),
        of=st.sampled_from(["run_group", "run_group", ""]),
        steps=CROWD,
    )
    def kill(self, point: str, count: int, of: str, steps: list[Any]) -> None:
        self.do("kill", point=point, count=count, of=of, steps=steps)

    @rule()
    def restart(self) -> None:
        self.do("restart")

    def teardown(self) -> None:
        driver = self.driver
        if driver is None or driver.failed:
            return
        try:
            driver.do("settle")
        finally:
            if not driver.failed:
                driver.close()
            Notifyd.examples += 1
            Notifyd.deliveries += driver.world.shown
            Notifyd.kills += driver.world.kills
