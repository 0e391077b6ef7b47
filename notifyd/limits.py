"""How much a client may ask for, and how often. Pure: no I/O, no clock, no Trio."""

from __future__ import annotations

import math
from ipaddress import IPv6Address, ip_address
from typing import Final

from msgspec import Struct

#: Names that one Rates tells apart; what comes on top shares one allowance.
MAX_NAMES: Final = 10_000
#: Seconds between two looks for names that need no place any more.
SWEEP_S: Final = 1.0
_OTHERS: Final = ""


class Limits(Struct, frozen=True):
    """What a stranger's connection may do; the settings of the same names say why."""

    max_message_bytes: int = 16 * 1024
    max_message_fragments: int = 64
    message_rate: float = 20.0
    message_burst: int = 40
    control_rate: float = 10.0
    control_burst: int = 20
    auth_seconds: float = 5.0
    max_unauthenticated: int = 200
    failed_handshakes: int = 20


class Rates:
    """Allowances by name: `burst` at once, and `rate` a second after that. Memory is bounded."""

    def __init__(self, rate: float, burst: float) -> None:
        self._each_s = 1 / rate
        self._burst_s = burst / rate
        self._due: dict[str, float] = {}  # when each name's allowance is whole again
        self._swept = -math.inf

    def take(self, name: str, now: float, count: int = 1) -> bool:
        """Use `count` of an allowance; False, and nothing is used, when it is gone.

        A count above what is left is let pass as long as anything is: it is paid for afterwards.
        """
        if name not in self._due and len(self._due) >= MAX_NAMES:
            self._sweep(now)
            name = name if len(self._due) < MAX_NAMES else _OTHERS
        due = max(self._due.get(name, now), now)
        if due + self._each_s > now + self._burst_s * (1 + 1e-9):
            return False
        self._due[name] = due + count * self._each_s
        return True

    def _sweep(self, now: float) -> None:
        """Forget whole allowances; seldom, so that a flood of names does not look through all for each."""
        if now - self._swept >= SWEEP_S:
            self._swept = now
            self._due = {each: due for each, due in self._due.items() if due > now}

    def give_back(self, name: str) -> None:
        """One that was taken should not have counted."""
        if name in self._due:
            self._due[name] -= self._each_s


def shared_address(peer: str) -> str | None:
    """Under which name clients of this address share an allowance: an IPv6 network of one customer is one.

    None for those that share none: this machine, behind whose address everybody may stand.
    """
    try:
        address = ip_address(peer)
    except ValueError:  # a Unix socket
        return None
    if address.is_loopback:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return shared_address(str(address.ipv4_mapped))
        return str(IPv6Address(int(address) >> 64 << 64))
    return peer
