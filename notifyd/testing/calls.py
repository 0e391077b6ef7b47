"""Database calls without threads: each is done at once, after and before a wait that a seed has drawn.

The waits stand for a thread that starts late and an answer that comes late; in between everything else in
the server may happen. And a call is where a server can be killed: before it, in the middle of its
transaction, or when its commit is done and nobody has been told.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import trio
from sqlalchemy import Engine, event

from notifyd.errors import Unavailable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    #: Where in a call the server dies.
    Point = Literal["before", "inside", "after"]


_KILLED: Final = "the server was killed"


class Died(BaseException):
    """The server was killed at this very place; a transaction that is open does not come to its end."""


class InlineCalls:
    """Stands in for trio.to_thread.run_sync, as `Outside.in_thread`, for one life of a server.

    `wait_s`: the longest of each of the two waits. `on_death` is called, once, where `die` has said.
    `told` hears of every call: its name.
    """

    def __init__(self, rng: random.Random, told: Callable[[str], None] = lambda _: None) -> None:
        self.wait_s = 0.01
        self.on_death: Callable[[], None] = lambda: None
        self._rng = rng
        self._told = told
        self._dead = False
        self._point: Point | None = None
        self._left = 0  # calls, or statements for "inside", until the point
        self._of = ""
        self._name = ""  # of the call that runs now

    def die(self, point: Point, count: int = 1, of: str = "") -> None:
        """Die before or after the `count`-th call from now, or instead of the `count`-th statement.

        `of`: count only calls with this in their name, as `run_group`, which writes the log.
        """
        self._point, self._left, self._of = point, count, of

    def kill(self) -> None:
        """From now on nothing is done any more, whoever asks: all calls raise Unavailable."""
        self._dead = True

    async def __call__(
        self, work: Callable[..., Any], *args: Any, limiter: Any = None, abandon_on_cancel: bool = False
    ) -> Any:
        """Cancellation: the thread would go on, so the call is done all the same."""
        if limiter is None:
            return await self._call(work, args)
        me = object()
        await limiter.acquire_on_behalf_of(me)
        try:
            return await self._call(work, args)
        finally:
            limiter.release_on_behalf_of(me)

    async def _call(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        try:
            await trio.sleep(self._rng.random() * self.wait_s)
        except trio.Cancelled:
            with suppress(Exception):  # nobody hears of it
                self._do(work, args)
            raise
        result = self._do(work, args)
        await trio.sleep(self._rng.random() * self.wait_s)
        self._check()
        return result

    def _do(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self._check()
        self._name = _name_of(work, args)
        try:
            self._reach("before")
            self._told(self._name)
            result = work(*args)
            self._reach("after")
        except Died:
            raise Unavailable(_KILLED) from None
        finally:
            self._name = ""
        return result

    def _reach(self, point: Point) -> None:
        """The server has come to such a point, and dies there when it was the last that was to be passed."""
        if self._point == point and self._of in self._name:
            self._left -= 1
            if self._left == 0:
                self._dead = True
                self._point = None
                self.on_death()
                raise Died

    def _check(self) -> None:
        if self._dead:
            raise Unavailable(_KILLED)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around all use of a database, for deaths "inside": looks before each statement of a call."""

        def before_statement(*_: Any) -> None:
            if self._name:
                self._reach("inside")

        event.listen(Engine, "before_cursor_execute", before_statement)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", before_statement)


def _name_of(work: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What a call does, for people: the function that it is handed."""
    target = args[0] if args and callable(args[0]) else work
    while isinstance(target, partial):
        target = target.func
    return str(getattr(target, "__qualname__", target))
