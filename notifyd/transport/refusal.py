"""The transport's own answers: problem documents (RFC 9457), as bytes that end a connection or by ASGI."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from notifyd.errors import BadRequest, HttpError, RequestError, Unavailable, UpgradeRequired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping


class RequestTimeout(RequestError):
    status, slug, title = 408, "request-timeout", "The request did not arrive in time"


class UnknownUpgrade(BadRequest):
    slug, title = "unknown-upgrade", "This upgrade is not offered here"


class NoRoom(Unavailable):
    slug, title = "no-room", "The server has no room for another connection"


def refusal(error: HttpError, fields: Iterable[tuple[str, str]] = ()) -> bytes:
    """A complete HTTP/1.1 answer for `error` that closes the connection; `fields` are added to its head."""
    body = _problem_body(error)
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        *(f"{name}: {value}" for name, value in _problem_fields(error, body)),
        "Connection: close" if error.status != UpgradeRequired.status else "Connection: Upgrade, close",
    ]
    if error.status == UpgradeRequired.status:  # RFC 9110 section 15.5.22
        lines.append("Upgrade: websocket")
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def answer_problem(
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]], error: HttpError
) -> None:
    """Give `error` as the whole answer to an ASGI request. Raises and is cancelled as `send` does."""
    body = _problem_body(error)
    headers = [(name.lower().encode(), value.encode()) for name, value in _problem_fields(error, body)]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _problem_fields(error: HttpError, body: bytes) -> list[tuple[str, str]]:
    fields = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if error.retry_after_s is not None:
        fields.append(("Retry-After", str(error.retry_after_s)))
    return fields


def _problem_body(error: HttpError) -> bytes:
    """The problem document of `error` (RFC 9457 section 3.1)."""
    return msgspec.json.encode(
        {
            "type": f"urn:notifyd:problem:{error.slug}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            **error.extra,
        }
    )
