"""A connection over SSE: an endless answer to read, and a request of its own for each thing to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import h11
import trio

from notifyd.client.events import EventParser, EventTooBig
from notifyd.client.http import ask, dialled
from notifyd.client.policy import Ended, Reconnects, closed, lost, refused
from notifyd.client.talk import MAX_MESSAGE_BYTES, Talk
from notifyd.errors import CloseCode
from notifyd.messages import ErrorData, Message, encode_json

if TYPE_CHECKING:
    from notifyd.client.dial import WatchedStream
    from notifyd.client.http import Answer
    from notifyd.client.policy import Transport
    from notifyd.client.talk import Outgoing, Owner
    from notifyd.errors import ErrorCode

#: Seconds for one request, from the dialling to the answer.
CALL_SECONDS = 10.0
#: Seconds for the last acknowledgement when the application leaves.
GOODBYE_SECONDS = 2.0
#: RFC 9110 section 15.3.5, as WHATWG HTML section 9.2.3 reads it: do not come back.
NO_CONTENT = 204
UNAUTHORIZED = 401

_PATHS = {"mark": "/v1/notifications/mark", "ack": "/v1/notifications/ack", "auth": "/v1/auth"}
_BREAKAGES = (h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError)
_ERROR_CODES: dict[int, ErrorCode] = {403: "forbidden", 404: "not_found", 413: "too_large"}


class EventStream(Talk):
    """Only the server speaks on the stream; marks, acknowledgements and tokens go their own way."""

    transport: ClassVar[Transport] = "sse"

    async def _run(self, owner: Owner, stream: WatchedStream) -> Ended:
        try:
            return await self._first_end(self._listen(owner, stream), self._watch(stream))
        except* _BREAKAGES:
            pass
        return lost("connection lost")

    # --- reading ----------------------------------------------------------------------------------------

    async def _listen(self, owner: Owner, stream: WatchedStream) -> Ended:
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {self.token}"}
        if (cursor := owner.resume_from) is not None:
            headers["Last-Event-ID"] = cursor
        answer = await ask(stream, self.means.address, "GET", "/events", headers)
        if answer.status == NO_CONTENT:
            return closed(CloseCode.NORMAL, None)
        if answer.status != 200:
            return refused(answer.status, answer.headers, await answer.body())
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            return lost("the answer is no event stream")
        return await self._first_end(
            self._read(owner, answer), self._send(owner), self._acknowledge(owner), self._renew()
        )

    async def _read(self, owner: Owner, answer: Answer) -> Ended:
        parser = EventParser(MAX_MESSAGE_BYTES)
        try:
            while part := await answer.part():
                for event in parser.feed(part):
                    await self._take(event, owner)
        except EventTooBig:
            return closed(CloseCode.TOO_BIG, None)
        return lost("the stream ended")

    # --- saying -----------------------------------------------------------------------------------------

    async def _send(self, owner: Owner) -> Ended | None:
        try:
            while True:
                message = await owner.next_outgoing()
                ended = await self._until_taken(message, owner)
                if ended is not None:
                    return ended
                owner.sent()
        except trio.EndOfChannel:
            self.left = True
            with trio.move_on_after(GOODBYE_SECONDS):
                await self._ack(owner)
            return closed(CloseCode.NORMAL, None)

    async def _until_taken(self, message: Outgoing, owner: Owner) -> Ended | None:
        """Say it, again and again while that may help; a refusal is an `error` message, as on WebSocket."""
        waits = Reconnects(draw=self.means.draw)
        while (failure := await self._call(message.type, message.data)) is not None:
            if failure.code == UNAUTHORIZED:
                return lost(failure.text)  # the next connection brings a fresh token
            if not failure.comes_back:
                code = _ERROR_CODES.get(failure.code, "bad_message")
                await owner.handle(Message("error", ErrorData(code, failure.text), ""), self)
                return None
            await trio.sleep(waits.delay_s(failure, lasted_s=0.0))
        return None

    async def _call(self, type_: str, data: dict[str, Any]) -> Ended | None:
        """One request; None when the server took it."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        headers["Connection"] = "close"
        address, body = self.means.address, encode_json(data)
        try:
            with trio.fail_after(CALL_SECONDS):
                async with dialled(self.means.dial) as stream:
                    answer = await ask(stream, address, "POST", _PATHS[type_], headers, body)
                    if answer.status in (200, 204):
                        return None
                    return refused(answer.status, answer.headers, await answer.body())
        except (OSError, trio.TooSlowError, *_BREAKAGES) as fault:
            return lost(f"cannot say {type_}: {fault or type(fault).__name__}")

    async def _acknowledge(self, owner: Owner) -> None:
        """After a random second at most, so that a broadcast is not answered by thousands in one instant."""
        while True:
            await owner.wait_handed_over()
            await trio.sleep(self.means.draw())
            await self._ack(owner)

    async def _ack(self, owner: Owner) -> None:
        """One that fails is not repeated: the next says the same and more."""
        place = owner.to_ack
        if place is not None and place != self._acked:
            data = {"up_to": str(place)} | (
                {"connection_id": self.connection_id} if self.connection_id else {}
            )
            if await self._call("ack", data) is None:
                self._acked = place

    async def _send_fresh_token(self, token: str) -> bool:
        return await self._call("auth", {"connection_id": self.connection_id, "token": token}) is None
