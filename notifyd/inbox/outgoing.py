"""Moving what applications have published inside their own transactions into the log."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Never

import msgspec
import structlog
import trio

from notifyd.auth import is_user_id
from notifyd.errors import RequestError, StatementFailed, StoreError, TooLarge, Unprocessable
from notifyd.inbox.records import Publication
from notifyd.messages import Draft
from notifyd.store import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.errors import HttpError
    from notifyd.inbox.inbox import Inbox
    from notifyd.inbox.records import Receipt
    from notifyd.store.base import NewEntry, Store, Transaction
    from notifyd.store.outgoing import Outgoing

#: The name under which their idempotency keys are remembered: those of HTTP publishers are others.
PUBLISHER: Final = "in-database"
#: As over HTTP: bytes of one notification's data, and levels of objects and lists.
MAX_DATA: Final = 64 * 1024
MAX_DEPTH: Final = 32
KEY_LENGTH: Final = 255
#: Seconds between looks when nothing wakes it, and before another try when the store refuses.
LOOK_EVERY_S: Final = 10.0
RETRY_S: Final = 0.5
#: Seconds between two counts of what waits.
COUNT_EVERY_S: Final = 15.0

log = structlog.get_logger("notifyd.inbox")


class Mover:
    """Takes committed rows to the log, each once, and puts aside those that cannot be notifications.

    What was put aside is deleted `retention_ms` after it was asked for. `counts`: what there was when it was
    last counted, which is done every COUNT_EVERY_S; None before the first time.
    """

    def __init__(self, store: Store, inbox: Inbox, clock: Callable[[], int], retention_ms: int) -> None:
        self.counts: outgoing.Counts | None = None
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._retention_ms = retention_ms
        self._woken = trio.Event()

    def wake(self) -> None:
        """There may be something to move."""
        self._woken.set()

    async def run(self) -> Never:
        """Move what there is whenever woken, and now and then. What the store refuses waits."""
        while True:
            self._woken = trio.Event()
            try:
                while await self.move() == outgoing.BATCH:
                    pass
            except StoreError:
                await trio.sleep(RETRY_S)
                continue
            with trio.move_on_after(LOOK_EVERY_S):
                await self._woken.wait()

    async def run_upkeep(self) -> Never:
        """Count, and delete what is too old, now and then. What the store refuses waits."""
        while True:
            with suppress(StoreError):
                await self.tidy()
            await trio.sleep(COUNT_EVERY_S)

    async def tidy(self) -> None:
        """Delete what was put aside too long ago, and count the rest. Raises StoreError."""
        forget = partial(outgoing.forget_rejected, before_ms=self._clock() - self._retention_ms)
        while await self._inbox.work(lambda tx: ((), forget(tx))) == outgoing.BATCH:
            pass
        self.counts = await self._store.read(outgoing.counts)

    async def move(self) -> int:
        """Deal with the first rows that wait; how many there were. Raises StoreError: some still wait."""
        rows = await self._store.read(outgoing.waiting)
        wanted = [_try_publication(row) for row in rows]
        good = [
            (each, partial(outgoing.take, outgoing_id=row.outgoing_id))
            for row, each in zip(rows, wanted, strict=True)
            if isinstance(each, Publication)
        ]
        outcomes = iter(await self._inbox.append_claimed(good) if good else [])
        for row, each in zip(rows, wanted, strict=True):
            await self._settle(row, each if isinstance(each, RequestError) else next(outcomes))
        return len(rows)

    async def _settle(self, row: Outgoing, outcome: Receipt | HttpError | None) -> None:
        if isinstance(outcome, RequestError | StatementFailed):
            await self._inbox.work(partial(_reject, outgoing_id=row.outgoing_id, reason=outcome.detail))
            log.warning(
                "outgoing.rejected", outgoing_id=row.outgoing_id, type=row.type, reason=outcome.detail
            )
        elif isinstance(outcome, Exception):
            raise outcome


def _reject(tx: Transaction, outgoing_id: int, reason: str) -> tuple[Sequence[NewEntry], None]:
    outgoing.reject(tx, outgoing_id, reason)
    return (), None


def _try_publication(row: Outgoing) -> Publication | RequestError:
    try:
        return _publication(row)
    except RequestError as error:
        return error


def _publication(row: Outgoing) -> Publication:
    """Raises RequestError for what would be refused over HTTP, too."""
    if row.user_id is not None and not is_user_id(row.user_id):
        raise Unprocessable("user_id: 1 to 128 printable characters")
    key = row.idempotency_key
    if key is not None and not (0 < len(key) <= KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Unprocessable("idempotency_key: 1 to 255 printable ASCII characters")
    data = _data(bytes(row.data))
    meaning = msgspec.json.encode((row.type, data, row.user_id), order="sorted")
    return Publication(
        draft=Draft(row.type, data),
        user_ids=None if row.user_id is None else (row.user_id,),
        publisher=PUBLISHER,
        idempotency_key=key,
        body_hash=b"" if key is None else sha256(meaning).digest(),
    )


def _data(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_DATA:
        raise TooLarge(f"data: at most {MAX_DATA} bytes")
    try:
        data = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unprocessable(f"data: {error}") from None
    if not isinstance(data, dict):
        raise Unprocessable("data: an object is needed")
    if _deeper(data, MAX_DEPTH):
        raise Unprocessable(f"data: at most {MAX_DEPTH} levels of objects and lists")
    return data


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inner) and (levels == 0 or any(_deeper(each, levels - 1) for each in inner))
