"""An app over a real store and inbox in a temporary file, and a client that speaks JSON to it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from notifyd.api.app import ApiParts, create_app, create_operator_app
from notifyd.auth import Identity, TokenVerifier, mint_token
from notifyd.checker.asking import explain_watch
from notifyd.checker.backtest import backtest
from notifyd.checker.bulk import set_watches
from notifyd.checker.watching import set_watch
from notifyd.config import Config
from notifyd.inbox import erase_user, open_inbox
from notifyd.keys import Keys
from notifyd.store import webhooks
from notifyd.store.sql import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from quart import Blueprint
    from quart_trio import QuartTrio

SECRET = "a secret of more than thirty-two bytes"
NOW_MS = 1_780_000_000_000
PROBLEM = "urn:notifyd:problem:"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> Any:
        """The problem document, after a look at what all of them have in common."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["cache-control"] == "no-store"
        document = self.json
        assert document["status"] == self.status
        assert document["type"].startswith(PROBLEM)
        return {name: value for name, value in document.items() if name not in ("status", "title")} | {
            "type": document["type"].removeprefix(PROBLEM)
        }


@dataclass
class Server:
    """What the parts outside the API would do, recorded; its fields may be changed by a test."""

    now_ms: int = NOW_MS
    live: dict[str, int] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    connections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refreshed: list[tuple[str, Identity]] = field(default_factory=list)
    known_connections: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    revoked: list[tuple[object, ...]] = field(default_factory=list)
    woken: int = 0

    def wake_outbox(self) -> None:
        self.woken += 1

    def on_prices(self) -> None:
        self.woken += 1

    def live_connections(self, user_ids: Sequence[str] | None) -> int:
        return sum(self.live.values() if user_ids is None else (self.live.get(user, 0) for user in user_ids))

    def live_users(self, prefix: str, limit: int) -> list[str]:
        return sorted(user for user in self.live if user.startswith(prefix))[:limit]

    def close_user(self, user_id: str) -> int:
        self.closed.append(user_id)
        return self.live.get(user_id, 0)

    async def erase_user(self, inbox: Any, user_id: str) -> None:
        self.close_user(user_id)
        await erase_user(inbox, user_id)

    async def revoke_token(self, issuer: str, token_id: str, until_ms: int | None) -> int:
        self.revoked.append((issuer, token_id, until_ms))
        return 1

    async def revoke_user(self, user_id: str, not_before_ms: int) -> int:
        self.revoked.append((user_id, not_before_ms))
        return 2

    def refresh(self, connection_id: str, identity: Identity) -> bool:
        self.refreshed.append((connection_id, identity))
        return connection_id in self.known_connections


@dataclass
class Api:
    """A client of one app."""

    parts: ApiParts
    server: Server
    app: QuartTrio

    def with_parts(self, *, blueprints: Sequence[Blueprint] = (), **changes: Any) -> Api:
        parts = replace(self.parts, **changes)
        return Api(parts, self.server, create_app(parts, blueprints))

    def operator_api(self) -> Api:
        return Api(self.parts, self.server, create_operator_app(self.parts))

    def token(self, user_id: str = "ann", *, scopes: Sequence[str] = (), ttl_s: float = 3600) -> str:
        return mint_token(SECRET, user_id, now_ms=self.server.now_ms, ttl_s=ttl_s, scopes=scopes)

    async def call(
        self,
        method: str,
        path: str,
        *,
        as_: str | None = None,
        body: object = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """`as_` is a key or a token; `body` is sent as JSON, `raw` as it is and without a content type."""
        sent = dict(headers or {})
        if as_ is not None:
            sent["Authorization"] = f"Bearer {as_}"
        if body is not None:
            raw = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        client: Any = self.app.test_client(use_cookies=False)
        response = await client.open(path, method=method, headers=sent, data=raw)
        content = await response.get_data(as_text=False)
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, content)

    async def publish(self, user_id: str = "ann", message: str = "hello", **fields: object) -> Any:
        body = {"type": "system-message", "data": {"message": message}, "user_id": user_id} | fields
        answer = await self.call("POST", "/v1/notifications", as_="pub", body=body)
        assert answer.status == 201, answer
        return answer.json


def make_parts(server: Server, store: Any, inbox: Any, **settings: object) -> ApiParts:
    config = Config.model_validate(settings)
    return ApiParts(
        config=config,
        inbox=inbox,
        store=store,
        keys=Keys(
            TokenVerifier(SECRET),
            publish_keys=["pub", "pub-2"],
            admin_keys=["adm"],
            allowed_origins=config.allowed_origins,
        ),
        clock=lambda: server.now_ms,
        live_connections=server.live_connections,
        live_users=server.live_users,
        user_connections=lambda user_id: server.connections.get(user_id, []),
        close_user=server.close_user,
        refresh=server.refresh,
        revoke_token=server.revoke_token,
        revoke_user=server.revoke_user,
        statistics=lambda: {"connections": {"websocket": 2, "sse": 1}, "ready": True, "version": "x"},
        readiness=lambda: server.reasons,
        on_prices=server.on_prices,
        set_watch=partial(set_watch, store),
        set_watches=partial(set_watches, store),
        explain_watch=partial(explain_watch, store),
        backtest=lambda spec, after, limit: backtest(store, spec, after=after, limit=limit),
        erase_user=partial(server.erase_user, inbox),
        wake_outbox=server.wake_outbox,
        set_webhook=lambda webhook: store.write(partial(webhooks.put, webhook=webhook)),
        remove_webhook=lambda publisher: store.write(partial(webhooks.remove, publisher=publisher)),
    )


@pytest.fixture
def open_api(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Api]]:
    """Opens a server's API over a fresh database; keyword arguments are settings."""

    @asynccontextmanager
    async def open_(**settings: object) -> AsyncIterator[Api]:
        server = Server()
        url = f"sqlite:///{tmp_path / 'notifyd.db'}"
        async with (
            open_store(url, clock=lambda: server.now_ms) as store,
            open_inbox(
                store,
                clock=lambda: server.now_ms,
                on_commit=lambda entries, withdrawn: None,
                retention_ms=30 * 86_400_000,
                max_rows_per_user=10_000,
            ) as inbox,
        ):
            parts = make_parts(server, store, inbox, **settings)
            yield Api(parts, server, create_app(parts))

    return open_


@pytest.fixture
async def api(open_api: Callable[..., AbstractAsyncContextManager[Api]]) -> AsyncIterator[Api]:
    """The API with the usual settings."""
    async with open_api() as opened:
        yield opened


class FailingInbox:
    """An inbox whose every call fails with `error`; for the answers that a healthy one does not give."""

    epoch = "e"
    head = 10

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def append(self, publication: object) -> object:
        raise self.error

    async def append_many(self, publications: Sequence[object]) -> list[object]:
        if len(publications) == 1:
            raise self.error
        return [self.error for _ in publications]

    async def list(self, user_id: str, **query: object) -> object:
        raise self.error


@pytest.fixture
def failing_api() -> Callable[[Exception], Api]:
    """The API over an inbox that fails with the given error; touches no database."""

    def make(error: Exception) -> Api:
        server = Server()
        parts = make_parts(server, None, FailingInbox(error))
        return Api(parts, server, create_app(parts))

    return make
