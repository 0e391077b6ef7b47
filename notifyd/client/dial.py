"""From a server's address to a byte stream that knows when it was last heard from."""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import trio

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


class Address(NamedTuple):
    """Where a server listens: a TCP host and port, or the path of a Unix socket."""

    host: str
    port: int
    secure: bool
    path: str
    unix_path: str | None = None

    @property
    def host_header(self) -> str:
        """RFC 9110 section 7.2: the port is left out when it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def at(self, path: str) -> str:
        """The request target of another path of this server, `/events` or `/v1/…`."""
        return self.path.removesuffix("/ws") + path

    def resource(self, cursor: str | None) -> str:
        """The request target that resumes after `cursor`."""
        return self.path if cursor is None else f"{self.path}?last_event_id={quote(cursor, safe='')}"


def parse_url(url: str) -> Address:
    """`http(s)://HOST[:PORT][/PREFIX]`, the same with ws(s), or `unix:PATH`. Raises ValueError.

    The path `/ws` is added unless it is there already.
    """
    if url.startswith("unix:") and len(url) > len("unix:"):
        return Address("localhost", 80, secure=False, path="/ws", unix_path=url.removeprefix("unix:"))
    parts = urlsplit(url)
    secure = _SECURE.get(parts.scheme)
    if secure is None or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the address of a server: write http://HOST:PORT")
    path = parts.path.rstrip("/")
    if not path.endswith("/ws"):
        path += "/ws"
    return Address(parts.hostname, parts.port or (443 if secure else 80), secure, path)


async def open_stream(address: Address, context: ssl.SSLContext | None = None) -> trio.abc.Stream:
    """Connect, and finish the TLS handshake where there is one. Raises OSError.

    Cancellation: nothing stays open.
    """
    if address.unix_path is not None:
        return await trio.open_unix_socket(address.unix_path)
    stream = await trio.open_tcp_stream(address.host, address.port)
    return await _secured(stream, address, context) if address.secure else stream


async def _secured(
    stream: trio.SocketStream, address: Address, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    tls = trio.SSLStream(
        stream,
        context or ssl.create_default_context(),
        server_hostname=address.host,
        https_compatible=True,
    )
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise OSError(f"TLS: {error.__cause__ or error}") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return tls


class WatchedStream(trio.abc.Stream):
    """A stream that notes when bytes last came, and when no more will."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.heard_at = trio.current_time()
        self.ended = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise
        if data:
            self.heard_at = trio.current_time()
        else:
            self.ended.set()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.ended.set()
        await self._stream.aclose()
