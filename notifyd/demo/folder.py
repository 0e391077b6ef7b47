"""The demo's folder: database, port, secrets and how far the feed has come. It outlives the process."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import msgspec
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from notifyd.config import Config
from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

PREFERRED_PORT = 8000
#: Ticks that a new demo is already old, so that its users find deals when the page first opens.
HEAD_START_TICKS = 24

#: Where the demo's mail is written.
MAIL_FOLDER = "mail"
#: Seconds for a tab to acknowledge before mail is written: here a minute passes in seconds.
GRACE_S = 10

_STATE_FILE = "demo.json"
_LOCK_FILE = "demo.lock"
#: All that the demo ever writes besides mail; --fresh deletes these, the mail, and nothing else.
_FILES = (_STATE_FILE, "demo.db", "demo.db-wal", "demo.db-shm", "demo.db.lock")


class DemoState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept in `demo.json`, which only its owner can read."""

    port: int
    jwt_secret: str
    publish_key: str
    seed: int
    admin_key: str = ""  # a folder of an older demo gets one when it is opened
    begun_ms: int | None = None  # when tick 0 was due; None until history and watches are in
    played: int = -1  # the last tick that was stored


@dataclass
class DemoFolder:
    """The folder, opened; `state` is what its file says."""

    path: Path
    state: DemoState

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.path / 'demo.db'}"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.state.port}"

    def update(self, **changed: Any) -> None:
        """Change the state, in memory and in the file, which is replaced in one step."""
        self.state = msgspec.structs.replace(self.state, **changed)
        _write_private(self.path / _STATE_FILE, msgspec.json.encode(self.state))


@contextmanager
def open_folder(path: Path, *, fresh: bool = False, port: int | None = None) -> Iterator[DemoFolder]:
    """The demo's folder, made when it is missing and locked until the block is left.

    `port` None keeps the one it had, unless somebody else has it now. Raises ConfigError when the folder
    cannot be used or another demo uses it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK_FILE).open("w")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name another folder with --folder") from None
    with lock:
        _lock(lock, path)
        if fresh:
            for name in _FILES:
                (path / name).unlink(missing_ok=True)
            for mail in (path / MAIL_FOLDER).glob("*.eml"):
                mail.unlink()
        state = _read(path / _STATE_FILE) or _new_state()
        folder = DemoFolder(path, state)
        folder.update(
            port=free_port(state.port) if port is None else port,
            admin_key=state.admin_key or secrets.token_urlsafe(12),
        )
        yield folder


def _lock(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        running = _read(path / _STATE_FILE)
        where = "" if running is None else f" at http://127.0.0.1:{running.port}"
        raise ConfigError(
            f"a demo is running in {path} already{where}; stop it or name another --folder"
        ) from None


def _read(file: Path) -> DemoState | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=DemoState)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: {error}; start anew with --fresh") from None


def _new_state() -> DemoState:
    return DemoState(
        port=PREFERRED_PORT,
        jwt_secret=secrets.token_urlsafe(32),
        publish_key=secrets.token_urlsafe(24),
        seed=secrets.randbelow(2**32),
    )


def _write_private(file: Path, content: bytes) -> None:
    """Replace the file in one step; nobody else may read it, not even for a moment."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    new.replace(file)


def free_port(preferred: int) -> int:
    """`preferred` when nobody listens there on loopback, else a port that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError("no port is free on 127.0.0.1")


class DemoConfig(Config):
    """The demo's settings: neither notifyd.toml nor the environment changes them."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def demo_config(folder: DemoFolder) -> Config:
    """Loopback only, with the folder's own database, secret and keys."""
    state = folder.state
    settings: dict[str, Any] = {
        "listen": f"127.0.0.1:{state.port}",
        "database_url": folder.database_url,
        "jwt_secret": SecretStr(state.jwt_secret),
        "publish_keys": (SecretStr(state.publish_key),),
        "admin_keys": (SecretStr(state.admin_key),),
        "drain_seconds": 1,
        "mail_folder": folder.path / MAIL_FOLDER,
        "public_url": folder.address,
        "email_grace_seconds": GRACE_S,
        "log_level": "warning",
    }
    return DemoConfig(**settings)
