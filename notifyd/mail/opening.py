"""All of mail and webhooks, made from the settings; `service.py` starts its jobs."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Never

import structlog
import trio

from notifyd.errors import StoreError
from notifyd.mail.planner import Planner
from notifyd.mail.sender import Sender
from notifyd.mail.webhooks import WebhookCarrier
from notifyd.store import outbox, preferences, webhooks
from notifyd.store.deliveries import MAIL

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from notifyd.config import Config
    from notifyd.inbox import Inbox
    from notifyd.mail.carrying import Carrier, Post
    from notifyd.store.base import Store
    from notifyd.store.deliveries import Channels
    from notifyd.store.webhooks import Webhook

log = structlog.get_logger("notifyd.mail")

#: Seconds between two looks at how much waits, for metrics.
COUNT_EVERY_S = 15.0


class Mail:
    """The parts, and what the rest of the server may ask of them."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        clock: Callable[[], int],
        channels: Channels,
        known: dict[str, Webhook],
        carriers: dict[str, Carrier],
        grace_ms: int,
        draw: Callable[[int], str],
        smtp: Any = None,
    ) -> None:
        self._store = store
        self._channels = channels
        self._webhooks = known
        self._smtp = smtp
        self._depth: dict[tuple[str, str], int] = {}
        self._hooks = WebhookCarrier(known.get, inbox.epoch, clock)
        self.sender = Sender(store, inbox, clock, {"webhook": self._hooks, **carriers})
        self.planner = Planner(
            store,
            inbox,
            clock,
            grace_ms=grace_ms,
            is_every=self._is_every,
            on_messages=self.sender.wake,
            draw=draw,
        )
        channels.webhooks = frozenset(known)

    def wake(self) -> None:
        """Deliveries, preferences or messages have changed. Never waits."""
        self.planner.wake()
        self.sender.wake()

    def committed(self) -> None:
        """Something was appended to the log, perhaps with deliveries. Never waits."""
        if self._channels.any:
            self.planner.wake()

    async def run_sender(self) -> Never:
        """Carry what is due, until cancelled; in the asyncio loop that SMTP needs, when there is SMTP."""
        loop: AbstractAsyncContextManager[None] = nullcontext() if self._smtp is None else _loop()
        async with loop:
            try:
                await self.sender.run()
            finally:
                await self._hooks.aclose()
                if self._smtp is not None:
                    await self._smtp.aclose()

    async def run_counting(self) -> Never:
        """Keep `statistics` up to date, until cancelled."""
        while True:
            try:
                self._depth = await self._store.read(outbox.counts)
            except StoreError as error:
                log.debug("outbox.uncounted", reason=error.detail)
            await trio.sleep(COUNT_EVERY_S)

    async def set_webhook(self, webhook: Webhook) -> None:
        """Set a publisher's webhook; what is published from now on goes there. Raises StoreError."""
        await self._store.write(partial(webhooks.put, webhook=webhook))
        self._webhooks[webhook.publisher] = webhook
        self._channels.webhooks = frozenset(self._webhooks)

    async def remove_webhook(self, publisher: str) -> bool:
        """End a publisher's webhook; False when there was none. Raises StoreError."""
        had = await self._store.write(partial(webhooks.remove, publisher=publisher))
        self._webhooks.pop(publisher, None)
        self._channels.webhooks = frozenset(self._webhooks)
        return had

    def waiting(self) -> dict[tuple[str, str], int]:
        """Messages by status (`waiting`, `dead`) and kind of channel, some seconds old."""
        return {(status, kind): self._depth.get((status, kind), 0) for status in _STATUSES for kind in _KINDS}

    def outcomes(self) -> dict[tuple[str, str], int]:
        """Tries since the start, by kind of channel and what came of them."""
        return {(kind, each): self.sender.counts[kind, each] for kind in _KINDS for each in _OUTCOMES}

    def statistics(self) -> dict[str, Any]:
        """JSON for /v1/stats."""
        return {
            "mails": self._channels.mail,
            "webhooks": len(self._webhooks),
            "carrying": self.sender.carrying,
            "outcomes": {f"{kind}_{each}": count for (kind, each), count in self.outcomes().items()},
            "outbox": {f"{kind}_{status}": count for (status, kind), count in self.waiting().items()},
        }

    def _is_every(self, publisher: str) -> bool:
        found = self._webhooks.get(publisher)
        return found is not None and found.every


_STATUSES = ("waiting", "dead")
_KINDS = ("mail", "webhook")
_OUTCOMES = ("sent", "retried", "dead", "dropped")


def _loop() -> AbstractAsyncContextManager[None]:
    from notifyd.mail.smtp import run_in_loop  # asyncio is loaded only by servers that need it

    return run_in_loop()


async def make_mail(
    config: Config,
    store: Store,
    inbox: Inbox,
    clock: Callable[[], int],
    channels: Channels,
    base: str,
    draw: Callable[[int], str],
) -> Mail:
    """Everything, not yet running. `base`: the address of the page; `draw` gives ids their chance.

    Raises ConfigError.
    """
    known = {each.publisher: each for each in await store.read(webhooks.everybodys)}
    carriers: dict[str, Carrier] = {}
    smtp = None
    if channels.mail:
        from notifyd.mail.letters import Letters  # as are templates and tables of locales
        from notifyd.mail.posting import MailCarrier

        key = await store.write(preferences.draw_unsubscribe_key)
        letters = Letters(config.mail_from, base, key, config.mail_templates)
        post, smtp = _post(config)
        carriers[MAIL] = MailCarrier(letters, post, clock)
    grace_ms = round(config.email_grace_seconds * 1000)
    return Mail(store, inbox, clock, channels, known, carriers, grace_ms, draw, smtp)


def _post(config: Config) -> tuple[Post, Any]:
    if config.smtp_url is not None:
        from notifyd.mail.smtp import Smtp, parse_server

        smtp = Smtp(parse_server(config.smtp_url.get_secret_value()))
        return smtp, smtp
    from notifyd.mail.folder import Folder

    assert config.mail_folder is not None
    return Folder(config.mail_folder), None
