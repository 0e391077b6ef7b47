"""Signing in to the demo, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from quart_trio import QuartTrio

from notifyd.api import problems
from notifyd.auth import TokenVerifier, mint_token
from notifyd.demo.login import TOKEN_SECONDS, login_blueprint

if TYPE_CHECKING:
    from quart.typing import TestClientProtocol

SECRET = "a secret of the demo that is long enough"
NOW_MS = 1_780_000_000_000
HOST = {"Host": "127.0.0.1:8000"}


class Told(list[tuple[str, str]]):
    async def announce(self, message: str, severity: str) -> None:
        self.append((message, severity))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def client(told: Told) -> TestClientProtocol:
    app = QuartTrio("demo")
    problems.install(app)
    app.register_blueprint(login_blueprint(SECRET, lambda: NOW_MS, told.announce))
    return app.test_client()


async def test_the_users_are_told_by_name(client: TestClientProtocol) -> None:
    answer = await (await client.get("/demo/users", headers=HOST)).get_json()
    assert [user["name"] for user in answer["users"]] == ["Ada", "Ben", "Chika"]
    assert all(user["about"] for user in answer["users"])


async def test_a_login_gives_a_token_for_a_quarter_of_an_hour(client: TestClientProtocol) -> None:
    response = await client.post("/demo/login", json={"user_id": "ada"}, headers=HOST)
    answer = await response.get_json()
    identity = TokenVerifier(SECRET).verify(answer["token"], NOW_MS)
    assert identity.user_id == "ada"
    assert identity.expires_ms == NOW_MS + TOKEN_SECONDS * 1000
    assert not identity.scopes
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "status"), [({"user_id": "root"}, 404), ({"user_id": 1}, 422), ({"user": "ada"}, 422)]
)
async def test_only_the_demos_users_can_log_in(
    client: TestClientProtocol, body: dict[str, object], status: int
) -> None:
    assert (await client.post("/demo/login", json=body, headers=HOST)).status_code == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_any_page_could_send_is_refused(client: TestClientProtocol, kind: str) -> None:
    response = await client.post(
        "/demo/login", data=b'{"user_id": "ada"}', headers=HOST | {"Content-Type": kind}
    )
    assert response.status_code == 400


async def test_broken_json_is_refused(client: TestClientProtocol) -> None:
    response = await client.post(
        "/demo/login", data=b"{", headers=HOST | {"Content-Type": "application/json"}
    )
    assert response.status_code == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
async def test_other_names_of_this_machine_are_refused(client: TestClientProtocol, host: str) -> None:
    assert (await client.get("/demo/users", headers={"Host": host})).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "[::1]"])
async def test_loopback_names_are_welcome(client: TestClientProtocol, host: str) -> None:
    assert (await client.get("/demo/users", headers={"Host": host})).status_code == 200


async def test_a_user_may_announce(client: TestClientProtocol, told: Told) -> None:
    token = mint_token(SECRET, "ada", now_ms=NOW_MS, ttl_s=60)
    response = await client.post(
        "/demo/announce",
        json={"message": "Closed at noon", "severity": "warning"},
        headers=HOST | {"Authorization": f"Bearer {token}"},
    )
    assert response.status_code == 202
    assert told == [("Closed at noon", "warning")]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer forged"}])
async def test_nobody_else_may_announce(
    client: TestClientProtocol, told: Told, headers: dict[str, str]
) -> None:
    response = await client.post("/demo/announce", json={"message": "Hello"}, headers=HOST | headers)
    assert response.status_code == 401
    assert told == []
