"""A whole server and users who are not there: files in a folder, and a mail server that is down."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import trio

from notifyd.clock import wall_ms
from notifyd.config import Config
from notifyd.messages import Deal, deal_notification, system_message
from notifyd.service import Service, open_service
from notifyd.store import deliveries, outbox, profiles
from notifyd.store.profiles import Profile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATIENCE_S = 30
ADMIN_KEY = "admin-key-of-the-tests"
DEAL = deal_notification(
    [Deal("Juice", 279, "Corner", 1, currency="USD", old_price_in_cents=399, url="https://shop.example/j")]
)


@asynccontextmanager
async def server(tmp_path: Path, database_url: str, **more: Any) -> AsyncIterator[Service]:
    settings = {
        "listen": "127.0.0.1:0",
        "database_url": database_url,
        "admin_keys": ADMIN_KEY,
        "public_url": "https://deals.example",
        "drain_seconds": 0,
        "email_grace_seconds": 0.5,
    }
    async with open_service(Config.model_validate(settings | more), clock=wall_ms) as service:
        people = [Profile(name, f"{name}@home.example", "en-US", None) for name in ("ann", "ben")]
        await service.store.write(partial(profiles.put, profiles=people))
        yield service


async def told(service: Service, user_id: str, seq: int) -> Any:
    """What became of a delivery, once it is decided on and, if it is sent, tried."""
    with trio.fail_after(PATIENCE_S):
        while True:
            [found] = await service.store.read(partial(deliveries.told, user_id=user_id, seq=seq))
            if found.reason is not None or found.status == "sent" or found.error is not None:
                return found
            await trio.sleep(0.05)


async def test_who_closed_the_tab_finds_a_mail_and_who_is_there_does_not(
    tmp_path: Path, database_url: str
) -> None:
    folder = tmp_path / "mail"
    async with server(tmp_path, database_url, mail_folder=folder) as service:
        anns = await service.notify_user("ann", DEAL)
        bens = await service.notify_user("ben", DEAL)
        service.inbox.ack("ben", "his-tab", bens.seq)
        assert (await told(service, "ann", anns.seq)).status == "sent"
        assert (await told(service, "ben", bens.seq)).reason == "acknowledged"
        [file] = folder.glob("*.eml")
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        assert mail["To"] == "ann@home.example"
        assert mail["Subject"] == "Juice: $2.79 (was $3.99)"
        await _unsubscribe_by_post(service, mail)
        await _trace(service, anns.notification_id, anns.seq)


async def _unsubscribe_by_post(service: Service, mail: Any) -> None:
    """RFC 8058, with nothing but what stands in the mail; the next deal is not mailed."""
    url = mail["List-Unsubscribe"].strip(" <>").replace("https://deals.example", service.url)
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
    again = await service.notify_user("ann", DEAL)
    assert (await told(service, "ann", again.seq)).reason == "unsubscribed"
    other = await service.notify_user("ann", system_message("not a deal"))
    assert (await told(service, "ann", other.seq)).status == "sent"


async def _trace(service: Service, notification_id: str, seq: int) -> None:
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        path = f"/v1/notifications/{notification_id}/trace"
        found = (await http.get(path, params={"user_id": "ann"}, headers=headers)).json()
        assert found["mail"]["mailed_at"] is not None
        left_out = partial(deliveries.leave_out, user_id="ann", channel="mail", why=[(seq, "withdrawn")])
        await service.store.write(left_out)
        found = (await http.get(path, params={"user_id": "ann"}, headers=headers)).json()
        assert (found["mail"]["mailed_at"], found["mail"]["why_not"]) == (None, "withdrawn")
        stats = (await http.get("/v1/stats", headers=headers)).json()
        assert stats["mail"]["outcomes"]["mail_sent"] == 2


async def test_a_dead_mail_server_is_told_of_and_hinders_nobody(tmp_path: Path, database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        url = f"smtp://127.0.0.1:{taken.getsockname()[1]}"
        async with server(tmp_path, database_url, smtp_url=url, email_grace_seconds=0) as service:
            async with service.subscribe("ann") as channel:
                receipt = await service.notify_user("ann", DEAL)
                with trio.fail_after(PATIENCE_S):
                    await channel.receive()
            found = await told(service, "ann", receipt.seq)
            assert found.status == "waiting"
            assert "connecting to 127.0.0.1" in found.error
            [waiting] = await service.store.read(partial(outbox.listed, status="waiting", after="", limit=10))
            assert waiting.tries == 1
