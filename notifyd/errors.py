"""Every exception that crosses a module boundary, and the close-code table.

NotifydError
├── ConfigError                 settings that cannot be used (exit code 2)
├── ProtocolError               a client broke the wire protocol
├── RequestError                a caller asked for what it cannot have: 4xx
│   ├── BadRequest 400, HeadTooLong 431   Unauthorized 401   Forbidden 403   NotFound 404
│   ├── Unprocessable 422  ├── IdempotencyConflict 422   TooLarge 413
│   └── UpgradeRequired 426   TooManyRequests 429
└── StoreError                  the log cannot do it now
    ├── Unavailable 503         nothing was written; asking again is safe
    ├── OutcomeUnknown 503      it may or may not have been written
    ├── DiskFull 507            nothing was written
    └── CommitFailed            the process must acknowledge nothing more
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Literal

ErrorCode = Literal[
    "bad_message",
    "unknown_type",
    "too_large",
    "rate_limited",
    "unauthorized",
    "token_expired",
    "forbidden",
    "not_found",
    "unavailable",
    "internal",
]


@dataclass(frozen=True)
class CloseRule:
    """What one close code means: its text on the wire and whether the client comes back."""

    reason: str
    reconnect: bool


class CloseCode(IntEnum):
    """WebSocket close codes, RFC 6455 section 7.4 and our 4000–4999; one table for wire, logs and clients."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006  # never sent: what a reader records when no Close frame came
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    TOKEN_EXPIRED = 4001
    NO_PONG = 4012
    TOO_FAST = 4029
    BAD_TOKEN = 4501
    REVOKED = 4503
    CONNECTION_LIMIT = 4504

    @property
    def rule(self) -> CloseRule:
        return _CLOSE_RULES[self]

    @property
    def reason(self) -> str:
        return self.rule.reason

    @property
    def reconnect(self) -> bool:
        return self.rule.reconnect

    @staticmethod
    def reason_of(code: int | None) -> str | None:
        """The reason of a code that was noted somewhere; None when the table does not have it."""
        rule = None if code is None else _RULE_OF.get(code)
        return None if rule is None else rule.reason


_CLOSE_RULES: dict[CloseCode, CloseRule] = {
    CloseCode.NORMAL: CloseRule("normal", reconnect=False),
    CloseCode.GOING_AWAY: CloseRule("server drains", reconnect=True),
    CloseCode.PROTOCOL_ERROR: CloseRule("protocol error", reconnect=False),
    CloseCode.UNSUPPORTED_DATA: CloseRule("binary messages are not accepted", reconnect=False),
    CloseCode.ABNORMAL: CloseRule("connection lost", reconnect=True),
    CloseCode.INVALID_TEXT: CloseRule("invalid UTF-8", reconnect=False),
    CloseCode.POLICY_VIOLATION: CloseRule("policy violation", reconnect=False),
    CloseCode.TOO_BIG: CloseRule("message too big", reconnect=False),
    CloseCode.INTERNAL_ERROR: CloseRule("internal error", reconnect=True),
    CloseCode.SERVICE_RESTART: CloseRule("server restarts", reconnect=True),
    CloseCode.TRY_AGAIN_LATER: CloseRule("server overloaded", reconnect=True),
    CloseCode.TOKEN_EXPIRED: CloseRule("token expired", reconnect=True),
    CloseCode.NO_PONG: CloseRule("no answer to pings", reconnect=True),
    CloseCode.TOO_FAST: CloseRule("too many messages", reconnect=True),
    CloseCode.BAD_TOKEN: CloseRule("bad token", reconnect=False),
    CloseCode.REVOKED: CloseRule("token revoked", reconnect=False),
    CloseCode.CONNECTION_LIMIT: CloseRule("too many connections", reconnect=False),
}

_RULE_OF: dict[int, CloseRule] = {int(code): rule for code, rule in _CLOSE_RULES.items()}


def should_reconnect(code: int) -> bool:
    """Whether a client that was closed with `code` comes back (design section 5).

    1001, 1006, 1011, 1012, 1013 and 4000–4499 mean come back; everything else means stay away.
    """
    if 4000 <= code < 4500:
        return True
    return code in _CLOSE_RULES and _CLOSE_RULES[CloseCode(code)].reconnect


class NotifydError(Exception):
    """Base of every error notifyd raises on purpose."""


class ConfigError(NotifydError):
    """Settings that cannot be used; the text lists every fault, one a line."""


class ProtocolError(NotifydError):
    """A client's message that the wire protocol does not allow.

    `close` is None when the connection may go on after the `error` message.
    """

    def __init__(self, code: ErrorCode, message: str, close: CloseCode | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.close = close


class HttpError(NotifydError):
    """An error with its place in HTTP: RFC 9457 `type` (a slug), `title` and status."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retry_after_s: int | None = None

    def __init__(self, detail: str = "", **extra: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra


class RequestError(HttpError):
    """The caller's fault: asking again unchanged gives the same answer."""


class BadRequest(RequestError):
    status, slug, title = 400, "bad-request", "The request cannot be read"


class HeadTooLong(BadRequest):
    """The client went on sending without ending its head (RFC 6585 section 5)."""

    status, slug, title = 431, "head-too-long", "The request head is too long"


class Unauthorized(RequestError):
    status, slug, title = 401, "unauthorized", "A valid token or key is needed"


class Forbidden(RequestError):
    status, slug, title = 403, "forbidden", "This token or key may not do that"


class NotFound(RequestError):
    status, slug, title = 404, "not-found", "There is no such thing"


class TooLarge(RequestError):
    status, slug, title = 413, "too-large", "The body is too large"


class Unprocessable(RequestError):
    status, slug, title = 422, "unprocessable", "The request is readable but not acceptable"


class IdempotencyConflict(Unprocessable):
    slug, title = "idempotency-conflict", "This Idempotency-Key was used with another body"


class UpgradeRequired(RequestError):
    status, slug, title = 426, "upgrade-required", "This address speaks WebSocket"


class TooManyRequests(RequestError):
    status, slug, title = 429, "too-many-requests", "Too many requests"
    retry_after_s = 1


class StoreError(HttpError):
    """The store cannot do it now."""


class Unavailable(StoreError):
    """Nothing was written; asking again is safe."""

    status, slug, title = 503, "unavailable", "The server cannot take this now"
    retry_after_s = 1


class StatementFailed(Unavailable):
    """Nothing was written, because the database refused a statement of this very request."""


class OutcomeUnknown(StoreError):
    """The write had begun when its time ran out; repeat it with the same Idempotency-Key."""

    status, slug, title = 503, "outcome-unknown", "It is not known whether this was stored"
    retry_after_s = 1

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, outcome="unknown")


class DiskFull(StoreError):
    """Nothing was written; the process goes on."""

    status, slug, title = 507, "disk-full", "The database has no room left"


class CommitFailed(StoreError):
    """COMMIT failed for a reason other than space: what is durable is no longer known."""

    status, slug, title = 503, "commit-failed", "The database failed to commit"
