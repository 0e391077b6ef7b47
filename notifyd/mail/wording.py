"""What a mail says: notifications as the templates see them. Pure but for the tables of Babel."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, format_decimal, get_currency_precision
from msgspec import UNSET

from notifyd.messages import DealNotification, JobCompleted, SystemMessage, deals_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.messages import Deal
    from notifyd.store.outbox import Item

#: Letters of a subject, and of a line that a custom type is shown by.
MAX_SUBJECT: Final = 120
MAX_CUSTOM: Final = 500
#: Only such addresses become links.
_LINKS: Final = ("https://", "http://")


class DealLine(NamedTuple):
    """One deal, its prices as the reader writes them."""

    item: str
    store: str
    price: str
    old_price: str | None
    saving: str | None  # like `-23 %`
    url: str | None


class Part(NamedTuple):
    """One notification: a heading, sentences or deals, and the link that opens it."""

    heading: str
    deals: Sequence[DealLine]
    text: str | None
    severity: str
    more_deals: int
    link: str


class Telling(NamedTuple):
    """A whole mail, as the templates get it."""

    subject: str
    parts: Sequence[Part]
    link: str
    unsubscribe: str
    preferences: str


def telling(items: Sequence[Item], locale: str | None, base: str, unsubscribe: str) -> Telling:
    """What a mail about these notifications says; `base` is the address of the page."""
    known = _locale(locale)
    parts = [_part(item, known, f"{base}/#notification={item.notification_id}") for item in items]
    return Telling(subject_of(parts), parts, f"{base}/", unsubscribe, f"{base}/#mail")


def subject_of(parts: Sequence[Part]) -> str:
    """One line that says the most."""
    deals = sum(len(part.deals) + part.more_deals for part in parts)
    if len(parts) == 1 and deals == 1:
        for deal in parts[0].deals:
            before = "" if deal.old_price is None else f" (was {deal.old_price})"
            return one_line(f"{deal.item}: {deal.price}{before}")
    if len(parts) == 1:
        return one_line(parts[0].heading)
    if deals and all(part.deals for part in parts):
        return f"{deals} deals on your watched items"
    return f"{len(parts)} notifications"


def one_line(text: str, most: int = MAX_SUBJECT) -> str:
    """`text` without anything that could end a line or a header field, and not too long."""
    plain = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    line = " ".join(plain.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def money(cents: int, currency: str | None, locale: Locale) -> str:
    """A price in minor units as it is written in `locale`."""
    if currency is None:
        return str(format_decimal(Decimal(cents) / 100, format="#,##0.00", locale=locale))
    amount = Decimal(cents).scaleb(-get_currency_precision(currency))
    return format_currency(amount, currency, locale=locale)


@lru_cache(256)
def _locale(name: str | None) -> Locale:
    """The locale of a BCP 47 tag, or the next wider one that is known; English when none is."""
    parts = (name or "en-US").split("-")
    while parts:
        try:
            return Locale.parse("-".join(parts), sep="-")
        except (UnknownLocaleError, ValueError):
            parts.pop()
    return Locale("en", "US")


def _part(item: Item, locale: Locale, link: str) -> Part:
    match item.type:
        case "deal-notification":
            told = msgspec.json.decode(item.data, type=DealNotification)
            deals = [_deal(deal, locale) for deal in told.deals]
            more = 0 if told.more_deals is UNSET else told.more_deals
            return Part(_deals_heading(told, len(deals) + more), deals, None, "info", more, link)
        case "system-message":
            said = msgspec.json.decode(item.data, type=SystemMessage)
            return Part(one_line(said.message), (), said.message, said.severity, 0, link)
        case "job-completed":
            job = msgspec.json.decode(item.data, type=JobCompleted)
            text = None if job.message is UNSET else job.message
            return Part(one_line(f"{job.job_name}: {job.status}"), (), text, "info", 0, link)
        case _:
            return _custom(item, link)


def _deals_heading(told: DealNotification, count: int) -> str:
    """The application's own sentence where it has one; the wire's is for programs to count in."""
    if told.message != deals_message(count):
        return one_line(told.message, 300)
    return "A new deal on an item you watch" if count == 1 else f"{count} new deals on items you watch"


def _custom(item: Item, link: str) -> Part:
    """A type of the application's own: its `title` and `message`, where it has them."""
    data: dict[str, Any] = msgspec.json.decode(item.data)
    title, message = data.get("title"), data.get("message")
    name = item.type.removeprefix("x-").replace("-", " ").capitalize()
    text = message if isinstance(message, str) else None
    heading = title if isinstance(title, str) else name if text is None else text
    return Part(one_line(heading), (), None if text is None else text[: 4 * MAX_CUSTOM], "info", 0, link)


def _deal(deal: Deal, locale: Locale) -> DealLine:
    currency = None if deal.currency is UNSET else deal.currency
    old = deal.old_price_in_cents
    is_cheaper = isinstance(old, int) and old > deal.best_price_in_cents
    url = deal.url if isinstance(deal.url, str) and deal.url.lower().startswith(_LINKS) else None
    return DealLine(
        item=one_line(deal.item_name, 200),
        store=one_line(deal.store_name, 200),
        price=money(deal.best_price_in_cents, currency, locale),
        old_price=money(old, currency, locale) if isinstance(old, int) and is_cheaper else None,
        saving=_saving(old, deal.best_price_in_cents) if isinstance(old, int) and is_cheaper else None,
        url=url,
    )


def _saving(old: int, new: int) -> str:
    return f"−{round(100 * (old - new) / old)} %"
