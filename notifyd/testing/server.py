"""A whole notifyd in the test's own process: a free port of the loopback, a database of its own, keys."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from notifyd.config import Config
from notifyd.service import open_service

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from notifyd.service import Service


@dataclass(frozen=True)
class TestServer:
    """A running server and what a client needs to talk to it."""

    service: Service
    publish_key: str
    admin_key: str
    jwt_secret: str

    __test__ = False  # or pytest takes it for a class of tests

    @property
    def url(self) -> str:
        return self.service.url

    def token(self, user_id: str, ttl_s: float = 3600) -> str:
        """A token of this user that the server accepts for `ttl_s` seconds."""
        return mint_token(self.jwt_secret, user_id, now_ms=wall_ms(), ttl_s=ttl_s)


@asynccontextmanager
async def open_test_server(**settings: Any) -> AsyncGenerator[TestServer, None]:
    """A server as long as the block; its database is deleted afterwards.

    Args:
        settings: fields of `Config` to use instead of what a test wants.
    """
    with tempfile.TemporaryDirectory(prefix="notifyd-test-") as folder:
        own = {
            "listen": "127.0.0.1:0",
            "database_url": f"sqlite:///{folder}/notifyd.db",
            "jwt_secret": secrets.token_urlsafe(32),
            "publish_keys": secrets.token_urlsafe(18),
            "admin_keys": secrets.token_urlsafe(18),
            "drain_seconds": 0.0,
        }
        given = {**own, **settings}
        async with open_service(Config(**given)) as service:
            yield TestServer(
                service, str(given["publish_keys"]), str(given["admin_keys"]), str(given["jwt_secret"])
            )
