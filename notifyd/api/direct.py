"""`POST /v1/notifications` without the framework, for applications that publish often.

A turn through Hypercorn and Quart costs several times what storing and sending a notification costs. The
call means the same by either way: `publishing` is behind both, and so are its errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from notifyd.api.bodies import MAX_BATCH_BODY, too_large
from notifyd.api.problems import CONTENT_TYPE, UnsupportedMediaType, headers_of, problem
from notifyd.api.publishing import publish
from notifyd.errors import HttpError
from notifyd.messages import encode_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from notifyd.api.parts import ApiParts

    #: Status, header fields and body.
    Reply = tuple[int, Iterable[tuple[str, str]], bytes]

PATH = "/v1/notifications"

log = structlog.get_logger("notifyd.api")


class DirectPublish:
    """Answers requests, each on its own; raises only what `read_body` raises for a client that has left."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    async def __call__(
        self, field: Callable[[str], str | None], length: int, read_body: Callable[[], Awaitable[bytes]]
    ) -> Reply:
        """`field` gives the header field of a lower-case name; the body of `length` bytes is read once."""
        try:
            status, content = await self._publish(field, length, read_body)
        except HttpError as refused:
            return self._refused(refused)
        except trio.BrokenResourceError:  # the client has left
            raise
        except Exception as fault:
            log.error("request failed", method="POST", route=PATH, exc_info=fault)
            return self._refused(HttpError())
        return self._reply(status, "application/json", {}, content)

    async def _publish(
        self, field: Callable[[str], str | None], length: int, read_body: Callable[[], Awaitable[bytes]]
    ) -> tuple[int, object]:
        parts = self._parts
        publisher = parts.keys.publisher(field("authorization"), parts.clock())
        mime_type = (field("content-type") or "").partition(";")[0].strip().lower()
        if mime_type != "application/json":
            raise UnsupportedMediaType("Send the body as Content-Type: application/json")
        if length > MAX_BATCH_BODY:
            raise too_large(MAX_BATCH_BODY)
        return await publish(parts, publisher, await read_body(), field("idempotency-key"))

    def _refused(self, error: HttpError) -> Reply:
        return self._reply(error.status, CONTENT_TYPE, headers_of(error), problem(error))

    def _reply(self, status: int, content_type: str, more: dict[str, str], content: object) -> Reply:
        self._parts.metrics.answered("POST", PATH, status)
        fields = {"Content-Type": content_type, "Cache-Control": "no-store"} | more
        return status, fields.items(), encode_json(content)
