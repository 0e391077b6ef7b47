"""A second, slow opinion on which prices fire which watches, written from the rules' wording alone; and a
checker over a real database whose statements can be made to fail one by one."""

from __future__ import annotations

import statistics
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import msgspec
import pytest
import trio
from sqlalchemy import delete, update

from notifyd.checker.loop import Checker
from notifyd.messages import DealNotification, encode_json, parse_time
from notifyd.store import schema
from notifyd.store.folding import fold, prefixes, words
from notifyd.store.prices import Batch, ItemName, NewPrice, StoreName, add_batch
from notifyd.store.sql import open_store
from notifyd.store.watch_rules import NewBest, TargetPrice, WatchSpec, encode_store_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from pathlib import Path

    from sqlalchemy import CursorResult, Table
    from sqlalchemy.sql import Executable

    from notifyd.checker.watching import WatchSet
    from notifyd.inbox import Inbox
    from notifyd.store.base import NewEntry, Store, Transaction

    NewDatabase = Callable[[Path], AbstractContextManager[str]]
    OpenShop = Callable[[], AbstractAsyncContextManager["Shop"]]
    Reference = Callable[[Sequence["Row"], Iterable["Watched"]], set["Alert"]]

T = TypeVar("T")

DAY_MS = 86_400_000


class Row(NamedTuple):
    """One price as a publisher sends it."""

    item_id: str
    store_id: int | str
    currency: str
    observed_ms: int
    price: int
    valid_until_ms: int | None = None

    @property
    def item_name(self) -> str:
        """What the item is called: some share words, and one has accents."""
        return ITEM_NAMES.get(self.item_id, f"Item {self.item_id}")


ITEM_NAMES = {"a": "Crème brûlée, 4 × 100 g", "b": "CREME FRAICHE 200 g"}


class Watched(NamedTuple):
    """One watch; only prices from number `since` on (counting every row sent) are its business."""

    user_id: str
    watch_id: str
    spec: WatchSpec
    since: int = 0


class Alert(NamedTuple):
    user_id: str
    watch_id: str
    item_id: str
    store_id: int | str
    currency: str
    price: int
    observed_ms: int


class _State:
    def __init__(self) -> None:
        self.ever_fired = False
        self.silent = False
        self.told = 0
        self.fired_ms = 0


def _percent(value: float) -> Fraction:
    return Fraction(str(value)) / 100


def _is_store(spec: WatchSpec, row: Row) -> bool:
    return spec.stores is None or any(
        store == row.store_id and type(store) is type(row.store_id) for store in spec.stores
    )


def _best(spec: WatchSpec, row: Row, stored: list[Row]) -> Fraction | None:
    rivals = [
        r.price
        for r in stored
        if (r.item_id, r.currency) == (row.item_id, row.currency)
        and _is_store(spec, r)
        and r.observed_ms >= row.observed_ms - 14 * DAY_MS
    ]
    return Fraction(min(rivals)) if rivals else None


def _threshold(spec: WatchSpec, row: Row, stored: list[Row]) -> Fraction | None:
    rule = spec.rule
    if isinstance(rule, NewBest):
        return _best(spec, row, stored)
    earlier = [r for r in stored if r[:3] == row[:3]]
    if isinstance(rule, TargetPrice):
        return Fraction(rule.price_in_cents)
    if not earlier:
        return None
    if rule.baseline == "previous":
        newest = max(r.observed_ms for r in earlier)
        baseline = Fraction([r.price for r in earlier if r.observed_ms == newest][-1])
    elif rule.baseline == "lowest":
        baseline = Fraction(min(r.price for r in earlier))
    else:
        month = [r.price for r in earlier if r.observed_ms >= row.observed_ms - 30 * DAY_MS]
        if len(month) < 3:
            return None
        baseline = statistics.median(Fraction(price) for price in month)
    return baseline * (1 - _percent(rule.percent))


def _fires(spec: WatchSpec, state: _State, row: Row, stored: list[Row]) -> bool:
    rule = spec.rule
    threshold = _threshold(spec, row, stored)
    if state.silent:
        if row.price < state.told and row.price <= state.told * (1 - _percent(rule.deeper_percent)):
            return True
        if threshold is not None and threshold < row.price >= threshold * (1 + _percent(rule.rearm_percent)):
            state.silent = False
        return False
    if state.ever_fired and row.observed_ms < state.fired_ms + rule.cooldown_s * 1000:
        return False
    if threshold is None:
        return False
    return row.price < threshold if isinstance(rule, NewBest) else row.price <= threshold


def _names(spec: WatchSpec, row: Row) -> bool:
    """Whether the watch means the item; searches are in lower case, without accents."""
    if spec.search is None:
        return spec.item_id == row.item_id
    plain = row.item_name.lower().translate(str.maketrans("èûé", "eue"))
    return all(any(word.startswith(each) for word in plain.split()) for each in spec.search.split())


def _concerns(spec: WatchSpec, row: Row) -> bool:
    if not _names(spec, row) or not _is_store(spec, row):
        return False
    return not (
        isinstance(spec.rule, TargetPrice)
        and spec.rule.currency is not None
        and spec.rule.currency != row.currency
    )


def _alerts_of(rows: Sequence[Row], watched: Watched) -> set[Alert]:
    states: dict[object, _State] = {}
    stored: list[Row] = []
    alerts = set()
    for number, row in enumerate(rows):
        if any(r[:5] == row[:5] for r in stored):
            continue
        before = list(stored)
        stored.append(row)
        late = any(r[:3] == row[:3] and r.observed_ms > row.observed_ms for r in before)
        if number < watched.since or late or not _concerns(watched.spec, row):
            continue
        state = states.setdefault(row[:3], _State())
        if _fires(watched.spec, state, row, before):
            state.ever_fired = state.silent = True
            state.told, state.fired_ms = row.price, row.observed_ms
            alerts.add(
                Alert(
                    watched.user_id,
                    watched.watch_id,
                    row.item_id,
                    row.store_id,
                    row.currency,
                    row.price,
                    row.observed_ms,
                )
            )
    return alerts


def _reference(rows: Sequence[Row], watches: Iterable[Watched]) -> set[Alert]:
    return {alert for watched in watches for alert in _alerts_of(rows, watched)}


@pytest.fixture(scope="session")
def reference() -> Reference:
    """All alerts that `rows`, in this order, owe to `watches`."""
    return _reference


# --- a checker whose database can fail --------------------------------------------------------------


class Killed(Exception):
    """The process ended here."""


class _FailingTransaction:
    def __init__(self, tx: Transaction, store: FailingStore) -> None:
        self._tx = tx
        self._store = store
        self.now_ms = tx.now_ms

    def execute(
        self, statement: Executable, parameters: dict[str, Any] | Sequence[dict[str, Any]] | None = None
    ) -> CursorResult[Any]:
        self._store.step()
        return self._tx.execute(statement, parameters)

    def insert_rows(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> None:
        self._store.step()
        self._tx.insert_rows(table, columns, rows, conflict)


class FailingStore:
    """A store that fails once at step number `fail_at`: a statement, or the moment after a commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.epoch = store.epoch
        self.failed = store.failed
        self.steps = 0
        self.fail_at = 0  # never

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.fail_at:
            raise Killed

    def _failing(self, work: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
        return lambda tx: work(cast("Transaction", _FailingTransaction(tx, self)))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._store.read(self._failing(work))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._store.write(self._failing(work))


class CommittedEntries:
    """Stands for the inbox: what was committed is in `entries`."""

    def __init__(self, store: FailingStore) -> None:
        self._store = store
        self.entries: list[NewEntry] = []
        self.changed = trio.Event()
        self.before: list[Callable[[], Awaitable[object]]] = []  # each is called once, before a commit

    async def work(self, fn: Callable[[Transaction], tuple[Sequence[NewEntry], T]]) -> T:
        if self.before:
            await self.before.pop()()
        entries, result = await self._store.write(fn)
        if entries:
            self.entries.extend(entries)
            self.changed.set()
            self.changed = trio.Event()
        self._store.step()
        return result


TABLES = (
    "watch_states",
    "watches",
    "prices",
    "price_series",
    "items",
    "item_words",
    "price_runs",
    "deal_ends",
)


class Shop:
    """Prices and watches in a database of their own, and a checker over them."""

    def __init__(self, store: Store) -> None:
        self.store = FailingStore(store)
        self.inbox = CommittedEntries(self.store)
        self.now_ms = 0
        self.interval_s = 3600.0
        self.sent = 0

    @property
    def checker(self) -> Checker:
        """A checker as after a start of the process."""
        return Checker(
            cast("Store", self.store),
            cast("Inbox", self.inbox),
            clock=lambda: self.now_ms,
            interval_s=self.interval_s,
        )

    async def clear(self) -> None:
        """Begin anew."""
        self.store.fail_at = 0
        self.inbox.entries.clear()
        self.sent = 0

        def work(tx: Transaction) -> None:
            for table in TABLES:
                tx.execute(delete(schema.metadata.tables[table]))
            tx.execute(delete(schema.price_batches))
            tx.execute(delete(schema.price_log))
            tx.execute(update(schema.meta).values(checker_cursor=0))

        await self.store.write(work)

    async def watch(self, user_id: str, watch_id: str, spec: WatchSpec) -> WatchSet:
        return await self.checker.set_watch(user_id, watch_id, spec)

    async def post(self, rows: Sequence[Row]) -> int:
        """Store one batch; gives the number of prices that were new."""
        self.sent += 1
        batch = _batch(rows, self.sent)
        return (await self.store.write(lambda tx: add_batch(tx, batch))).added

    async def check(self) -> None:
        """Deal with all runs that are left."""
        checker = self.checker
        while await checker.check_next():
            pass

    def notifications(self) -> list[DealNotification]:
        return [msgspec.json.decode(entry.data, type=DealNotification) for entry in self.inbox.entries]

    def alerts(self) -> list[Alert]:
        """Every deal that was told."""
        return [
            Alert(
                told.user_id,
                str(deal.watch_id),
                str(deal.item_id),
                deal.store_id,
                str(deal.currency),
                deal.best_price_in_cents,
                parse_time(str(deal.observed_at)),
            )
            for told in self.notifications()
            for deal in told.deals
        ]


def _batch(rows: Sequence[Row], number: int) -> Batch:
    items = {row.item_id: ItemName(row.item_id, row.item_name, fold(row.item_name), 0) for row in rows}
    stores = {}
    prices: dict[tuple[object, ...], NewPrice] = {}
    for row in rows:
        store_id = encode_store_id(row.store_id)
        key = (row.item_id, store_id, row.currency)
        stores[key] = StoreName(*key, f"Store {row.store_id}", 0)
        price = NewPrice(*key, row.observed_ms, row.price, row.valid_until_ms, None, None)
        prices.setdefault(price[:5], price)
    named = [(item.item_id, word) for item in items.values() for word in words(item.name)]
    return Batch(
        batch_id=str(number),
        publisher="feed",
        items=encode_json(list(items.values())).decode(),
        stores=encode_json(list(stores.values())).decode(),
        prices=encode_json([(offset, *price) for offset, price in enumerate(prices.values(), 1)]).decode(),
        count=len(prices),
        answer=b'{"batch_id":"b"',
        words=encode_json(named).decode(),
        prefixes=encode_json(
            [(word, each) for word in {w for _, w in named} for each in prefixes(word)]
        ).decode(),
    )


@pytest.fixture
def open_shop(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> OpenShop:
    """Opens shops, each with a database of its own: for tests that run many times with the same fixtures."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Shop]:
        with new_database(tmp_path_factory.mktemp("shop")) as url:
            async with open_store(url, clock=lambda: 0) as store:
                yield Shop(store)

    return opened


@pytest.fixture
async def shop(open_shop: OpenShop) -> AsyncIterator[Shop]:
    async with open_shop() as shop:
        yield shop
