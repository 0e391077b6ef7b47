"""Messages and errors in words for people, one line each. Pure."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from msgspec import UNSET

from notifyd.checker.money import money
from notifyd.errors import CloseCode, Forbidden, NotifydError, Unauthorized, Unavailable
from notifyd.messages import (
    ConnectionEstablished,
    Deal,
    DealNotification,
    ErrorData,
    JobCompleted,
    Message,
    NotificationUpdated,
    SystemMessage,
    encode_json,
)

if TYPE_CHECKING:
    from notifyd.client import Status


def line_of(message: Message, zone: tzinfo | None = None) -> str:
    """Time, type and text; `zone` None is the local one."""
    moment = datetime.fromisoformat(message.timestamp).astimezone(zone)
    return printable(f"{moment:%Y-%m-%d %H:%M:%S}  {message.type}  {_text(message)}")


def _text(message: Message) -> str:
    match message.data:
        case DealNotification() as news:
            more = "" if news.more_deals is UNSET else f", and {news.more_deals} more"
            return f"{news.message} {'; '.join(_deal(deal) for deal in news.deals)}{more}"
        case SystemMessage(message=text, severity=severity, critical=critical):
            return f"{severity}{', critical' if critical else ''}: {text}"
        case JobCompleted() as job:
            return f"{job.job_name} ({job.job_id}): {job.status}" + _optional(" - ", job.message)
        case NotificationUpdated() as update:
            return f"{_which(update)} now {update.state}"
        case ErrorData(code=code, message=text):
            return f"{code}: {text}"
        case ConnectionEstablished(cursor=cursor):
            return f"from {cursor}"
        case data:
            return encode_json(data).decode()


def _deal(deal: Deal) -> str:
    currency = "" if deal.currency is UNSET else deal.currency
    before = deal.old_price_in_cents
    was = f" (was {money(before, currency)})" if isinstance(before, int) else ""
    return f"{deal.item_name} {money(deal.best_price_in_cents, currency)}{was} at {deal.store_name}"


def _which(update: NotificationUpdated) -> str:
    if update.notification_ids is UNSET:
        return f"all up to {update.up_to} are"
    names = ", ".join(update.notification_ids)
    return f"{names} {'is' if len(update.notification_ids) == 1 else 'are'}"


def _optional(before: str, text: object) -> str:
    return f"{before}{text}" if isinstance(text, str) and text else ""


def printable(text: str) -> str:
    """One line without control characters, which could rewrite the terminal of whoever reads it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def status_line(status: Status) -> str | None:
    """What `listen` says about its connection."""
    if status.state == "waiting":
        return f"{printable(status.detail)}; trying again in {status.retry_in_s:.1f} s"
    if status.state != "connected":
        return None
    over = " over SSE" if status.transport == "sse" else ""
    if status.recovered:
        return f"connected{over}, resumed from {status.cursor}"
    if status.reason == "no-cursor":
        return f"connected{over}, live from {status.cursor}"
    return (
        f"connected{over}, not recovered ({status.reason}): live from {status.cursor}; "
        "GET /v1/notifications has what is missing here"
    )


_ADVICE: dict[int, str] = {
    int(CloseCode.BAD_TOKEN): "get a new one with `notifyd token --user USER`",
    int(CloseCode.REVOKED): "get a new one with `notifyd token --user USER`",
    int(CloseCode.CONNECTION_LIMIT): "close another connection of this user",
    404: "is this the address of a notifyd server? (--url)",
}


def advice(error: Exception) -> str:
    """What happened and what to do about it."""
    text = printable(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        text = printable(f"{error.filename}: {error.strerror}")
    if isinstance(error, Unavailable) and "cannot reach" in text:
        return f"{text}; is `notifyd serve` running there? (--url)"
    if isinstance(error, Unauthorized | Forbidden):
        return f"{text}; give a publish key that the server knows with --key or NOTIFYD_KEY"
    code = getattr(error, "code", None)
    if isinstance(error, NotifydError) and code in _ADVICE:
        return f"{text}; {_ADVICE[code]}"
    return text or type(error).__name__
