"""An example mail, to see what templates make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifyd.clock import wall_ms
from notifyd.mail.letters import Letters
from notifyd.messages import Deal, DealNotification, SystemMessage, deals_message, encode_json
from notifyd.store.outbox import Item

if TYPE_CHECKING:
    from pathlib import Path


def example_mail(mail_from: str, public_url: str | None, templates: Path | None, locale: str) -> bytes:
    """Three deals and an announcement, to nobody. Raises ConfigError, jinja2.TemplateError."""
    letters = Letters(mail_from, (public_url or "https://deals.example").rstrip("/"), bytes(32), templates)
    now_ms = wall_ms()
    deals = [
        _deal("Orange juice, 64 oz", "Corner Market", 279, 399),
        _deal("Ground coffee, 12 oz", "Harbor Foods", 719, 899),
        _deal("Olive oil, 1 l", "Fresh Fields", 1049, None),
    ]
    told = DealNotification("example-1", deals, "ann", deals_message(len(deals)))
    said = SystemMessage("example-2", "Prices are not updated tonight between two and three.")
    items = [
        Item(1, "example-1", "deal-notification", now_ms, None, 0, encode_json(told)),
        Item(2, "example-2", "system-message", now_ms, None, 0, encode_json(said)),
    ]
    return letters.write("example", "ann", "ann@home.example", locale, items, now_ms)


def _deal(item: str, store: str, cents: int, old: int | None) -> Deal:
    return Deal(
        item, cents, store, 1, currency="USD", old_price_in_cents=old, url="https://shop.example/item"
    )
