"""What a server gets from outside of its own code, besides the clock; `notifyd.testing` hands in others.

With these three, the clock and Trio's scheduler in one seed's hand, a whole server runs the same way twice.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from notifyd.transport.network import KERNEL, Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.store.sql import InThread


@dataclass(frozen=True, kw_only=True)
class Outside:
    """`network`: where sockets come from. `in_thread`: how a database call is run, as
    trio.to_thread.run_sync does. `draw`: so many random bytes as hexadecimal text, for ids and epochs.
    """

    network: Network = KERNEL
    in_thread: InThread = trio.to_thread.run_sync
    draw: Callable[[int], str] = secrets.token_hex
