"""The server's side of the opening handshake, RFC 6455 section 4.2. Pure: a head in, an answer out."""

from __future__ import annotations

import base64
import re
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from notifyd.auth import SUBPROTOCOL_PREFIX
from notifyd.errors import BadRequest, HttpError, UpgradeRequired
from notifyd.transport.refusal import refusal

if TYPE_CHECKING:
    from notifyd.transport.head import RequestHead

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_VERSION: Final = "13"
#: Base64 of exactly 16 bytes (section 4.2.1): the last of 22 digits carries four bits that must be zero.
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==", re.ASCII)
#: A token of RFC 9110 section 5.6.2, which is what a subprotocol is.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def accept_upgrade(head: RequestHead) -> bytes:
    """The 101 answer to `head`. Extensions are never accepted.

    A browser that offered subprotocols wants one of them back, so an offered `bearer.<token>` is chosen.
    Raises BadRequest, or UpgradeRequired for another version of the protocol.
    """
    if list(head.headers_named("sec-websocket-version")) != [_VERSION]:
        raise UpgradeRequired("only version 13 of the WebSocket protocol is spoken here")
    keys = head.headers_named("sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64")
    chosen = _choose(head)
    protocol = f"Sec-WebSocket-Protocol: {chosen}\r\n" if chosen else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {_accept(keys[0])}\r\n{protocol}\r\n"
    ).encode("ascii")


def refuse_upgrade(error: HttpError) -> bytes:
    """The answer to a handshake that is not accepted; it names the version spoken (section 4.4)."""
    versions = [("Sec-WebSocket-Version", _VERSION)] if isinstance(error, UpgradeRequired) else []
    return refusal(error, versions)


def _accept(key: str) -> str:
    # Not for secrecy: the RFC fixes the hash.
    return base64.b64encode(sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def _choose(head: RequestHead) -> str | None:
    values = head.headers_named("sec-websocket-protocol")
    offers = [item.strip(" \t") for value in values for item in value.split(",")]
    if not all(_TOKEN.fullmatch(offer) for offer in offers if offer):
        raise BadRequest("Sec-WebSocket-Protocol must be a list of tokens")
    return next((offer for offer in offers if offer.startswith(SUBPROTOCOL_PREFIX)), None)
