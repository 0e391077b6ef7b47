"""notifyd behind real proxies, configured by the very files that the document points to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest
import trio
from trio_websocket import open_websocket_url

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from tests.docs.running import nginx, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROOT = Path(__file__).parents[2]
SECRET = "change-me-change-me-change-me-32"
KEY = "my-publish-key"
PATIENCE_S = 30


class Behind(NamedTuple):
    """A running server, and the address of the proxy in front of it."""

    desk: Any
    proxy: str

    def settings(self) -> dict[str, str]:
        return {"NOTIFYD_JWT_SECRET": SECRET, "NOTIFYD_PUBLISH_KEYS": KEY, "NOTIFYD_DRAIN_SECONDS": "0"}

    @contextmanager
    def server(self) -> Iterator[None]:
        with subprocess.Popen(
            ["notifyd", "serve"],
            env=self.desk.env | self.settings(),
            cwd=self.desk.folder,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                while "listening on" not in process.stdout.readline():
                    pass
                yield
            finally:
                process.terminate()
                process.communicate(timeout=PATIENCE_S)

    async def publish(self, message: str) -> str:
        body = {"user_id": "7", "type": "system-message", "data": {"message": message}}
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            answer = await client.post(
                f"{self.proxy}/v1/notifications", json=body, headers={"Authorization": f"Bearer {KEY}"}
            )
        assert answer.status_code == 201, answer.text
        cursor: str = answer.json()["id"]
        return cursor


def token() -> str:
    return mint_token(SECRET, "7", now_ms=wall_ms(), ttl_s=600)


@asynccontextmanager
async def by_websocket(proxy: str, cursor: str) -> AsyncIterator[Any]:
    url = f"{proxy.replace('http', 'ws', 1)}/ws?last_event_id={cursor}"
    async with open_websocket_url(
        url, extra_headers=[(b"Authorization", f"Bearer {token()}".encode())]
    ) as websocket:

        async def receive() -> Any:
            return json.loads(await websocket.get_message())

        yield receive


@asynccontextmanager
async def by_events(proxy: str, cursor: str) -> AsyncIterator[Any]:
    command = ["curl", "-sN", f"{proxy}/events", "-H", f"Authorization: Bearer {token()}"]
    if cursor:
        command += ["-H", f"Last-Event-ID: {cursor}"]
    seen = b""
    async with trio.open_nursery() as nursery:
        curl = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))

        async def receive() -> Any:
            nonlocal seen
            while True:
                line, found, rest = seen.partition(b"\n")
                if not found:
                    data = await curl.stdout.receive_some()
                    assert data, "the stream has ended"
                    seen += data
                    continue
                seen = rest
                if line.startswith(b"data: "):
                    return json.loads(line.removeprefix(b"data: "))

        yield receive
        nursery.cancel_scope.cancel()


async def status_of_an_upgrade(proxy: str) -> int:
    """What a handshake is answered, asked as plain HTTP: a client for WebSockets would keep its socket."""
    headers = {
        "Authorization": f"Bearer {token()}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    }
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        return (await client.get(f"{proxy}/ws", headers=headers)).status_code


STREAMS = {"websocket": by_websocket, "events": by_events}


async def next_entry(receive: Any) -> dict[str, Any]:
    with trio.fail_after(PATIENCE_S):
        while "message" not in (message := await receive())["data"]:
            pass
    found: dict[str, Any] = message
    return found


# --- the proxies --------------------------------------------------------------------------------------------


@contextmanager
def nginx_as_shipped(desk: Any, document: Any, port: int) -> Iterator[str]:
    server = document("docs/proxies.md").file("default.conf").replace("listen 80", f"listen 127.0.0.1:{port}")
    with nginx(desk, f"events {{}}\nhttp {{\naccess_log off;\n{server}}}\n", port) as address:
        yield address


@contextmanager
def nginx_tuned(desk: Any, document: Any, port: int) -> Iterator[str]:
    text = (ROOT / "deploy/nginx.conf").read_text().replace("listen 80", f"listen 127.0.0.1:{port}")
    with nginx(desk, text, port) as address:
        yield address


@contextmanager
def caddy(desk: Any, document: Any, port: int) -> Iterator[str]:
    if shutil.which("caddy") is None:
        pytest.skip("caddy is not installed: make quickstarts")
    text = (ROOT / "deploy/Caddyfile").read_text()
    # No certificate can be had here, so the site is plain HTTP; nothing else is changed.
    site = f"{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{port} {{\n\tbind 127.0.0.1"
    desk.write("Caddyfile", text.replace("shop.example {", site, 1))
    desk.env |= {"XDG_DATA_HOME": str(desk.folder), "XDG_CONFIG_HOME": str(desk.folder)}
    with running(["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"], desk, port) as address:
        yield address


PROXIES = {"nginx as shipped": nginx_as_shipped, "nginx": nginx_tuned, "caddy": caddy}


@pytest.fixture(params=PROXIES)
def behind(
    request: pytest.FixtureRequest, desk: Any, document: Any, free_port: Callable[[], int]
) -> Iterator[Behind]:
    with PROXIES[request.param](desk, document, free_port()) as proxy:
        yield Behind(desk, proxy)


# --- what has to hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", STREAMS)
async def test_streams_resume_and_outlive_a_restart(
    behind: Behind, request: pytest.FixtureRequest, transport: str
) -> None:
    stream = STREAMS[transport]
    if transport == "websocket" and "as shipped" in request.node.name:
        with behind.server():
            assert await status_of_an_upgrade(behind.proxy) == 426
        return
    with behind.server():
        async with stream(behind.proxy, "") as receive:
            assert (await receive())["data"]["reason"] == "no-cursor"
            cursor = await behind.publish("while it is open")
            assert (await next_entry(receive))["data"]["message"] == "while it is open"
        missed = await behind.publish("while it is away")
    with behind.server():
        async with stream(behind.proxy, cursor) as receive:
            assert (await receive())["data"]["recovered"] is True
            assert (await next_entry(receive))["id"] == missed
            await behind.publish("afterwards")
            assert (await next_entry(receive))["data"]["message"] == "afterwards"


async def test_a_page_may_use_its_cookie(behind: Behind) -> None:
    """The browser's Origin is the proxy's address, and so is the Host that notifyd sees."""
    headers = {"Cookie": f"accessToken={token()}", "Origin": behind.proxy}
    with behind.server():
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            good = await client.get(f"{behind.proxy}/v1/notifications", headers=headers)
            bad = await client.get(
                f"{behind.proxy}/v1/notifications", headers=headers | {"Origin": "http://evil.example"}
            )
    shipped = (behind.desk.folder / "nginx.conf").exists() and "proxy_set_header" not in (
        behind.desk.folder / "nginx.conf"
    ).read_text()
    # By default nginx sends the upstream's own address as Host, as the document says.
    assert (good.status_code, bad.status_code) == (403 if shipped else 200, 403)


async def test_neither_tokens_nor_operators_calls_get_out(
    document: Any, desk: Any, free_port: Callable[[], int]
) -> None:
    for proxy in (nginx_tuned, caddy):
        with proxy(desk, document, free_port()) as address:
            behind = Behind(desk, address)
            with behind.server():
                async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
                    listed = await client.get(f"{address}/v1/notifications?token={token()}")
                    closed = [await client.get(f"{address}/{path}") for path in ("metrics", "v1/stats")]
        assert listed.status_code == 200
        assert [answer.status_code for answer in closed] == [404, 404]
        logs = "".join(
            path.read_text() for path in desk.folder.glob("*.log") if re.search("notifyd|proxy", path.name)
        )
        assert "/v1/notifications" in logs
        assert token()[:20] not in logs


def test_the_document_shows_what_is_deployed(document: Any) -> None:
    """Lines that the document explains stand in the file."""
    text = (ROOT / "docs/proxies.md").read_text()
    deployed = (ROOT / "deploy/nginx.conf").read_text()
    rows = re.findall(r"^\| (`.*?`.*?) \|", text.split("## nginx")[1].split("## Caddy")[0], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z_]+[^`]*)`", row) if "_" in name]
    lines = [name for name in named if not name.startswith(("trusted", "allowed", "heartbeat"))]
    assert len(lines) > 5
    for line in lines:
        assert line in deployed, line
