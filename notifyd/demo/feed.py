"""The demo's prices: what each tick says is a pure function of the seed and the tick's number.

A shop's price of an item has a level that wanders (three layers of steps, each slower and as random as the
one before) and, now and then, a sale that lasts some ticks. A tick names only the prices that changed since
the tick before it, as a real feed would. Nothing here knows the time, a file or the network.
"""

from __future__ import annotations

import functools
from random import Random
from typing import NamedTuple

#: Milliseconds between two ticks.
TICK_MS = 1_500
#: After a pause, only this many of the ticks that were due are played.
MAX_MISSED_TICKS = 200
#: Days of history that a new demo begins with, so that medians exist.
HISTORY_DAYS = 21
DAY_MS = 86_400_000

CURRENCY = "USD"
#: Ticks in which a pair of item and shop has at most one sale, and how likely it is.
SALE_WINDOW = 20
SALE_CHANCE = 0.4
SALE_TICKS = (5, 9)
SALE_PERCENT = (12, 35)
#: (ticks that a step of the level lasts, how far it moves the level)
LEVEL_LAYERS = ((37, 0.025), (151, 0.04), (613, 0.05))


class Item(NamedTuple):
    """Something sold; `usual` is its usual price in cents."""

    item_id: str
    name: str
    usual: int


class Shop(NamedTuple):
    """Where it is sold; `factor` is how dear the shop is."""

    store_id: int
    name: str
    factor: float


class PricePoint(NamedTuple):
    """What a feed says of one item in one shop."""

    item: Item
    shop: Shop
    cents: int
    observed_ms: int


ITEMS = (
    Item("orange-juice", "Orange juice, 64 oz", 449),
    Item("ground-coffee", "Ground coffee, 12 oz", 899),
    Item("whole-milk", "Whole milk, 1 gal", 389),
    Item("eggs", "Eggs, dozen", 429),
    Item("sourdough", "Sourdough bread", 549),
    Item("butter", "Butter, 1 lb", 499),
    Item("granola", "Oat granola, 16 oz", 629),
    Item("spaghetti", "Spaghetti, 1 lb", 189),
    Item("olive-oil", "Olive oil, 1 l", 1399),
    Item("tomatoes", "Plum tomatoes, 28 oz can", 259),
    Item("parmesan", "Parmesan, 8 oz", 849),
    Item("basmati", "Basmati rice, 4 lb", 779),
    Item("dark-chocolate", "Dark chocolate, 3.5 oz", 329),
    Item("green-tea", "Green tea, 40 bags", 519),
)
SHOPS = (
    Shop(1, "Corner Market", 1.06),
    Shop(2, "Fresh Fields", 1.0),
    Shop(3, "Harbor Foods", 0.97),
    Shop(4, "Green Grocer", 1.02),
)


def price_at(seed: int, item: Item, shop: Shop, tick: int) -> int:
    """Cents that the item costs in the shop at that tick; negative ticks lie before the demo began."""
    level = _level(seed, item, shop, tick) * item.usual * shop.factor
    return shelf_price(level * (1 - _sale(seed, item, shop, tick)))


def changes(seed: int, tick: int, due_ms: int) -> list[PricePoint]:
    """The prices that tick number `tick`, due at `due_ms`, has to tell; often a few, sometimes none."""
    return [
        PricePoint(item, shop, now, due_ms)
        for item in ITEMS
        for shop in SHOPS
        if (now := price_at(seed, item, shop, tick)) != price_at(seed, item, shop, tick - 1)
    ]


def history(seed: int, begun_ms: int) -> list[PricePoint]:
    """A price a day of everything everywhere, for the days before the first tick, oldest first."""
    return [
        PricePoint(item, shop, price_at(seed, item, shop, -day * SALE_WINDOW), begun_ms - day * DAY_MS)
        for day in range(HISTORY_DAYS, 0, -1)
        for item in ITEMS
        for shop in SHOPS
    ]


def shelf_price(cents: float) -> int:
    """The nearest price that ends in 9, as shops like it."""
    return max(9, round((cents - 9) / 10) * 10 + 9)


def _level(seed: int, item: Item, shop: Shop, tick: int) -> float:
    level = 1.0
    for length, size in LEVEL_LAYERS:
        place = tick + _phase(seed, item.item_id, shop.store_id, length)
        level *= 1 + size * _step(seed, item.item_id, shop.store_id, length, place // length)
    return level


def _sale(seed: int, item: Item, shop: Shop, tick: int) -> float:
    """The part of the price that a sale takes off at that tick; 0.0 without one."""
    phase = _phase(seed, item.item_id, shop.store_id, SALE_WINDOW)
    window, place = divmod(tick + phase, SALE_WINDOW)
    chance, begin, end, percent = _sale_of(seed, item.item_id, shop.store_id, window)
    return percent / 100 if chance < SALE_CHANCE and begin <= place < end else 0.0


# Each draw is decided by its arguments alone, alike on every machine; the caches only save time.


@functools.lru_cache(maxsize=1024)
def _phase(seed: int, item_id: str, store_id: int, length: int) -> int:
    return Random(f"phase/{seed}/{item_id}/{store_id}/{length}").randrange(length)


@functools.lru_cache(maxsize=2048)
def _step(seed: int, item_id: str, store_id: int, length: int, step: int) -> float:
    return Random(f"step/{seed}/{item_id}/{store_id}/{length}/{step}").uniform(-1, 1)


@functools.lru_cache(maxsize=1024)
def _sale_of(seed: int, item_id: str, store_id: int, window: int) -> tuple[float, int, int, int]:
    draw = Random(f"sale/{seed}/{item_id}/{store_id}/{window}")
    chance, length = draw.random(), draw.randint(*SALE_TICKS)
    begin = draw.randrange(1, SALE_WINDOW - length)
    return chance, begin, begin + length, draw.randint(*SALE_PERCENT)


# --- which ticks are due ----------------------------------------------------------------------------------


def tick_due_ms(begun_ms: int, tick: int) -> int:
    """When a tick is due, in milliseconds since 1970."""
    return begun_ms + tick * TICK_MS


def due_ticks(begun_ms: int, played: int, now_ms: int) -> range:
    """The ticks to play now, after `played` was the last one: the newest of those that are due."""
    newest = (now_ms - begun_ms) // TICK_MS
    return range(max(played + 1, newest - MAX_MISSED_TICKS + 1), newest + 1)
