"""TLS as one more kind of non-blocking socket, so that nothing behind the door knows which one it has.

A TlsSocket says BlockingIOError where OpenSSL says that it wants to read or write, which is all that the
outbox and the wire need: what was refused they offer again byte for byte before anything else, and that is
what OpenSSL asks of them. A receive of at least one record (16 KiB) leaves nothing decrypted behind, so
waiting for the kernel's socket to be readable is enough.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final

import trio

from notifyd.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

#: What is offered, the best first (RFC 7301).
HTTP2: Final = "h2"
_ALPN: Final = (HTTP2, "http/1.1")


class TlsSocket(ssl.SSLSocket):
    """The server's end of a connection whose handshake is made by `shake_hands`."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As of a plain socket; empty also when the peer has ended TLS."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return b""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As of a plain socket; 0 also when the peer has ended TLS."""
        try:
            return super().recv_into(buffer, nbytes, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return 0

    def send(self, data: Any, flags: int = 0) -> int:
        """As of a plain socket; what was refused must be offered again before anything else."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        """End our side, TLS first; what the peer still sends is then read undecrypted, to be dropped."""
        tls: Any = self._sslobj  # type: ignore[attr-defined]
        if tls is not None:
            with contextlib.suppress(OSError, ValueError):
                tls.shutdown()
        super().shutdown(how)


class Tls:
    """The certificate in use; `reload` takes the files' present contents for all later handshakes."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._files = (cert_file, key_file)
        self._context = open_context(cert_file, key_file)

    def reload(self) -> None:
        """Raises ConfigError, and goes on with the certificate of before, when the files cannot be used."""
        self._context = open_context(*self._files)

    @property
    def minimum_version(self) -> ssl.TLSVersion:
        return self._context.minimum_version

    async def shake_hands(self, sock: socket.socket) -> TlsSocket:
        """A TLS connection over `sock`, which belongs to it from then on, also when this raises.

        Raises trio.BrokenResourceError for a peer that speaks no TLS of ours or leaves. Cancellation: the
        socket is closed.
        """
        try:
            secured = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            sock.close()
            raise trio.BrokenResourceError("the connection is gone") from error
        assert isinstance(secured, TlsSocket)
        try:
            await _shake(secured)
        except (OSError, ValueError) as error:
            _close(secured)
            raise trio.BrokenResourceError("no TLS handshake") from error
        except BaseException:
            _close(secured)
            raise
        return secured


def open_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with this certificate chain and key. Raises ConfigError, naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # each costs a private-key operation
    context.set_alpn_protocols(list(_ALPN))
    context.sslsocket_class = TlsSocket
    try:
        context.load_cert_chain(cert_file, key_file, password="")  # an encrypted key must not ask a terminal
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"tls_cert_file, tls_key_file: {cert_file}, {key_file}: {reason}") from None
    return context


async def _shake(sock: TlsSocket) -> None:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(sock)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(sock)
        else:
            return


def _close(sock: socket.socket) -> None:
    trio.lowlevel.notify_closing(sock)
    sock.close()
