"""Where sockets come from and how they are waited for: the kernel's, or what stands in for it in tests.

A socket is whatever has the few methods of `socket.socket` that are used here; it is non-blocking, and all
waiting goes through the network it came from. The kernel's functions are Trio's own: nothing lies between.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from notifyd.transport.listeners import open_listeners

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

_UNSENT: Final = getattr(termios, "TIOCOUTQ", None)  # Linux's SIOCOUTQ: bytes the peer has not acknowledged


@dataclass(frozen=True)
class Network:
    """The five things that a socket cannot say or do by itself.

    `listen(address)` opens listeners, as `open_listeners` does. `wait_readable(sock)` and
    `wait_writable(sock)` are checkpoints, for listeners too, and raise trio.ClosedResourceError once
    `notify_closing(sock)` was called, which comes before every close. `unacknowledged(sock)` is the number
    of bytes that the peer's side has not confirmed, 0 where that cannot be told; it never raises.
    """

    listen: Callable[[str], list[socket.socket]]
    wait_readable: Callable[[socket.socket], Awaitable[None]]
    wait_writable: Callable[[socket.socket], Awaitable[None]]
    notify_closing: Callable[[socket.socket], None]
    unacknowledged: Callable[[socket.socket], int]


def _unacknowledged(sock: socket.socket) -> int:
    if _UNSENT is None:
        return 0
    try:
        answer = fcntl.ioctl(sock, _UNSENT, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


#: The real one.
KERNEL: Final = Network(
    listen=open_listeners,
    wait_readable=trio.lowlevel.wait_readable,
    wait_writable=trio.lowlevel.wait_writable,
    notify_closing=trio.lowlevel.notify_closing,
    unacknowledged=_unacknowledged,
)
