"""The door's own answers: problem documents (RFC 9457) as ready bytes that end the connection. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from notifyd.errors import BadRequest, HttpError, RequestError, Unavailable, UpgradeRequired

if TYPE_CHECKING:
    from collections.abc import Iterable


class RequestTimeout(RequestError):
    status, slug, title = 408, "request-timeout", "The request did not arrive in time"


class UnknownUpgrade(BadRequest):
    slug, title = "unknown-upgrade", "This upgrade is not offered here"


class NoRoom(Unavailable):
    slug, title = "no-room", "The server has no room for another connection"


def refusal(error: HttpError, fields: Iterable[tuple[str, str]] = ()) -> bytes:
    """A complete HTTP/1.1 answer for `error` that closes the connection; `fields` are added to its head."""
    body = problem_body(error)
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close" if error.status != UpgradeRequired.status else "Connection: Upgrade, close",
    ]
    if error.retry_after_s is not None:
        lines.append(f"Retry-After: {error.retry_after_s}")
    if error.status == UpgradeRequired.status:  # RFC 9110 section 15.5.22
        lines.append("Upgrade: websocket")
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def problem_body(error: HttpError) -> bytes:
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
