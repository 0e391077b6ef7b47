"""The token in an unsubscribe link: for one user and one list, valid without a login. Pure.

It says who and what in the clear, and proves it by an HMAC with a key that only the server's database holds.
It never expires, since mails are kept for years, and can do nothing but end mail.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from typing import Final, NamedTuple

import msgspec

from notifyd.signing import from_base64url

#: Bytes of the HMAC that the token carries: 128 bits cannot be guessed.
PROOF_BYTES: Final = 16
MAX_TOKEN: Final = 1024
_PURPOSE: Final = b"notifyd unsubscribe 1\0"


class Subscription(NamedTuple):
    """Mail of one list (a type of notification, or `all`) to one user."""

    user_id: str
    list: str


def make_token(key: bytes, subscription: Subscription) -> str:
    """The token that ends this subscription; the same for ever."""
    said = msgspec.json.encode(subscription)
    return urlsafe_b64encode(_proof(key, said) + said).rstrip(b"=").decode()


def read_token(key: bytes, token: str) -> Subscription | None:
    """What a token ends; None when it was not made with `key`."""
    if len(token) > MAX_TOKEN:
        return None
    try:
        raw = from_base64url(token)
    except ValueError:
        return None
    proof, said = raw[:PROOF_BYTES], raw[PROOF_BYTES:]
    if not hmac.compare_digest(proof, _proof(key, said)):
        return None
    return msgspec.json.decode(said, type=Subscription)


def _proof(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + said, "sha256")[:PROOF_BYTES]
