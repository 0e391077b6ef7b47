"""Settings as flags of a command, and the server that a command talks to."""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from cyclopts import Group, Parameter

from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from notifyd.config import Config

F = TypeVar("F", bound=Callable[..., Any])

ConfigFile = Annotated[
    Path | None, Parameter(help="settings to read instead of notifyd.toml", env_var=(), show_default=False)
]
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_URL = re.compile(r"(https?://([^/?#@:]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[^?#]*)?|unix:.+)", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)


def settings_flags(command: F) -> F:
    """Give `command`, which takes **settings, a flag for each setting; what is not given stays None."""
    from notifyd.config import Config

    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD]
    group = Group("Settings", help="Also in notifyd.toml and as NOTIFYD_…; flags win.")
    for name, field in Config.model_fields.items():
        kind = bool if field.annotation is bool else str
        default = "" if field.default in (None, ()) else f" [default: {_plain(field.default)}]"
        described = field.description or ", ".join(get_args(field.annotation))
        about = Parameter(help=f"{described}{default}", group=group, show_default=False)
        annotation = Annotated[kind | None, about]  # type: ignore[valid-type]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def seconds(text: str) -> float:
    """Seconds in `90`, `90s`, `15m`, `1h` or `7d`. Raises ConfigError."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ConfigError(f"{text!r} is not a duration; write 90s, 15m, 1h or 7d")
    return float(int(match[1]) * _UNITS[match[2]])


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Server:
    """The server that a command talks to; what is not said is taken from the settings of that server."""

    url: Annotated[
        str | None,
        Parameter(env_var="NOTIFYD_URL", help="address of the server [default: the setting listen]"),
    ] = None
    key: Annotated[
        str | None,
        Parameter(env_var="NOTIFYD_KEY", help="publish key [default: the first of the setting publish_keys]"),
    ] = None
    config: ConfigFile = None

    def address(self) -> str:
        """`url`, else where the settings say that the server listens. Raises ConfigError."""
        if self.url is None:
            return address_of(self.settings().listen)
        if not _URL.fullmatch(self.url):
            raise ConfigError(f"--url {self.url}: write http://HOST:PORT, https://HOST or unix:PATH")
        return self.url

    def publish_key(self) -> str:
        """`key`, else the first of the publish keys in the settings. Raises ConfigError."""
        if self.key is not None:
            return check_header("--key", self.key)
        keys = self.settings().publish_keys
        if not keys:
            raise ConfigError("give a publish key with --key or NOTIFYD_KEY, or set publish_keys")
        return keys[0].get_secret_value()

    def settings(self) -> "Config":
        """The settings that a server started here would have. Raises ConfigError."""
        from notifyd.config import load_config

        return load_config(self.config)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OperatorsServer(Server):
    """The same for operators' calls, which may have an address of their own."""

    url: Annotated[
        str | None,
        Parameter(
            env_var="NOTIFYD_URL",
            help="address of the server [default: the setting operator_listen, else listen]",
        ),
    ] = None
    key: Annotated[
        str | None,
        Parameter(env_var="NOTIFYD_KEY", help="admin key [default: the first of the setting admin_keys]"),
    ] = None

    def address(self) -> str:
        """`url`, else where the settings say that operators' calls are served. Raises ConfigError."""
        listen = None if self.url is not None else self.settings().operator_listen
        return super().address() if listen is None else address_of(listen)

    def admin_key(self) -> str:
        """`key`, else the first of the admin keys in the settings. Raises ConfigError."""
        if self.key is not None:
            return check_header("--key", self.key)
        keys = self.settings().admin_keys
        if not keys:
            raise ConfigError("give an admin key with --key or NOTIFYD_KEY, or set admin_keys")
        return keys[0].get_secret_value()


def check_header(option: str, value: str) -> str:
    """`value`, if it can be sent in a header field. Raises ConfigError."""
    if not value or not value.isascii() or not value.isprintable():
        raise ConfigError(f"{option}: it has characters that cannot be sent, or none at all")
    return value


def check_user(user: str) -> None:
    """Raises ConfigError for what cannot be a user's id."""
    from notifyd.auth import is_user_id

    if not is_user_id(user):
        raise ConfigError(f"--user {user!r}: an id of a user has 1 to 128 printable characters")


def address_of(listen: str) -> str:
    """The URL of a server with this setting `listen`. Raises ConfigError when it has no fixed port."""
    from notifyd.config import parse_address

    place = parse_address(listen)
    if isinstance(place, str):
        return listen
    host, port = place
    if port == 0:
        raise ConfigError("the server picks its port (listen has port 0): give its address with --url")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def say(text: str) -> None:
    """A remark on standard error."""
    print(text, file=sys.stderr, flush=True)


class Once:
    """Tells the same thing only once in a row."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told = ""

    def __call__(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)
