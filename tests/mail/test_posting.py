"""Mails are written beside the event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from notifyd.mail.carrying import Parcel, Permanent, Sent
from notifyd.mail.folder import Folder
from notifyd.mail.letters import Letters
from notifyd.mail.posting import MailCarrier
from notifyd.store.outbox import Addressee, Claimed, Item

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MESSAGE = Claimed("m1", "mail", "ann", 1, 2, 1, 1)
ITEMS = [Item(7, "n7", "x-a", 1_780_000_000_000, None, 0, b'{"notification_id":"n7"}')]
LETTERS = Letters("Deals <deals@shop.example>", "https://deals.example", b"k" * 32)


async def test_a_mail_is_written_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    write = Letters.write

    def watched(self: Letters, *given: Any) -> bytes:
        threads.append(threading.get_ident())
        return write(self, *given)

    monkeypatch.setattr(Letters, "write", watched)
    carrier = MailCarrier(LETTERS, Folder(tmp_path), lambda: 1_780_000_000_000)
    whom = Addressee("ann@home.example", None, None, None)
    assert await carrier.carry(Parcel(MESSAGE, whom, ITEMS)) == Sent()
    assert threads
    assert threading.get_ident() not in threads
    assert b"\r\nTo: ann@home.example\r\n" in (tmp_path / "m1.eml").read_bytes()


async def test_without_an_address_there_is_no_mail(tmp_path: Path) -> None:
    carrier = MailCarrier(LETTERS, Folder(tmp_path), lambda: 0)
    nobody = Addressee(None, None, None, None)
    assert isinstance(await carrier.carry(Parcel(MESSAGE, nobody, ITEMS)), Permanent)
