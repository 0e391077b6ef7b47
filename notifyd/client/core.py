"""The client itself: one background task that connects, reads, acknowledges and comes back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import trio
from msgspec import UNSET

from notifyd.client.conversation import Conversation
from notifyd.client.dial import WatchedStream
from notifyd.client.policy import Ended, Received, Reconnects, ServerRefused, Transports, lost
from notifyd.client.streaming import EventStream
from notifyd.client.talk import OPEN_SECONDS, WEBSOCKET_PATIENCE_SECONDS, Outgoing
from notifyd.errors import CloseCode, Unavailable
from notifyd.messages import (
    ConnectionEstablished,
    Cursor,
    ErrorData,
    MarkState,
    Message,
    Ping,
    Pong,
    Reconnect,
    parse_cursor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.client.policy import Transport, TransportChoice
    from notifyd.client.talk import Means, Talk
    from notifyd.messages import RecoveryReason

#: Seconds for TCP and TLS; what follows has a time of its own, see `notifyd.client.talk`.
CONNECT_SECONDS = 10.0
#: What waits to be sent while there is no connection.
OUTGOING_MESSAGES = 100
#: The server reads frames of at most 16 KiB; an id has at most 128 characters.
IDS_PER_MARK = 100

State = Literal["connecting", "connected", "waiting", "closed"]


@dataclass(frozen=True)
class Status:
    """What the client is doing; `recovered` and `reason` are those of the newest connection."""

    state: State
    detail: str = ""
    retry_in_s: float = 0.0
    recovered: bool | None = None
    reason: RecoveryReason | None = None
    cursor: str | None = None
    transport: Transport | None = None


@dataclass(frozen=True)
class Options:
    """What `open_client` was asked for."""

    means: Means
    established: bool
    on_state: Callable[[Status], None] | None
    transport: TransportChoice


class Client:
    """One user's stream of messages over all its connections. Made by `open_client`; one task iterates."""

    def __init__(self, options: Options, cursor: Cursor | None, buffer_size: int) -> None:
        self._options = options
        self._received = Received(cursor)
        self._given = cursor
        self._to_ack: Cursor | None = None
        self._unread = 0
        self._reconnects = Reconnects(draw=options.means.draw)
        self._transports = Transports(options.transport)
        self._fault: Ended | None = None
        self._buffer, self._messages = trio.open_memory_channel[Message](buffer_size)
        self._outgoing, self._to_send = trio.open_memory_channel[Outgoing](OUTGOING_MESSAGES)
        self._unsent: Outgoing | None = None
        self._handed_over = trio.Event()
        self._changed = trio.Event()
        self.status = Status("connecting")

    @property
    def state(self) -> State:
        return self.status.state

    @property
    def transport(self) -> Transport | None:
        """What the newest connection, or the attempt at one, goes over; None while there is none."""
        return self.status.transport

    @property
    def recovered(self) -> bool | None:
        """Whether the newest connection continued without a gap; None before the first."""
        return self.status.recovered

    @property
    def reason(self) -> RecoveryReason | None:
        """Why it did not."""
        return self.status.reason

    @property
    def cursor(self) -> str | None:
        """Where to go on another time: everything up to here was given to the application."""
        place = self._given if self._unread else self._received.position
        return None if place is None else str(place)

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> Message:
        """The next message. Raises ServerRefused when the server said to stay away.

        Cancellation: no message is lost.
        """
        try:
            message = await self._messages.receive()
        except trio.EndOfChannel:
            self._raise_fault()
            raise StopAsyncIteration from None
        self._unread -= 1
        place = _place(message)
        if place is not None:
            self._given = self._to_ack = place
            self._handed_over.set()
        return message

    async def wait_connected(self) -> None:
        """Until messages flow. Raises ServerRefused when the server said to stay away."""
        while self.state != "connected":
            self._raise_fault()
            if self.state == "closed":
                raise trio.ClosedResourceError("the client is closed")
            await self._changed.wait()

    async def mark(
        self,
        state: MarkState,
        *,
        notification_ids: Sequence[str] | None = None,
        up_to: str | None = None,
    ) -> None:
        """Raise the state of some notifications, or of all up to a cursor.

        Returns once it is queued; it is sent on this connection or the next one, and confirmed by a
        `notification-updated` message. Waits while 100 others are queued. Raises ValueError, ServerRefused.

        Cancellation: not queued, or only the first hundreds of many ids.
        """
        if (notification_ids is None) == (up_to is None):
            raise ValueError("mark takes either notification_ids or up_to")
        if up_to is not None:
            await self._send("mark", {"up_to": up_to, "state": state})
        ids = list(notification_ids or ())
        for start in range(0, len(ids), IDS_PER_MARK):
            await self._send("mark", {"notification_ids": ids[start : start + IDS_PER_MARK], "state": state})

    async def _send(self, type_: str, data: dict[str, object]) -> None:
        try:
            await self._outgoing.send(Outgoing(type_, data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._raise_fault()
            raise

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise ServerRefused(self._fault.code, self._fault.text)

    # --- the background task ------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect and come back until the server says to stay away; `open_client` owns this task."""
        with self._buffer, self._to_send:
            try:
                await self._run()
            finally:
                self._become(Status("closed", detail=self._fault.text if self._fault else ""))

    async def _run(self) -> None:
        while True:
            talk = self._next_talk()
            self._become(Status("connecting", transport=talk.transport))
            ended, opened = await self._attempt(talk)
            if talk.left:
                return
            if opened and not talk.was_established and self._transports.failed(talk.transport, ended):
                continue  # over SSE, at once
            if not ended.comes_back:
                self._fault = None if ended.code == CloseCode.NORMAL else ended
                return
            delay_s = self._reconnects.delay_s(ended, lasted_s=talk.lasted_s(), slot_s=talk.slot_s)
            self._become(Status("waiting", ended.text, delay_s))
            await trio.sleep(delay_s)

    def _next_talk(self) -> Talk:
        means, choice = self._options.means, self._transports.choice
        if self._transports.next(trio.current_time()) == "sse":
            return EventStream(means)
        return Conversation(
            means, patience_s=WEBSOCKET_PATIENCE_SECONDS if choice == "auto" else OPEN_SECONDS
        )

    async def _attempt(self, talk: Talk) -> tuple[Ended, bool]:
        """How it ended, and whether there was a byte stream at all."""
        means = self._options.means
        try:
            token = await means.token()
        except (OSError, Unavailable) as error:
            return lost(f"no token: {error}"), False
        try:
            with trio.fail_after(CONNECT_SECONDS):
                stream = WatchedStream(await means.dial())
        except trio.TooSlowError:
            return lost(f"cannot connect within {CONNECT_SECONDS:.0f} s"), False
        except OSError as error:
            return lost(f"cannot connect: {error}"), False
        try:
            return await talk.run(self, stream, token), True
        finally:
            await trio.aclose_forcefully(stream)

    def _become(self, status: Status) -> None:
        self.status = status
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        if self._options.on_state is not None:
            self._options.on_state(status)

    # --- what the conversation calls ----------------------------------------------------------------

    @property
    def resume_from(self) -> str | None:
        position = self._received.position
        return None if position is None else str(position)

    async def handle(self, message: Message, talk: Talk) -> None:
        """One message from the server, in order."""
        match message.data:
            case ConnectionEstablished() as hello:
                self._established(hello, message.timestamp, talk)
                if self._options.established:
                    await self._deliver(message, talk)
            case Ping(cursor=text):
                place = parse_cursor(text)
                if place is not None:
                    self._received.advance(place)
            case Reconnect(after_ms=after_ms):
                talk.slot_s = max(0, after_ms) / 1000
            case Pong():
                pass
            case ErrorData():
                await self._deliver(message, talk)
            case _:
                await self._entry(message, talk)

    def _established(self, hello: ConnectionEstablished, timestamp: str, talk: Talk) -> None:
        self._received.start(hello.cursor, recovered=hello.recovered)
        self._given = self._given or self._received.position
        heartbeat_s = hello.heartbeat_interval_ms / 1000
        talk.established(hello.connection_id, heartbeat_s, _seconds(timestamp, hello.token_expires_at))
        self._transports.established(talk.transport, trio.current_time())
        self._become(
            Status(
                "connected",
                recovered=hello.recovered,
                reason=hello.reason,
                cursor=hello.cursor,
                transport=talk.transport,
            )
        )

    async def _entry(self, message: Message, talk: Talk) -> None:
        place = _place(message)
        if place is not None and not self._received.is_new(place):
            return
        await self._deliver(message, talk)
        if place is not None:
            self._received.advance(place)

    async def _deliver(self, message: Message, talk: Talk) -> None:
        self._unread += 1
        try:
            self._buffer.send_nowait(message)
        except trio.WouldBlock:
            with talk.paused():
                await self._wait_for_room(message)

    async def _wait_for_room(self, message: Message) -> None:
        try:
            await self._buffer.send(message)
        except BaseException:
            self._unread -= 1
            raise

    async def next_outgoing(self) -> Outgoing:
        """What to send next; stays next until `sent`. Raises EndOfChannel once the application left."""
        if self._unsent is None:
            self._unsent = await self._to_send.receive()
        return self._unsent

    def sent(self) -> None:
        self._unsent = None

    async def wait_handed_over(self) -> None:
        await self._handed_over.wait()
        self._handed_over = trio.Event()

    @property
    def to_ack(self) -> Cursor | None:
        return self._to_ack

    async def leave(self, within_s: float) -> None:
        """Say what is left to say and close; at most `within_s` seconds."""
        self._outgoing.close()
        with trio.move_on_after(within_s):
            while self.state == "connected":
                await self._changed.wait()


def _place(message: Message) -> Cursor | None:
    return None if message.id is UNSET else parse_cursor(message.id)


def _seconds(begin: str, end: str | None) -> float | None:
    """Seconds between two times of the same clock, the server's; None when one of them is no time."""
    try:
        return None if end is None else (_time(end) - _time(begin)).total_seconds()
    except ValueError:
        return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
