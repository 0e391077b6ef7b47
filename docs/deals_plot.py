"""Rules on a file of prices: how many alerts each gives, and a picture of one product's history with them.

    python docs/deals_plot.py FILE.csv[.gz] summary
    python docs/deals_plot.py FILE.csv[.gz] plot --item 1 --store 12 > docs/deals.svg

The file has the columns week, store, item_id, item, price_cents and deal (1 where the store itself called it
a deal), in the order in which the prices became known. The rules run as in the checker.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from notifyd.checker.replay import Replay
from notifyd.store.history import RunPrice
from notifyd.store.watch_rules import NewBest, PercentDrop, Rule, TargetPrice

WEEK_MS = 7 * 86_400_000


class Shelf(NamedTuple):
    """One row of the file."""

    week: int
    store: str
    item_id: str
    item: str
    price: int
    deal: bool


class Marked(NamedTuple):
    """A rule with its name and its color in the picture."""

    name: str
    rule: Rule
    color: str


def read(path: Path) -> list[Shelf]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [
            Shelf(
                int(r["week"]), r["store"], r["item_id"], r["item"], int(r["price_cents"]), r["deal"] == "1"
            )
            for r in csv.DictReader(file)
        ]


def rules(target: int) -> list[Marked]:
    return [
        Marked(f"target price {target / 100:.2f}", TargetPrice(price_in_cents=target), "#c62828"),
        Marked("15 % below the price before", PercentDrop(percent=15, baseline="previous"), "#ef6c00"),
        Marked("15 % below the 30-day median", PercentDrop(percent=15, baseline="median_30d"), "#2e7d32"),
        Marked("10 % below the lowest ever", PercentDrop(percent=10, baseline="lowest"), "#1565c0"),
        Marked("new best in its store", NewBest(), "#6a1b9a"),
    ]


def alerts(shelves: list[Shelf], rule: Rule) -> set[int]:
    """The places in `shelves` of the prices that fire for somebody who watches every store of an item."""
    series: dict[tuple[str, str], int] = {}
    replays: dict[str, Replay] = defaultdict(lambda: Replay(rule))
    fired = set()
    for place, shelf in enumerate(shelves):
        key = (shelf.item_id, shelf.store)
        number = series.setdefault(key, len(series))
        row = RunPrice(place, number, shelf.week * WEEK_MS, shelf.price, shelf.item_id, shelf.store, "USD")
        if replays[shelf.item_id].step(row) is not None:
            fired.add(place)
    return fired


def by_store(shelves: list[Shelf], rule: Rule) -> set[int]:
    """The same for somebody who watches one store: each store is a world of its own."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, shelf in enumerate(shelves):
        places[shelf.store].append(place)
    fired = set()
    for mine in places.values():
        fired |= {mine[each] for each in alerts([shelves[place] for place in mine], rule)}
    return fired


def summary(shelves: list[Shelf]) -> None:
    """A line for each rule. Targets are set per item: 15 % below the median of all its prices."""
    deals = {place for place, shelf in enumerate(shelves) if shelf.deal}
    starts = first_weeks(shelves, deals)
    print(
        f"{len(shelves):,} prices; {len(deals):,} are deals by the store's flag, {len(starts):,} begin one\n"
    )
    print("| rule | alerts | precision | recall | recall of beginnings |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for marked in rules(0)[1:]:
        line(marked.name, by_store(shelves, marked.rule), deals, starts)
    line("new best across all stores", alerts(shelves, NewBest()), deals, starts)
    line("target: 15 % below the item's median", targets(shelves), deals, starts)


def line(name: str, fired: set[int], deals: set[int], starts: set[int]) -> None:
    shares = len(fired & deals) / max(1, len(fired)), len(fired & deals) / max(1, len(deals))
    told = len(fired & starts) / max(1, len(starts))
    print(f"| {name} | {len(fired):,} | {shares[0]:.1%} | {shares[1]:.1%} | {told:.1%} |")


def first_weeks(shelves: list[Shelf], deals: set[int]) -> set[int]:
    """The deals that were none the price before in the same store."""
    before: dict[tuple[str, str], bool] = {}
    starts = set()
    for place, shelf in enumerate(shelves):
        if place in deals and not before.get((shelf.item_id, shelf.store), False):
            starts.add(place)
        before[shelf.item_id, shelf.store] = shelf.deal
    return starts


def targets(shelves: list[Shelf]) -> set[int]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, shelf in enumerate(shelves):
        places[shelf.item_id].append(place)
    fired = set()
    for mine in places.values():
        prices = sorted(shelves[place].price for place in mine)
        rule = TargetPrice(price_in_cents=prices[len(prices) // 2] * 85 // 100)
        fired |= {mine[each] for each in alerts([shelves[place] for place in mine], rule)}
    return fired


WIDTH, HEIGHT, LEFT, TOP, ROW = 1100, 320, 226, 56, 18


def plot(shelves: list[Shelf], item_id: str, store: str) -> str:
    """The history of one item in one store as SVG: the price as steps, a mark below for each alert."""
    own = [shelf for shelf in shelves if (shelf.item_id, shelf.store) == (item_id, store)]
    if not own:
        raise SystemExit(f"no prices of item {item_id} in store {store}")
    marked = rules(sorted(shelf.price for shelf in own)[len(own) // 2] * 85 // 100)
    low, high = min(shelf.price for shelf in own), max(shelf.price for shelf in own)
    weeks = own[0].week, own[-1].week + 1

    def x(week: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 24) * (week - weeks[0]) / (weeks[1] - weeks[0]), 1)

    def y(price: int) -> float:
        return round(TOP + HEIGHT - HEIGHT * (price - low) / max(1, high - low), 1)

    height = TOP + HEIGHT + ROW * (len(marked) + 2) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="11" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="24" font-size="15">{escape(own[0].item)}, store {escape(store)}</text>',
        '<text x="12" y="42" fill="#666">price by week; grey: the store called it a deal</text>',
    ]
    for shelf in own:
        if shelf.deal:
            wide = round(x(shelf.week + 1) - x(shelf.week), 1)
            parts.append(
                f'<rect x="{x(shelf.week)}" y="{TOP}" width="{wide}" height="{HEIGHT}" fill="#e4e4e4"/>'
            )
    for price in sorted({low, high, (low + high) // 2}):
        parts.append(f'<text x="{LEFT - 6}" y="{y(price) + 4}" text-anchor="end">{price / 100:.2f}</text>')
        parts.append(f'<path d="M{LEFT} {y(price)}H{WIDTH - 24}" stroke="#ccc" stroke-dasharray="2 4"/>')
    for week in range(-(-weeks[0] // 20) * 20, weeks[1], 20):
        parts.append(f'<text x="{x(week)}" y="{TOP + HEIGHT + 14}" text-anchor="middle">{week}</text>')
    steps = "".join(f"L{x(shelf.week)} {y(shelf.price)}H{x(shelf.week + 1)}" for shelf in own)
    parts.append(f'<path d="M{steps[1:]}" fill="none" stroke="#222" stroke-width="1.3"/>')
    for place, each in enumerate(marked):
        at = TOP + HEIGHT + 36 + place * ROW
        fired = sorted(alerts(own, each.rule))
        parts += [
            f'<circle cx="{x(own[i].week)}" cy="{at - 4}" r="4" fill="{each.color}"/>'
            f'<circle cx="{x(own[i].week)}" cy="{y(own[i].price)}" r="2.5" fill="{each.color}"/>'
            for i in fired
        ]
        parts.append(f'<path d="M{LEFT} {at - 4}H{WIDTH - 24}" stroke="{each.color}" stroke-opacity="0.25"/>')
        parts.append(f'<text x="12" y="{at}" fill="{each.color}">{escape(each.name)}: {len(fired)}</text>')
    return "\n".join([*parts, "</svg>"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Rules on a file of prices")
    parser.add_argument("file", type=Path)
    parser.add_argument("what", choices=["summary", "plot"])
    parser.add_argument("--item", default="1")
    parser.add_argument("--store", default="12")
    given = parser.parse_args()
    shelves = read(given.file)
    if given.what == "summary":
        summary(shelves)
    else:
        sys.stdout.write(plot(shelves, given.item, given.store) + "\n")


if __name__ == "__main__":
    main()
