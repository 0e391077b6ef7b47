"""SMTP by aiosmtplib, which is asyncio's, under Trio. The only file that knows either.

All connections belong to one asyncio loop inside one Trio task tree: whoever calls `post` must run inside
`run_in_loop`. Every phase has its deadline, and a connection that anything went wrong on is closed.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
import trio
import trio_asyncio
from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from notifyd.config import is_loopback
from notifyd.errors import ConfigError
from notifyd.mail.carrying import Permanent, Sent, Temporary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from notifyd.mail.carrying import Outcome

#: Seconds for each phase; together they stay below what one try may take.
CONNECT_S: Final = 30.0
LOGIN_S: Final = 15.0
COMMAND_S: Final = 15.0
DATA_S: Final = 40.0
QUIT_S: Final = 2.0
#: A connection is used again for so many mails, if it has not been idle for longer than so many seconds.
MAILS_PER_CONNECTION: Final = 100
IDLE_S: Final = 20.0

_SCHEMES: Final = {
    "smtp": (25, False, None),
    "smtp+starttls": (587, False, True),
    "smtps": (465, True, False),
}


class Server(NamedTuple):
    """A mail server. `start_tls` None: if it offers it."""

    host: str
    port: int
    use_tls: bool
    start_tls: bool | None
    username: str | None
    password: str | None
    ca_file: str | None


def parse_server(url: str) -> Server:
    """`smtp://`, `smtp+starttls://` or `smtps://` with USER:PASSWORD@HOST:PORT; `?ca=FILE` for an own CA.

    Raises ConfigError, also for a password that would travel in the clear.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # it may repeat the address, with its password
        raise ConfigError("smtp_url: this is no host, or the port no number up to 65535") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ConfigError(
            "smtp_url: write smtp://, smtp+starttls:// or smtps://, then USER:PASSWORD@HOST:PORT"
        )
    usual, use_tls, start_tls = _SCHEMES[parts.scheme]
    if parts.username is not None and parts.scheme == "smtp" and not is_loopback(parts.hostname):
        raise ConfigError("smtp_url: a password needs smtps:// or smtp+starttls://")
    ca_file = parse_qs(parts.query).get("ca", [""])[0] or None
    return Server(
        parts.hostname,
        usual if port is None else port,
        use_tls,
        start_tls,
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
        ca_file,
    )


@asynccontextmanager
async def run_in_loop() -> AsyncIterator[None]:
    """Run the block, and tasks that it starts, inside the asyncio loop that SMTP needs."""
    async with trio_asyncio.open_loop():
        yield


class _Connection:
    """One connection to the mail server, logged in."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self.client = client
        self.mails = 0
        self.idle_since = trio.current_time()

    async def call(
        self, seconds: float, method: Callable[..., Awaitable[Any]], *given: Any, **more: Any
    ) -> Any:
        """A call of aiosmtplib with a deadline. Raises SMTPException, OSError, trio.TooSlowError."""
        with trio.fail_after(seconds):
            return await trio_asyncio.aio_as_trio(method)(*given, **more)


class Smtp:
    """A mail server with connections that are used again; at most as many as there are calls at once.

    Raises ConfigError for certificates that cannot be read.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: list[_Connection] = []
        try:
            self._tls = ssl.create_default_context(cafile=server.ca_file)
        except OSError as error:
            raise ConfigError(f"smtp_url: ca={server.ca_file}: {error.strerror or error}") from None

    async def post(self, message_id: str, sender: str, recipient: str, mail: bytes) -> Outcome:
        """Hand over one mail.

        A refused recipient (5xx) is a bounce; another 5xx to the mail is permanent; all else is temporary,
        also a 5xx before the mail began, which is about us and not about the mail.
        """
        while True:
            used = self._reusable()
            try:
                connection = used or await self._connect()
            except (SMTPException, OSError, trio.TooSlowError, ValueError) as error:
                return Temporary(f"connecting to {self._server.host}: {_words(error)}")
            outcome = await self._hand_over(connection, sender, recipient, mail)
            if outcome is not None:
                return outcome
            # A used connection had been closed before the mail began: nothing was said of it yet.
            if used is None:
                return Temporary("the mail server closed the connection")

    async def aclose(self) -> None:
        """Say goodbye on idle connections, for QUIT_S seconds at most, also when it is cancelled."""
        with trio.move_on_after(QUIT_S, shield=True):
            for connection in self._idle:
                with suppress(SMTPException, OSError, trio.TooSlowError):
                    await connection.call(QUIT_S, connection.client.quit)
        for connection in self._idle:
            connection.client.close()
        self._idle.clear()

    def _reusable(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.client.is_connected and trio.current_time() - connection.idle_since < IDLE_S:
                return connection
            connection.client.close()
        return None

    async def _connect(self) -> _Connection:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.use_tls,
            start_tls=server.start_tls,
            tls_context=self._tls,
            timeout=None,
        )
        connection = _Connection(client)
        try:
            await connection.call(CONNECT_S, client.connect)
            if server.username is not None:
                await connection.call(LOGIN_S, client.login, server.username, server.password or "")
        except BaseException:
            client.close()
            raise
        return connection

    async def _hand_over(
        self, connection: _Connection, sender: str, recipient: str, mail: bytes
    ) -> Outcome | None:
        """None: the connection was gone before the mail server had heard of this mail."""
        phase, keep = "MAIL", False
        client = connection.client
        try:
            utf8 = not recipient.isascii()
            if utf8 and not client.supports_extension("smtputf8"):
                keep = True
                return Permanent("the mail server cannot write to addresses beyond ASCII (SMTPUTF8)")
            options, encoding = (["SMTPUTF8"], "utf-8") if utf8 else ([], "ascii")
            await connection.call(COMMAND_S, client.mail, sender, options=options, encoding=encoding)
            phase = "RCPT"
            await connection.call(COMMAND_S, client.rcpt, recipient, encoding=encoding)
            phase = "DATA"
            await connection.call(DATA_S, client.data, mail)
            keep = True
            return Sent()
        except SMTPServerDisconnected as error:
            return None if phase == "MAIL" else Temporary(f"{phase}: {_words(error)}")
        except SMTPResponseException as error:
            keep = error.code not in (421, -1) and await self._reset(connection)
            return _judged(phase, error, recipient)
        except (SMTPException, OSError, trio.TooSlowError) as error:
            return Temporary(f"{phase}: {_words(error)}")
        finally:
            connection.mails += 1
            if keep and connection.mails < MAILS_PER_CONNECTION:
                connection.idle_since = trio.current_time()
                self._idle.append(connection)
            else:
                client.close()

    async def _reset(self, connection: _Connection) -> bool:
        try:
            await connection.call(QUIT_S, connection.client.rset)
        except (SMTPException, OSError, trio.TooSlowError):
            return False
        return True


def _judged(phase: str, error: SMTPResponseException, recipient: str) -> Outcome:
    text = f"{phase}: {error.code} {error.message}"
    if not 500 <= error.code < 600:
        return Temporary(text)
    return Permanent(text, bounced=recipient if phase == "RCPT" else None)


def _words(error: Exception) -> str:
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    if isinstance(error, SMTPAuthenticationError):
        return f"the login is refused: {error.code}"  # the text may repeat what was sent
    return str(error) or type(error).__name__
