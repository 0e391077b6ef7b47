"""What the broker asks of whoever listens to it, so that it knows no transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.broker.window import Framer


class Listener(Protocol):
    """A live reader of the window: a connection, or a subscriber in this process.

    `visit` is synchronous and never waits: it hands over what the window holds after the listener's own
    position, as much as is accepted now, and moves the position. The listener itself goes on later with
    what was not accepted. It must not raise.
    """

    user_id: str

    @property
    def framer(self) -> Framer | None:
        """How entries look on its wire; None for a reader that takes them as they are: it is only visited."""
        ...

    def visit(self) -> None: ...

    @staticmethod
    def offer(listeners: Sequence[Any], data: bytes, after: int, up_to: int) -> None:
        """Visit many of a kind. `data`: all that lies in `(after, up_to]` for each, made by their framer."""
        ...
