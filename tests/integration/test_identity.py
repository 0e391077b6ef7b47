"""Keys that change, tokens that are revoked, and an issuer that publishes its keys: on a whole server."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from trio_websocket import ConnectionClosed, wrap_client_stream

from notifyd.clock import wall_ms
from notifyd.service import open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from notifyd.config import Config
    from notifyd.service import Service

SECRET = "integration-secret-integration-secret"
ADMIN = {"Authorization": "Bearer admin-key-of-the-tests"}
OLD, NEW = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def token(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: object) -> str:
    now = wall_ms() // 1000
    given = {"sub": "ann", "iat": now, "exp": now + 600, "iss": "shop", **claims}
    return jwt.encode(given, key, algorithm, headers=None if kid is None else {"kid": kid})


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@asynccontextmanager
async def live(service: Service, token_: str) -> AsyncIterator[Any]:
    """A WebSocket that has been greeted."""
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as tcp, trio.open_nursery() as nursery:
        socket = await wrap_client_stream(nursery, tcp, f"{host}:{port}", f"/ws?token={token_}")
        with trio.fail_after(20):
            assert json.loads(await socket.get_message())["type"] == "connection-established"
        yield socket
        nursery.cancel_scope.cancel()


async def close_code(socket: Any) -> int:
    with trio.fail_after(20):
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed as closed:
            assert closed.reason is not None
            return int(closed.reason.code)


async def revoke(service: Service, **body: object) -> int:
    async with httpx2.AsyncClient(base_url=service.url, headers=ADMIN, trust_env=False) as client:
        answer = await client.post("/v1/revocations", json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["closed"])


async def status_of(service: Service, token_: str) -> int:
    headers = {"Authorization": f"Bearer {token_}"}
    async with httpx2.AsyncClient(base_url=service.url, headers=headers, trust_env=False) as client:
        return (await client.get("/v1/notifications")).status_code


async def test_a_revoked_token_is_closed_everywhere_and_refused_after_a_restart(
    make_config: Callable[..., Config],
) -> None:
    bad, good = token(jti="1"), token(jti="2")
    async with open_service(make_config()) as service, live(service, bad) as one, live(service, good) as two:
        async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {bad}"}
            async with client.stream("GET", "/events", headers=headers) as stream:
                assert await revoke(service, issuer="shop", token_id="1") == 2
                assert await close_code(one) == 4503
                with trio.fail_after(20):
                    await stream.aread()
        assert await status_of(service, bad) == 401
        assert await status_of(service, good) == 200
        await service.notify_user("ann", _note())
        assert json.loads(await two.get_message())["type"] == "system-message"
    async with open_service(make_config()) as service:
        assert await status_of(service, bad) == 401
        assert await status_of(service, good) == 200
        with pytest.RaisesGroup(AssertionError):
            async with live(service, bad):
                pass


def _note() -> Any:
    from notifyd.messages import system_message

    return system_message("still here")


async def test_a_user_is_revoked_up_to_a_moment_with_tickets_made_before(
    make_config: Callable[..., Config],
) -> None:
    old, new = token(), token(iat=wall_ms() // 1000 + 5)
    async with open_service(make_config()) as service:
        async with httpx2.AsyncClient(
            base_url=service.url, headers={"Authorization": f"Bearer {old}"}, trust_env=False
        ) as client:
            ticket = (await client.post("/v1/tickets")).json()["ticket"]
        async with live(service, old) as socket:
            assert await revoke(service, user_id="ann") == 1
            assert await close_code(socket) == 4503
        async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as client:
            assert (await client.get(f"/events?ticket={ticket}")).status_code == 401
        assert await status_of(service, old) == 401
        assert await status_of(service, new) == 200
        assert await status_of(service, token(sub="ben")) == 200


async def test_a_connection_that_showed_a_fresh_token_outlives_the_old_ones_revocation(
    make_config: Callable[..., Config],
) -> None:
    async with open_service(make_config()) as service, live(service, token(jti="1")) as socket:
        await socket.send_message(json.dumps({"type": "auth", "data": {"token": token(jti="2")}}))
        await socket.send_message('{"type": "ping", "data": {}}')
        assert json.loads(await socket.get_message())["type"] == "pong"
        assert await revoke(service, issuer="shop", token_id="1") == 0
        assert await revoke(service, issuer="shop", token_id="2") == 1


async def test_keys_change_without_a_connection_being_dropped(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(pem(OLD))
    config = make_config(jwt_secret=None, jwt_public_key_file=str(path))
    old, new = token(OLD, "ES256"), token(NEW, "ES256")
    async with open_service(config) as service, live(service, old) as socket:
        assert (await status_of(service, old), await status_of(service, new)) == (200, 401)
        path.write_bytes(pem(OLD) + pem(NEW))
        await service.reload(lambda: config)
        assert (await status_of(service, old), await status_of(service, new)) == (200, 200)
        path.write_text("nonsense")
        await service.reload(lambda: config)  # is told in the log, and changes nothing
        assert (await status_of(service, old), await status_of(service, new)) == (200, 200)
        path.write_bytes(pem(NEW))
        await service.reload(lambda: config)
        assert (await status_of(service, old), await status_of(service, new)) == (401, 200)
        await service.notify_user("ann", _note())
        assert json.loads(await socket.get_message())["type"] == "system-message"


async def test_the_secret_of_before_counts_too(make_config: Callable[..., Config]) -> None:
    config = make_config(jwt_secret="n" * 40, jwt_previous_secret=SECRET)
    async with open_service(config) as service:
        assert [await status_of(service, token(secret)) for secret in (SECRET, "n" * 40, "x" * 40)] == [
            200,
            200,
            401,
        ]


async def test_an_issuers_published_keys_count(make_config: Callable[..., Config]) -> None:
    published = {"keys": [{**ECAlgorithm.to_jwk(OLD.public_key(), as_dict=True), "kid": "old"}]}
    fetches = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal fetches
        async with stream:
            await stream.receive_some()
            fetches += 1
            body = json.dumps(published).encode()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, serve, 0)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        async with open_service(make_config(jwt_secret=None, jwks_url=url)) as service:
            good = token(OLD, "ES256", "old")
            with trio.fail_after(20):
                while (status := await status_of(service, good)) == 503:  # noqa: ASYNC110 - nothing tells
                    await trio.sleep(0.05)
            assert status == 200
            for _ in range(20):
                assert await status_of(service, token(NEW, "ES256", "new")) == 401
            assert fetches == 1
        nursery.cancel_scope.cancel()
