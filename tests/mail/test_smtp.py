"""Conversations with a mail server that misbehaves: aiosmtpd where it is one, bare sockets where it isn't."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio_asyncio
from aiosmtpd.smtp import SMTP as Daemon
from aiosmtpd.smtp import AuthResult

from notifyd.errors import ConfigError
from notifyd.mail import smtp
from notifyd.mail.carrying import Permanent, Sent, Temporary
from notifyd.mail.smtp import Smtp, parse_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from notifyd.mail.carrying import Outcome

MAIL = b"From: a@b.example\r\nTo: c@d.example\r\nSubject: x\r\n\r\nhello\r\n.dot\r\n"
PATIENCE_S = 20


class Handler:
    """Answers as a test says, and keeps what it took over."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.answers: dict[str, list[str]] = {}
        self.sessions: set[int] = set()
        self.open = self.goodbyes = 0
        self.quiet = trio.Event()

    def _answer(self, phase: str) -> str | None:
        return self.answers[phase].pop(0) if self.answers.get(phase) else None

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        self.sessions.add(id(session))
        answer = self._answer("MAIL")
        if answer is None:
            envelope.mail_from = address
        return answer or "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        answer = self._answer("RCPT")
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        self.goodbyes += 1
        return "221 Bye"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = self._answer("DATA")
        if answer is None:
            self.mails.append(envelope.content)
        return answer or "250 OK"


class Counted(Daemon):
    """Knows how many of its connections are open."""

    def connection_made(self, transport: Any) -> None:
        if not hasattr(self, "counted"):  # STARTTLS makes it a second time
            self.counted = True
            self.event_handler.open += 1
        super().connection_made(transport)

    def connection_lost(self, error: Any) -> None:
        self.event_handler.open -= 1
        if self.event_handler.open == 0:
            self.event_handler.quiet.set()
        super().connection_lost(error)


@asynccontextmanager
async def daemon(handler: Handler, **options: Any) -> AsyncIterator[int]:
    """aiosmtpd in this very loop, on a free port."""
    loop = asyncio.get_event_loop()
    make = lambda: Counted(handler, loop=loop, **options)  # noqa: E731
    serving = await trio_asyncio.aio_as_trio(loop.create_server)(make, "127.0.0.1", 0)
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        serving.close()
        with trio.move_on_after(PATIENCE_S, shield=True):
            handler.quiet = trio.Event()
            if handler.open > 0:
                await handler.quiet.wait()


@asynccontextmanager
async def talker(talk: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that says what `talk` says to each connection, and hangs after it."""
    async with trio.open_nursery() as nursery:

        async def one(stream: trio.SocketStream) -> None:
            try:
                await talk(stream)
                await trio.sleep_forever()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        listeners: Any = await nursery.start(partial(trio.serve_tcp, one, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(port: int, scheme: str = "smtp", login: str = "", query: str = "") -> AsyncIterator[Smtp]:
    made = Smtp(parse_server(f"{scheme}://{login}127.0.0.1:{port}{query}"))
    try:
        yield made
    finally:
        await made.aclose()


async def post(made: Smtp, recipient: str = "ann@home.example") -> Outcome:
    with trio.fail_after(PATIENCE_S):
        return await made.post("m1", "deals@shop.example", recipient, MAIL)


async def test_a_mail_arrives_as_it_was_and_the_connection_is_used_again() -> None:
    handler = Handler()
    async with smtp.run_in_loop(), daemon(handler) as port, client(port) as made:
        for _ in range(3):
            assert await post(made) == Sent()
    assert handler.mails == [MAIL] * 3
    assert len(handler.sessions) == 1


@pytest.mark.parametrize(
    ("phase", "answer", "kind"),
    [
        ("MAIL", "451 try later", Temporary),
        ("RCPT", "450 greylisted, try again in a minute", Temporary),
        ("RCPT", "452 too many", Temporary),
        ("DATA", "451 local error", Temporary),
        ("MAIL", "550 we know you", Permanent),
        ("RCPT", "550 no such user", Permanent),
        ("DATA", "554 this is spam", Permanent),
        ("MAIL", "421 shutting down", Temporary),
        ("RCPT", "421 shutting down", Temporary),
        ("DATA", "421 shutting down", Temporary),
    ],
)
async def test_answers_are_judged_and_the_next_mail_goes(phase: str, answer: str, kind: type) -> None:
    handler = Handler()
    async with smtp.run_in_loop(), daemon(handler) as port, client(port) as made:
        assert await post(made) == Sent()
        handler.answers = {phase: [answer]}
        outcome = await post(made)
        assert isinstance(outcome, kind)
        assert not isinstance(outcome, Sent)
        assert answer[:3] in outcome.error
        if isinstance(outcome, Permanent):
            assert outcome.bounced == ("ann@home.example" if phase == "RCPT" else None)
        assert await post(made) == Sent()
    assert len(handler.mails) == 2


GREETING, HELLO = b"220 ready\r\n", b"250 hello\r\n"


def script(*answers: bytes, end: str = "hang") -> Callable[[trio.SocketStream], Awaitable[None]]:
    """Give the first answer at once, each further one after a line of the client's (DATA: after the dot)."""

    async def talk(stream: trio.SocketStream) -> None:
        got = b""
        for place, answer in enumerate(answers):
            if place:
                mark = b"\r\n.\r\n" if answers[place - 1].startswith(b"354") else b"\r\n"
                while mark not in got:
                    got += await stream.receive_some()
                got = b""
            await stream.send_all(answer)
        if end == "hang":
            return
        while b"\r\n" not in got:
            got += await stream.receive_some()
        if end == "reset":
            stream.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SO_LINGER with no time
        await stream.aclose()

    return talk


PHASES = {
    "connect": script(),
    "greeting": script(b""),
    "hello": script(GREETING),
    "mail": script(GREETING, HELLO),
    "rcpt": script(GREETING, HELLO, b"250 ok\r\n"),
    "data": script(GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n"),
    "after the dot": script(GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_server_that_hangs_is_left(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_S", "LOGIN_S", "COMMAND_S", "DATA_S", "QUIT_S"):
        monkeypatch.setattr(smtp, name, 0.2)
    async with smtp.run_in_loop(), talker(PHASES[phase]) as port, client(port) as made:
        outcome = await post(made)
        assert isinstance(outcome, Temporary)
        assert "no answer in time" in outcome.error


@pytest.mark.parametrize("phase", PHASES)
async def test_waiting_for_a_server_is_cancelled_at_once(phase: str) -> None:
    async with smtp.run_in_loop(), talker(PHASES[phase]) as port, client(port) as made:
        with trio.fail_after(PATIENCE_S), trio.move_on_after(0.2) as scope:
            await post(made)
        assert scope.cancelled_caught


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "answers",
    [
        (GREETING,),
        (GREETING, HELLO),
        (GREETING, HELLO, b"250 ok\r\n"),
        (GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n"),
        (GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"),
    ],
)
async def test_a_connection_that_ends_too_soon_is_temporary(answers: tuple[bytes, ...], end: str) -> None:
    async with smtp.run_in_loop(), talker(script(*answers, end=end)) as port, client(port) as made:
        assert isinstance(await post(made), Temporary)


async def test_taken_over_and_then_reset_is_sent() -> None:
    answers = (GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 taken\r\n")
    async with smtp.run_in_loop(), talker(script(*answers, end="reset")) as port, client(port) as made:
        assert await post(made) == Sent()


@pytest.mark.parametrize(
    "greeting",
    [b"554 go away\r\n", b"421 busy\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\x00\r\n"],
)
async def test_a_bad_greeting_is_temporary(greeting: bytes) -> None:
    async with smtp.run_in_loop(), talker(script(greeting)) as port, client(port) as made:
        assert isinstance(await post(made), Temporary)


async def test_nobody_listens() -> None:
    async with smtp.run_in_loop(), client(1) as made:
        outcome = await post(made)
        assert isinstance(outcome, Temporary)
        assert "connecting" in outcome.error


async def test_an_address_beyond_ascii_needs_a_server_that_can() -> None:
    for can in (True, False):
        handler = Handler()
        async with smtp.run_in_loop(), daemon(handler, enable_SMTPUTF8=can) as port, client(port) as made:
            outcome = await post(made, "jörg@bücher.example")
            assert isinstance(outcome, Sent if can else Permanent)
            assert await post(made) == Sent()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_a_login() -> None:
    handler = Handler()
    good = lambda server, session, envelope, mechanism, data: AuthResult(success=data.password == b"p@ss")  # noqa: E731
    options = {"authenticator": good, "auth_required": True, "auth_require_tls": False}
    async with smtp.run_in_loop(), daemon(handler, **options) as port:
        async with client(port, login="user:p%40ss@") as made:
            assert await post(made) == Sent()
        async with client(port, login="user:wrong@") as made:
            outcome = await post(made)
            assert isinstance(outcome, Temporary)
            assert "wrong" not in outcome.error


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls"])
async def test_tls_with_a_certificate_that_nobody_vouches_for_is_refused(
    scheme: str, certificate: tuple[Path, Path]
) -> None:
    handler = Handler()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with smtp.run_in_loop(), daemon(handler, tls_context=context) as port:
        async with client(port, scheme) as made:
            assert isinstance(await post(made), Temporary)
        async with client(port, scheme, query=f"?ca={certificate[0]}") as made:
            assert await post(made) == Sent()
    assert len(handler.mails) == 1


async def test_starttls_that_is_not_offered_is_not_done_without() -> None:
    handler = Handler()
    async with smtp.run_in_loop(), daemon(handler) as port, client(port, "smtp+starttls") as made:
        assert isinstance(await post(made), Temporary)
    assert handler.mails == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://mail.example",
        "smtp://",
        "smtp://a:b@mail.example",
        "smtps://mail.example:99999",
        "mail.example:25",
        "smtp://[x",
        "smtp://user:password@[x]:25",
    ],
)
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigError, match="smtp_url") as told:
        parse_server(url)
    assert "password@" not in str(told.value)


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file in (tmp_path / "nope.pem", empty):
        with pytest.raises(ConfigError, match=f"smtp_url: ca={file}"):
            Smtp(parse_server(f"smtps://mail.example?ca={file}"))


def test_every_address_of_this_machine_may_get_a_password_in_the_clear() -> None:
    for host in ("localhost", "127.0.0.2", "[::1]"):
        assert parse_server(f"smtp://a:b@{host}").username == "a"


async def test_goodbye_is_said_although_it_is_cancelled() -> None:
    handler = Handler()
    async with smtp.run_in_loop(), daemon(handler) as port:
        with trio.CancelScope() as scope:
            async with client(port) as made:
                assert await post(made) == Sent()
                scope.cancel()
        assert handler.goodbyes == 1


def test_usual_ports() -> None:
    urls = ("smtp://mail.example", "smtp+starttls://a:b@mail.example", "smtps://mail.example")
    assert [parse_server(url).port for url in urls] == [25, 587, 465]
