"""Listening sockets: opening them, naming them, and what every accepted socket inherits from them."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import stat

from notifyd.config import parse_address
from notifyd.errors import ConfigError

#: A whole reconnect storm waits here; Linux cuts it to net.core.somaxconn.
BACKLOG = 4096
#: Small enough that a slow reader holds little of our memory, and the rest of its messages stays in the log.
SEND_BUFFER_BYTES = 64 * 1024
#: A peer that acknowledges nothing for this long is dead; also ends a zero window that never opens.
USER_TIMEOUT_MS = 20_000
#: Said in place of what the system calls it.
_REASONS = {
    errno.EADDRINUSE: "the port is in use; stop what listens there, or choose another",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}
#: File descriptors kept for the database, the log and the listeners.
RESERVED_DESCRIPTORS = 512


def open_listeners(address: str) -> list[socket.socket]:
    """Bind and listen on `HOST:PORT` (every address of HOST; port 0 picks one) or `unix:PATH`.

    The caller closes them with close_listener. Raises ConfigError when the address cannot be used.
    """
    place = parse_address(address)
    try:
        return [_listen_unix(place)] if isinstance(place, str) else _listen_tcp(*place)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def close_listener(sock: socket.socket) -> None:
    """Close a listener, and remove its file when it has one."""
    path = sock.getsockname() if sock.family == socket.AF_UNIX else None
    sock.close()
    if path:
        with contextlib.suppress(OSError):
            os.unlink(path)


def url_of(sock: socket.socket, scheme: str = "http") -> str:
    """Where a browser or a client reaches this listener, for example `http://127.0.0.1:8000`."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{scheme}://{host}:{name[1]}"


def peer_of(address: object) -> str:
    """The client's IP address without its port, or `unix`, where `accept` gives no tuple."""
    return str(address[0]) if isinstance(address, tuple) else "unix"


def connection_limit() -> int:
    """How many connections the process's present limit of file descriptors has room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    return soft - min(RESERVED_DESCRIPTORS, soft // 2)


def _listen_tcp(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, _, _, _, name in dict.fromkeys(found):
            listeners.append(_listen_on(family, (name[0], port, *name[2:])))
            port = listeners[0].getsockname()[1]  # port 0: the same one for every family
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_on(family: int, name: tuple[str | int, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        _listen(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_unix(path: str) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        _listen(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen(sock: socket.socket) -> None:
    # Set before listen: accepted sockets inherit it, which spares a system call for each of them.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.setblocking(False)
    sock.listen(BACKLOG)


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody answers on; anything else there is a ConfigError."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(f"cannot listen on unix:{path}: it is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:  # its backlog is full: alive
            pass
    raise ConfigError(f"cannot listen on unix:{path}: another server does")
