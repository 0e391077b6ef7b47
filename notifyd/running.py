"""A running server as the program sees it whose process it shares; `service.py` builds and runs it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
import trio

from notifyd.broker.subscriptions import open_subscription
from notifyd.clock import wall_ms
from notifyd.errors import CloseCode, ConfigError, Unavailable
from notifyd.inbox import Publication, erase_user
from notifyd.keys import keys_from_config
from notifyd.revocations import MAX_REVOCATIONS
from notifyd.store import revocations
from notifyd.transport.connection import Connections
from notifyd.transport.tls import Tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from notifyd.broker.memory import Broker
    from notifyd.broker.subscriptions import Subscription
    from notifyd.config import Config
    from notifyd.inbox import Inbox, Receipt
    from notifyd.keys import Keys
    from notifyd.messages import Draft
    from notifyd.store.base import Store
    from notifyd.transport.door import Door

#: The name under which a program that runs the service in itself publishes.
IN_PROCESS = "in-process"

log = structlog.get_logger("notifyd.service")


class Service:
    """A running server, and the calls a program makes on it when both share a process."""

    def __init__(
        self,
        config: Config,
        store: Store,
        inbox: Inbox,
        broker: Broker,
        keys: Keys,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        self.config = config
        self.clock = clock
        self.store = store
        self.inbox = inbox
        self.broker = broker
        self.keys = keys
        self.tls = _tls_from(config)
        self.connections = Connections(config.max_connections_per_user, config.limits)
        self.urls: list[str] = []
        self.doors: list[Door] = []
        self.stopping = False

    @property
    def url(self) -> str:
        """Where the main bind is reached, with the port that was really taken."""
        return self.urls[0]

    async def notify_user(
        self,
        user_id: str,
        message: Draft,
        *,
        expires_in_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Store a notification for one user and show it wherever they are.

        Returns once it is committed. Raises Unprocessable, Unavailable, OutcomeUnknown, DiskFull.
        """
        return await self._publish(message, (user_id,), expires_in_s, idempotency_key)

    async def broadcast(
        self, message: Draft, *, expires_in_s: float | None = None, idempotency_key: str | None = None
    ) -> Receipt:
        """Store an announcement and show it to everyone. Returns and raises as `notify_user` does."""
        return await self._publish(message, None, expires_in_s, idempotency_key)

    async def _publish(
        self,
        message: Draft,
        user_ids: tuple[str, ...] | None,
        expires_in_s: float | None,
        idempotency_key: str | None,
    ) -> Receipt:
        publication = Publication(
            draft=message,
            user_ids=user_ids,
            publisher=IN_PROCESS,
            expires_in_s=expires_in_s,
            idempotency_key=idempotency_key,
        )
        return await self.inbox.append(publication)

    async def erase_user(self, user_id: str) -> None:
        """Erase a user everywhere; old cursors of theirs are told so. Raises StoreError, then ask again."""
        self.connections.close_user(user_id, CloseCode.NORMAL)
        self.connections.journal.forget(user_id)
        floor = await erase_user(self.inbox, user_id)
        self.broker.window.erase(user_id, floor)
        self.connections.close_user(user_id, CloseCode.NORMAL)  # who came while it ran

    async def revoke_token(self, issuer: str, token_id: str, until_ms: int | None) -> int:
        """Refuse one token from now on, and close what it has open: how many. Raises StoreError."""
        self._check_room()
        await self.store.write(lambda tx: revocations.put_token(tx, issuer, token_id, until_ms))
        self.keys.revocations.add_token(issuer, token_id, until_ms)
        return self.connections.close_revoked(self.keys.revocations)

    async def revoke_user(self, user_id: str, not_before_ms: int) -> int:
        """Refuse a user's tokens issued before a moment, and close what they have open: how many.

        Raises StoreError.
        """
        self._check_room()
        await self.store.write(lambda tx: revocations.put_user(tx, user_id, not_before_ms))
        self.keys.revocations.add_user(user_id, not_before_ms)
        return self.connections.close_revoked(self.keys.revocations, user_id)

    def _check_room(self) -> None:
        if len(self.keys.revocations) >= MAX_REVOCATIONS:
            self.keys.revocations.forget_expired(self.clock())
        if len(self.keys.revocations) >= MAX_REVOCATIONS:
            raise Unavailable(f"There are {MAX_REVOCATIONS} revocations, and there is no room for more")

    async def reload(self, read_config: Callable[[], Config]) -> None:
        """Read the settings again and go on with their keys and certificate; no connection is dropped.

        What cannot be used is one line in the log, and everything stays as it was.
        """
        try:
            fresh = await trio.to_thread.run_sync(lambda: keys_from_config(read_config()))
            if self.tls is not None:
                await trio.to_thread.run_sync(self.tls.reload)
        except ConfigError as fault:
            log.error("reload.failed", reason=str(fault))
            return
        self.keys.adopt(fresh)
        log.info("reload.done", certificate=self.tls is not None)

    def connection_stats(self) -> dict[str, Any]:
        """Live connections and users, as the original's `getConnectionStats()`."""
        return asdict(self.connections.statistics())

    @asynccontextmanager
    async def subscribe(self, user_id: str, *, since: str | None = None) -> AsyncIterator[Subscription]:
        """The messages of one user and of everyone as a bounded memory channel, from a cursor or from now."""
        start = await self.inbox.resume(user_id, since, window_floor=self.broker.window.floor_of(user_id))
        async with open_subscription(
            self.broker, user_id, position=start.position, read_page=self.inbox.page
        ) as subscription:
            subscription.recovered, subscription.reason = start.recovered, start.reason
            yield subscription


def _tls_from(config: Config) -> Tls | None:
    if config.tls_cert_file is None or config.tls_key_file is None:
        return None
    return Tls(config.tls_cert_file, config.tls_key_file)
