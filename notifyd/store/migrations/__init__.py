"""Bringing a database up to `schema.REVISION` with alembic, which only this package imports.

`migrate` opens no connection of its own and reads no ini file. A started server calls it, and so pays for
alembic's import, only when the database's revision is not the code's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent


def alembic_config(connection: Connection | None = None) -> Config:
    """Settings that make alembic use `connection` and the scripts beside this file."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str | None:
    """The revision that the newest script leads to."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def migrate(connection: Connection) -> None:
    """Run what is missing, inside the transaction that the caller has open on `connection`.

    Raises ConfigError for a database that newer code has made.
    """
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise ConfigError(f"database_url: this notifyd is older than the database: {error}") from None
