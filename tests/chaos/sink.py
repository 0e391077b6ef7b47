"""A mail server that misbehaves by chance, and knows what it took over: aiosmtpd in a loop under Trio."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio_asyncio
from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

_MESSAGE_ID = re.compile(rb"^Message-ID: <([^>]+)>", re.MULTILINE)
#: How likely a command goes wrong, and how long a hanging one hangs.
TROUBLE = 0.12
HANG_S = 30.0
SLOW_S = 0.2
#: Addresses that begin so are refused for ever.
BOUNCING = "bounce-"


class Sink:
    """`taken` counts what was answered with 250, by Message-ID; `on_step` is called before each answer."""

    def __init__(self, rng: random.Random, on_step: Callable[[str], None]) -> None:
        self.rng = rng
        self.on_step = on_step
        self.trouble = TROUBLE
        self.taken: Counter[str] = Counter()
        self.recipients: Counter[str] = Counter()  # of mails that were taken over
        self.ids: dict[str, set[str]] = {}  # Message-IDs by recipient
        self.bounced: Counter[str] = Counter()
        self.greeted: set[str] = set()  # greylisting: the first try of each recipient is put off
        self.troubles: Counter[str] = Counter()

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        trouble = await self._trouble("mail", server, ("421 shutting down", "451 not now", "hang", "close"))
        if trouble is None:
            envelope.mail_from = address
        return trouble or "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith(BOUNCING):
            self.on_step("bounce")
            self.bounced[address] += 1
            return "550 no such user"
        if address not in self.greeted and self.rng.random() < 0.1:
            self.greeted.add(address)
            self.troubles["greylisted"] += 1
            return "450 come back later"
        trouble = await self._trouble("rcpt", server, ("452 too many", "421 busy", "hang", "close"))
        if trouble is None:
            envelope.rcpt_tos.append(address)
        return trouble or "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        trouble = await self._trouble("data", server, ("451 disk full", "421 bye", "hang", "close", "slow"))
        if trouble is not None:
            return trouble
        self.on_step("before-250")
        if server.transport is None or server.transport.is_closing():
            return "451 gone"
        found = _MESSAGE_ID.search(envelope.content)
        assert found is not None
        name = found[1].decode()
        self.taken[name] += 1
        for recipient in envelope.rcpt_tos:
            self.recipients[recipient] += 1
            self.ids.setdefault(recipient, set()).add(name)
        asyncio.get_event_loop().call_soon(self.on_step, "after-250")
        if self.rng.random() < self.trouble / 3:
            self.troubles["250 then reset"] += 1
            asyncio.get_event_loop().call_later(0.005, server.transport.close)
        return "250 taken"

    async def _trouble(self, phase: str, server: Any, kinds: tuple[str, ...]) -> str | None:
        self.on_step(phase)
        if self.rng.random() >= self.trouble:
            return None
        kind = self.rng.choice(kinds)
        self.troubles[f"{phase} {kind}"] += 1
        if kind == "slow":
            await asyncio.sleep(SLOW_S)
            return None
        if kind == "hang":
            await asyncio.sleep(HANG_S)
            return "451 too late"
        if kind == "close":
            server.transport.abort()
            return "451 gone"
        return kind


@asynccontextmanager
async def open_sink(sink: Sink) -> AsyncIterator[int]:
    """Serve on a free port of the loopback, which is given."""
    async with trio_asyncio.open_loop() as loop:

        def make() -> SMTP:
            if sink.rng.random() < sink.trouble / 3:
                sink.troubles["bad greeting"] += 1
                return SMTP(sink, loop=loop, ident="no\r\n554 go away")
            return SMTP(sink, loop=loop)

        serving = await trio_asyncio.aio_as_trio(loop.create_server)(make, "127.0.0.1", 0)
        try:
            yield serving.sockets[0].getsockname()[1]
        finally:
            serving.close()
