"""Everything that a client, a publisher and an attacker say, and not a word of it in the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio

from notifyd.logs import configure_logging
from notifyd.service import Service, open_service

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from notifyd.config import Config

#: Stands in every secret and in every text that is sent.
CANARY = "canary0secret"
KEY = f"{CANARY}-publish-key"
SECRET = f"{CANARY}-{CANARY}-{CANARY}"


async def _raw(service: Service, text: str) -> None:
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as tcp:
        await tcp.send_all(text.encode())
        with trio.move_on_after(0.1):
            while await tcp.receive_some(65536):
                pass


def _request(target: str, *headers: str, method: str = "GET", body: str = "") -> str:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


async def test_no_token_key_or_text_is_in_any_line(
    make_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    from notifyd.auth import mint_token
    from notifyd.clock import wall_ms

    configure_logging("debug", "json")
    token = mint_token(SECRET, "ann", now_ms=wall_ms(), ttl_s=60)
    told = json.dumps({"user_id": "ann", "type": "system-message", "data": {"message": CANARY}})
    async with open_service(make_config(jwt_secret=SECRET, publish_keys=KEY)) as service:
        for target in (f"/ws?token={token}", f"/ws?token={CANARY}", f"/ws?ticket={CANARY}", "/ws"):
            await _raw(service, _request(target, *UPGRADE))
        await _raw(service, _request(f"/ws?token={token}", *UPGRADE, f"Origin: https://{CANARY}.example"))
        for target in (f"/events?token={token}", f"/events?token={CANARY}", f"/events?ticket={CANARY}"):
            await _raw(service, _request(target, f"Last-Event-ID: {CANARY}"))
        await _raw(service, _request("/events", f"Cookie: accessToken={CANARY}"))
        await _raw(service, _request(f"/{CANARY}", f"{CANARY}: {CANARY}"))
        await _raw(service, f"GET /{CANARY}\0 HTTP/1.1\r\n{CANARY}\r\n\r\n")
        for key in (KEY, CANARY, token):
            for body in (told, told[:-2], f'"{CANARY}"'):
                fields = (f"Authorization: Bearer {key}", f"Idempotency-Key: {CANARY}{len(body)}")
                await _raw(service, _request("/v1/notifications", *fields, method="POST", body=body))
    lines = capsys.readouterr().err.splitlines()
    events = {json.loads(line)["event"] for line in lines}
    assert {"connection.ended", "connection.refused", "draining; a second signal hurries it"} <= events
    assert not [line for line in lines if CANARY in line or token in line]
