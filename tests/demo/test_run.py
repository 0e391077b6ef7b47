"""The whole demo in this process: what its users find, and what is still there after a restart."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from notifyd.demo import folder as demo_folder
from notifyd.demo import run_demo
from notifyd.demo.people import PEOPLE
from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the demo in `folder`, which runs as long as the block."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(30):
            address: str = await nursery.start(partial(run_demo, folder, **options))
        async with httpx2.AsyncClient(base_url=address, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def sign_in(client: httpx2.AsyncClient, user_id: str) -> dict[str, str]:
    answer = (await client.post("/demo/login", json={"user_id": user_id})).json()
    return {"Authorization": f"Bearer {answer['token']}"}


async def inbox(client: httpx2.AsyncClient, headers: dict[str, str]) -> list[str]:
    response = await client.get("/v1/notifications", params={"limit": 500}, headers=headers)
    return [each["data"]["notification_id"] for each in response.raise_for_status().json()["notifications"]]


async def first_mail(folder: Path) -> bytes:
    with trio.fail_after(30):
        while True:
            for mail in await trio.Path(folder).glob("*.eml"):
                return await mail.read_bytes()
            await trio.sleep(0.05)


async def test_a_price_that_drops_while_no_tab_is_open_is_mailed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_folder, "GRACE_S", 0.2)
    async with running(tmp_path) as client:
        headers = await sign_in(client, "ada")
        assert await inbox(client, headers)
        text = await first_mail(tmp_path / demo_folder.MAIL_FOLDER)
        assert b"@demo.example" in text
        assert f"{client.base_url}".rstrip("/").encode() in text
        wanted = (await client.get("/v1/preferences", headers=headers)).json()
        assert (wanted["mail"], wanted["email"]) == (True, "ada@demo.example")


async def test_everyone_finds_deals_and_a_restart_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as client:
        address = str(client.base_url).rstrip("/")
        tokens = {who.user_id: await sign_in(client, who.user_id) for who in PEOPLE}
        found = {user_id: await inbox(client, headers) for user_id, headers in tokens.items()}
        watches = (await client.get("/v1/watches", headers=tokens["ada"])).json()["watches"]
        assert {watch["item_id"] for watch in watches} == set(PEOPLE[0].watches)
        assert (await client.post("/demo/announce", json={"message": "Hi"}, headers=tokens["ada"])).is_success
    assert all(found.values())
    assert f"open     {address}" in capsys.readouterr().out

    async with running(tmp_path) as again:
        assert str(again.base_url).rstrip("/") == address
        for user_id, headers in tokens.items():  # the secret is the same, so an open page goes on
            now = await inbox(again, headers)
            assert [each for each in now if each in found[user_id]] == found[user_id]
            assert len(set(now)) == len(now)
    assert "due while it was down" in capsys.readouterr().out

    async with running(tmp_path, fresh=True) as fresh:
        assert (await fresh.get("/v1/notifications", headers=tokens["ada"])).status_code == 401


async def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path) -> None:
    taken = pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match="in use"), flatten_subgroups=True)
    with socket.create_server(("127.0.0.1", 0)) as owner, taken:
        await run_demo(tmp_path, port=owner.getsockname()[1])
