"""A mail as MIME: text and HTML from templates, and headers that nothing in a notification can add to."""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any, Final

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    TemplateError,
    select_autoescape,
)

from notifyd.errors import ConfigError
from notifyd.mail.wording import one_line, telling
from notifyd.preferences import ALL_TYPES
from notifyd.unsubscribe import Subscription, make_token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from notifyd.store.outbox import Item

_SPECIAL: Final = frozenset(' <>()[],;:\\"')
TEMPLATES: Final = ("subject.txt", "mail.txt", "mail.html")


class _Whole(policy.EmailPolicy):
    """Writes headers that programs read as they are: a token of more than 78 columns would be encoded."""

    def fold(self, name: str, value: Any) -> str:
        """As the library does. Raises ValueError for what would add a header."""
        text = str(value)
        if name in _READ_BY_PROGRAMS and not text.isprintable():
            raise ValueError(f"{name} cannot be written on one line")
        if name in _READ_BY_PROGRAMS and (self.utf8 or text.isascii()):
            return f"{name}: {text}{self.linesep}"
        folded: str = super().fold(name, value)
        return folded

    def fold_binary(self, name: str, value: Any) -> bytes:
        """The same in bytes."""
        if name in _READ_BY_PROGRAMS:
            return self.fold(name, value).encode()
        return super().fold_binary(name, value)


_READ_BY_PROGRAMS: Final = frozenset({"List-Unsubscribe", "Message-ID"})
_POLICY: Final = _Whole(linesep="\r\n")


class Letters:
    """Writes mails. `base` is the address of the page, without a slash at its end."""

    def __init__(self, mail_from: str, base: str, key: bytes, templates: Path | None = None) -> None:
        name, self.sender = parseaddr(mail_from)
        self._from = Address(display_name=name, addr_spec=self.sender)
        self._base = base
        self._key = key
        loaders = [PackageLoader("notifyd.mail")]
        own = [] if templates is None else [FileSystemLoader(templates)]
        self._environment = Environment(
            loader=ChoiceLoader([*own, *loaders]),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        try:
            self._templates = [self._environment.get_template(each) for each in TEMPLATES]
        except TemplateError as error:
            raise ConfigError(f"mail_templates: {error}") from None

    def write(
        self,
        message_id: str,
        user_id: str,
        address: str,
        locale: str | None,
        items: Sequence[Item],
        now_ms: int,
    ) -> bytes:
        """RFC 5322 with CRLF. Raises ValueError for an address that is none, jinja2.TemplateError for an
        operator's template that fails."""
        unsubscribe = self.unsubscribe_url(user_id, items)
        told = telling(items, locale, self._base, unsubscribe)
        subject, text, html = (template.render(told._asdict()) for template in self._templates)
        mail = EmailMessage(policy=_POLICY.clone(utf8=not address.isascii()))
        mail["From"] = self._from
        mail["To"] = _address(address)
        # An encoded word in a text is a text: the header's parser would decode it, line ends and all.
        mail["Subject"] = one_line(subject.replace("=?", "= ?"))
        mail["Date"] = datetime.fromtimestamp(now_ms // 1000, UTC)
        mail["Message-ID"] = f"<{message_id}@{self._from.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["List-Unsubscribe"] = f"<{unsubscribe}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail.set_content(text, cte="quoted-printable")
        mail.add_alternative(html, subtype="html", cte="quoted-printable")
        return mail.as_bytes()

    def unsubscribe_url(self, user_id: str, items: Sequence[Item]) -> str:
        """Ends mail of the type that all of these are of, or all mail when they are of several."""
        types = {item.type for item in items}
        list_ = types.pop() if len(types) == 1 else ALL_TYPES
        return f"{self._base}/unsubscribe/{make_token(self._key, Subscription(user_id, list_))}"


def _address(text: str) -> Address:
    """One bare address, letters beyond ASCII allowed; checked when it was said, and here again."""
    local_part, _, domain = text.rpartition("@")
    if not local_part or not domain or not text.isprintable() or _SPECIAL & set(text):
        raise ValueError("this is not an email address")
    return Address(username=local_part, domain=domain)
