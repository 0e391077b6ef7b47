"""Clients that have not shown who they are: how many at once, and how often one address may fail.

Whoever shows a valid token is never counted, however many bad ones come from the same address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from notifyd.errors import TooManyRequests, Unavailable
from notifyd.limits import Limits, Rates, shared_address

if TYPE_CHECKING:
    from notifyd.transport.connection import Lane
    from notifyd.transport.head import RequestHead

#: Seconds over which the failures of one address are counted.
WINDOW_S: Final = 10.0


class TooManyStrangers(Unavailable):
    """Their places are free again within seconds: each has `auth_seconds`."""

    slug, title = "too-many-unauthenticated", "Too many connections still owe their token"
    retry_after_s = 5


class TooManyFailures(TooManyRequests):
    slug, title = "too-many-failures", "Too many handshakes of this address had no valid token"
    retry_after_s = 10


class Strangers:
    """Counts those who owe their token, and the failures of each address."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._limit = limits.max_unauthenticated
        self._failures = Rates(limits.failed_handshakes / WINDOW_S, limits.failed_handshakes)
        self._waiting: dict[str, str | None] = {}  # the address of each, by the connection's id

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, connection_id: str, address: str | None) -> None:
        """A connection will say who it is in its first frame. Raises TooManyStrangers, TooManyFailures."""
        if len(self._waiting) >= self._limit:
            raise TooManyStrangers
        self.failed(address)  # taken back by what follows, or not
        self._waiting[connection_id] = address

    def known(self, connection_id: str) -> None:
        """It has said so."""
        address = self._waiting.pop(connection_id, None)
        if address is not None:
            self._failures.give_back(address)

    def left(self, connection_id: str) -> None:
        """It is closing, or has gone."""
        self._waiting.pop(connection_id, None)

    def failed(self, address: str | None) -> None:
        """A handshake had no valid token. Raises TooManyFailures when that is one too many."""
        if address is not None and not self._failures.take(address, trio.current_time()):
            raise TooManyFailures


def failing_address(head: RequestHead, lane: Lane) -> str | None:
    """Whose failure it is. None for nobody's in particular: this machine, or a proxy that names no client."""
    if lane.config.trusted_hops and head.header("x-forwarded-for") is None:
        return None
    return shared_address(head.peer)
