"""When to ask for the next token of a connection. Pure: no I/O, no clock, no Trio."""

from __future__ import annotations

import base64
import binascii

import msgspec

#: A fresh token is asked for this many seconds before the old one expires, or in the middle of its last time.
AHEAD_SECONDS = 60.0
#: With less left than this it is too late; the server closes, and the next connection brings a token.
TOO_LATE_SECONDS = 1.0


class _Claims(msgspec.Struct):
    exp: float | None = None


class Renewal:
    """Knows the token that the server knows, and when that expires by a steady clock, in seconds."""

    def __init__(self, token: str, expires_at: float) -> None:
        self._token = token
        self._expires_at = expires_at

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next token is to be asked for; None when there is nothing to be done any more."""
        left_s = self._expires_at - now
        if left_s < TOO_LATE_SECONDS:
            return None
        return left_s - min(AHEAD_SECONDS, left_s / 2)

    def is_fresh(self, token: str) -> bool:
        """Whether `token` lasts longer than the one that the server knows."""
        return token != self._token and self._longer_s(token) > 0

    def taken(self, token: str) -> None:
        """The server knows `token` now, which is fresh."""
        self._expires_at += self._longer_s(token)
        self._token = token

    def _longer_s(self, token: str) -> float:
        """Seconds that it lasts longer; 0 where that cannot be read."""
        old, new = expiry_s(self._token), expiry_s(token)
        return 0.0 if old is None or new is None else new - old


def expiry_s(token: str) -> float | None:
    """When a JWT says that it expires, in seconds since 1970; None for what cannot be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(claims, type=_Claims).exp
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None
