"""What the two transports have in common: one connection from its opening to its end."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import trio

from notifyd.client.policy import Ended, lost
from notifyd.client.renewal import Renewal
from notifyd.errors import ProtocolError, Unavailable
from notifyd.messages import Cursor, Message, decode_server_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from notifyd.client.dial import Address, WatchedStream
    from notifyd.client.policy import Transport

#: Seconds from a byte stream to the first message.
OPEN_SECONDS = 10.0
#: The same for a WebSocket, where SSE may be tried instead.
WEBSOCKET_PATIENCE_SECONDS = 3.0
#: A server is gone when nothing was heard for two heartbeats and this many seconds.
SILENCE_SLACK_SECONDS = 5.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

log = logging.getLogger("notifyd.client")


class Outgoing(NamedTuple):
    """A message of ours to the server."""

    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Means:
    """How to reach the server, and as whom."""

    token: Callable[[], Awaitable[str]]
    dial: Callable[[], Awaitable[trio.abc.Stream]]
    address: Address
    draw: Callable[[], float]


class Owner(Protocol):
    """The client, as one of its connections sees it."""

    @property
    def resume_from(self) -> str | None: ...
    @property
    def to_ack(self) -> Cursor | None: ...
    async def handle(self, message: Message, talk: Talk) -> None: ...
    async def next_outgoing(self) -> Outgoing: ...
    def sent(self) -> None: ...
    async def wait_handed_over(self) -> None: ...


class Talk(ABC):
    """What lives as long as one connection. `token` is the one that the server accepts now."""

    transport: ClassVar[Transport]

    def __init__(self, means: Means, *, patience_s: float = OPEN_SECONDS) -> None:
        self.means = means
        self.token = ""
        self.connection_id = ""
        self.slot_s: float | None = None
        self.left = False
        self._opened_at = trio.current_time()
        self._patience_s = patience_s
        self._silence_s = patience_s
        self._established_at: float | None = None
        self._ended_at = 0.0
        self._paused = False
        self._resumed_at = 0.0
        self._acked: Cursor | None = None
        self._renewal: Renewal | None = None
        self._expiry_known = trio.Event()

    # --- what the client says of it ---------------------------------------------------------------------

    def established(self, connection_id: str, heartbeat_s: float, expires_in_s: float | None) -> None:
        """Messages flow; from now on the server speaks at least every `heartbeat_s` seconds.

        `expires_in_s`: seconds until the server ends it, unless it gets a fresh token.
        """
        self.connection_id = connection_id
        self._established_at = trio.current_time()
        self._silence_s = 2 * heartbeat_s + SILENCE_SLACK_SECONDS
        if expires_in_s is not None:
            self._renewal = Renewal(self.token, self._established_at + expires_in_s)
            self._expiry_known.set()

    @property
    def was_established(self) -> bool:
        """Whether messages ever flowed."""
        return self._established_at is not None

    def lasted_s(self) -> float:
        """Seconds for which messages flowed."""
        return 0.0 if self._established_at is None else self._ended_at - self._established_at

    @contextmanager
    def paused(self) -> Iterator[None]:
        """We are not reading, so hearing nothing says nothing."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            self._resumed_at = trio.current_time()

    # --- one connection ---------------------------------------------------------------------------------

    async def run(self, owner: Owner, stream: WatchedStream, token: str) -> Ended:
        """Talk until it ends, however that is. Closes: nothing; the stream is the caller's.

        Cancellation: ends at once; the stream must then be closed forcefully.
        """
        self.token = token
        self._opened_at = trio.current_time()
        try:
            return await self._run(owner, stream)
        finally:
            self._ended_at = trio.current_time()

    @abstractmethod
    async def _run(self, owner: Owner, stream: WatchedStream) -> Ended:
        """Open it and talk."""

    @abstractmethod
    async def _send_fresh_token(self, token: str) -> bool:
        """Tell the server, so that this connection lives on; False when it is to be tried again."""

    async def _first_end(self, *parts: Awaitable[Ended | None]) -> Ended:
        """Run all of them; the first that says how it ended ends the others."""
        ended = lost("connection lost")

        async def end_with(part: Awaitable[Ended | None]) -> None:
            nonlocal ended
            outcome = await part
            if outcome is not None:
                ended = outcome
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for part in parts:
                nursery.start_soon(end_with, part)
        return ended

    async def _take(self, raw: bytes | str, owner: Owner) -> None:
        try:
            message = decode_server_message(raw)
        except ProtocolError as error:
            log.warning("a message was left out: %s", error)
            return
        await owner.handle(message, self)

    async def _watch(self, stream: WatchedStream) -> Ended:
        """Until the server has been silent for too long."""
        while True:
            heard_at = max(stream.heard_at, self._resumed_at) if self.was_established else self._opened_at
            left_s = heard_at + self._silence_s - trio.current_time()
            if left_s <= 0 and not self._paused:
                return lost(f"nothing heard for {self._silence_s:g} s")
            await trio.sleep(max(left_s, 1.0) if self.was_established else max(left_s, 0.01))

    async def _renew(self) -> None:
        """Give the server a fresh token before the one it knows expires, as long as there are fresh ones."""
        await self._expiry_known.wait()
        assert self._renewal is not None
        while (wait_s := self._renewal.wait_s(trio.current_time())) is not None:
            await trio.sleep(wait_s)
            try:
                token = await self.means.token()
            except (OSError, Unavailable):
                continue  # `wait_s` comes closer and closer to the end, then gives up
            if self._renewal.is_fresh(token) and await self._send_fresh_token(token):
                self._renewal.taken(token)
                self.token = token
