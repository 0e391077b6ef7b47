"""What the broker asks of whoever listens to it, so that it knows no transport."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """A live reader of the window: a connection, or a subscriber in this process.

    `visit` is synchronous and never waits: it hands over what the window holds after the listener's own
    position, as much as is accepted now, and moves the position. The listener itself goes on later with
    what was not accepted. It must not raise.
    """

    user_id: str

    def visit(self) -> None: ...
