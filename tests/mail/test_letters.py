"""What mails say and how: prices by locale, templates, and that nothing in a notification adds a header."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import ConfigError
from notifyd.mail.letters import Letters
from notifyd.mail.wording import one_line
from notifyd.store.outbox import Item
from notifyd.unsubscribe import Subscription, make_token, read_token

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"k" * 32
BASE = "https://deals.example"
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
}


def letters(templates: Path | None = None) -> Letters:
    return Letters("Deals <deals@shop.example>", BASE, KEY, templates)


def item(type_: str, data: dict[str, Any], seq: int = 1) -> Item:
    return Item(seq, f"n{seq}", type_, 1, None, 0, json.dumps(data).encode())


def deals(*given_: dict[str, Any], **more: Any) -> Item:
    usual = {"item_name": "Juice", "best_price_in_cents": 279, "store_name": "Corner", "store_id": 1}
    made = [usual | each for each in given_]
    message = f"You have {len(made)} new deal(s) on your watched items!"
    return item(
        "deal-notification",
        {"notification_id": "n1", "deals": made, "user_id": "u", "message": message} | more,
    )


def write(*items: Item, address: str = "ann@home.example", locale: str | None = None, **more: Any) -> Any:
    made = letters(**more).write("m1", "ann", address, locale, items, 1_780_000_000_000)
    assert b"\n" not in made.replace(b"\r\n", b"")
    return message_from_bytes(made, policy=policy.default)


def text_of(mail: Any, kind: str = "plain") -> str:
    return str(mail.get_body((kind,)).get_content())


@pytest.mark.parametrize(
    ("locale", "currency", "new", "old"),
    [
        (None, "USD", "$2.79", "$3.99"),
        ("en-GB", "GBP", "£2.79", "£3.99"),
        ("de-AT", "EUR", "€\xa02,79", "€\xa03,99"),
        ("fr", "EUR", "2,79\xa0€", "3,99\xa0€"),
        ("ja", "JPY", "￥279", "￥399"),
        ("qq-unknown", "USD", "$2.79", "$3.99"),
    ],
)
def test_prices_are_written_as_the_reader_does(locale: str | None, currency: str, new: str, old: str) -> None:
    mail = write(deals({"currency": currency, "old_price_in_cents": 399}), locale=locale)
    for kind in ("plain", "html"):
        assert new in text_of(mail, kind)
        assert old in text_of(mail, kind)
    assert mail["Subject"].replace("\xa0", " ") == f"Juice: {new} (was {old})".replace("\xa0", " ")


def test_a_mail_says_item_store_saving_and_where_to_open_it() -> None:
    mail = write(
        deals({"currency": "USD", "old_price_in_cents": 558, "url": "https://shop.example/j?a=1&b=2"})
    )
    assert "Juice: $2.79 (was $5.58, −50 %) at Corner" in text_of(mail)
    assert f"{BASE}/#notification=n1" in text_of(mail)
    html = text_of(mail, "html")
    assert 'href="https://shop.example/j?a=1&amp;b=2"' in html
    assert f'href="{BASE}/#notification=n1"' in html


def test_html_is_escaped_and_odd_addresses_are_no_links() -> None:
    mail = write(deals({"item_name": "<script>alert(1)</script>", "url": "javascript:alert(1)"}))
    html = text_of(mail, "html")
    assert "<script>" not in html
    assert "javascript:" not in html


def test_many_are_one_mail() -> None:
    mail = write(
        deals({}, {}, more_deals=7),
        item("system-message", {"notification_id": "n2", "message": "Down at noon\nand back at one"}, 2),
        item(
            "job-completed", {"notification_id": "n3", "job_id": 1, "job_name": "Import", "status": "ok"}, 3
        ),
        item("x-order-shipped", {"message": "On its way"}, 4),
        item("x-bare", {"a": 1}, 5),
    )
    assert mail["Subject"] == "5 notifications"
    text = text_of(mail)
    for each in ("and 7 more", "Down at noon", "Import: ok", "On its way", "Bare"):
        assert each in text, each


def test_the_headers_for_unsubscribing() -> None:
    one, mixed = write(deals({})), write(deals({}), item("x-a", {}, 2))
    for mail, list_ in ((one, "deal-notification"), (mixed, "all")):
        url = mail["List-Unsubscribe"].strip(" <>")
        token = url.removeprefix(f"{BASE}/unsubscribe/")
        assert read_token(KEY, token) == Subscription("ann", list_)
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert url in text_of(mail)
    assert one["Message-ID"] == "<m1@shop.example>"
    assert one["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("address", ["ann@home.example", "jörg@bücher.example"])
def test_what_programs_read_leaves_on_one_line_as_it_is(address: str) -> None:
    """RFC 8058 wants an address between angle brackets, and encoded words are none."""
    user_id = "user-" + 123 * "u"
    sender = Letters(f"deals@{'shop.' * 20}example", BASE, KEY)
    made = sender.write("m" * 28, user_id, address, None, [deals({})], 1_780_000_000_000)
    url = f"{BASE}/unsubscribe/{make_token(KEY, Subscription(user_id, 'deal-notification'))}"
    lines = made.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert f"List-Unsubscribe: <{url}>".encode() in lines
    assert f"Message-ID: <{'m' * 28}@{'shop.' * 20}example>".encode() in lines


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x85", "\u2028", "=?utf-8?q?=0D=0A?="])
def test_no_address_of_the_page_adds_a_header(end: str) -> None:
    sender = Letters("deals@shop.example", f"{BASE}{end}Bcc: eve@evil.example", KEY)
    try:
        made = sender.write("m1", "ann", "ann@home.example", None, [deals({})], 1_780_000_000_000)
    except ValueError:
        return
    head = made.partition(b"\r\n\r\n")[0]
    assert {line.partition(b":")[0].decode() for line in head.split(b"\r\n") if line[:1] != b" "} == HEADERS


#: Whatever some reader of mail might take for the end of a line.
ENDS = ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "payload", ["Bcc: eve@evil.example", "\r\n\r\n<html>", " folded", "=?utf-8?q?=0ABcc:_e?="]
)
def test_no_text_adds_a_header(end: str, payload: str) -> None:
    evil = f"hi{end}{payload}{end}{end}x"
    for made in (
        deals({"item_name": evil, "store_name": evil}),
        deals({}, {}, message=evil),
        item("system-message", {"notification_id": "n", "message": evil}),
        item("job-completed", {"notification_id": "n", "job_id": 1, "job_name": evil, "status": evil}),
        item("x-a", {"title": evil, "message": evil}),
    ):
        mail = write(made)
        assert set(mail.keys()) == HEADERS
        assert len(mail.keys()) == len(HEADERS)
        assert mail["To"] == "ann@home.example"


@given(st.text())
def test_a_subject_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 120
    assert line.isprintable()
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    "address", ["a@b.example\r\nBcc: e@f.example", "a@b.example, e@f.example", "a b@c", "@c"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the library says
        write(deals({}), address=address)


def test_an_address_beyond_ascii_is_kept() -> None:
    assert write(deals({}), address="jörg@bücher.example")["To"] == "jörg@bücher.example"


def test_an_operator_overrides_single_templates(tmp_path: Path) -> None:
    (tmp_path / "subject.txt").write_text("Shop: {{ subject }}\r\nBcc: eve@evil.example\n")
    mail = write(deals({}), templates=tmp_path)
    assert mail["Subject"] == "Shop: Juice: 2.79 Bcc: eve@evil.example"
    assert mail["Bcc"] is None
    assert "Juice" in text_of(mail, "html")


def test_a_broken_template_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "mail.html").write_text("{% for %}")
    with pytest.raises(ConfigError, match="mail_templates"):
        letters(tmp_path)


# --- unsubscribe tokens -----------------------------------------------------------------------------

names = st.text(min_size=1, max_size=128).filter(str.isprintable)


@given(names, names)
def test_a_token_says_what_it_was_made_for(user_id: str, list_: str) -> None:
    token = make_token(KEY, Subscription(user_id, list_))
    assert read_token(KEY, token) == Subscription(user_id, list_)
    assert read_token(b"x" * 32, token) is None


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_token_that_was_changed_is_none(place: int, by: int) -> None:
    token = make_token(KEY, Subscription("ann", "all"))
    at = place % len(token)
    changed = token[:at] + chr(33 + by % 94) + token[at + 1 :]
    assert read_token(KEY, changed) in (None, Subscription("ann", "all") if changed == token else None)


def test_a_token_has_one_spelling() -> None:
    token = make_token(KEY, Subscription("ann", "all"))
    for other in (token + "=", token[:-1] + chr(ord(token[-1]) + 1), token[:5] + "!" + token[5:]):
        assert read_token(KEY, other) is None


@pytest.mark.parametrize("token", ["", "a", "ä", "!" * 40, "A" * 5000, "AAAA" * 10])
def test_what_is_no_token_is_none(token: str) -> None:
    assert read_token(KEY, token) is None
